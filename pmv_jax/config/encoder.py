"""What an encoder *is*: the settings that are saved with its weights, in encoder.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pmv_jax.config.settings import Settings, setting


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """A network that looks at a photograph once (`models.encoder`)."""

    resolution: int = setting(96, low=32, high=1024)  # of the pictures that it takes, pixels a side
    # Channels at a half, a quarter, ... of that resolution.
    widths: tuple[int, int, int, int, int] = setting((16, 32, 64, 96, 128), low=4, high=4096)
    blocks: tuple[int, int, int, int, int] = setting((1, 2, 2, 2, 2), low=0, high=64)  # residual ones at each
    hidden_features: int = setting(384, low=1, high=1 << 16)
    code_dim: int = setting(512, low=1, high=1 << 16)
    # What it says of the latent code: w in standard deviations from the average, or z itself, for generators whose z
    # is a description of the head. A w that is the mean over what z may be is no farther off, and z can be learned
    # before the generator is.
    code_space: Literal["w", "z"] = setting("w")
