"""What a completer *is*: the settings that are saved with its weights, in completer.json."""

from __future__ import annotations

from dataclasses import dataclass

from pmv_jax.config.settings import Settings, setting


@dataclass(frozen=True)
class CompleterConfig(Settings):
    """A network that completes what other views show of a photograph's surface (`models.completer`)."""

    resolution: int = setting(64, low=16, high=1024)  # of the views, pixels a side
    # Channels at a half, a quarter, ... of that resolution.
    widths: tuple[int, int, int, int] = setting((24, 48, 96, 160), low=4, high=4096)
    blocks: tuple[int, int, int, int] = setting((1, 2, 2, 2), low=0, high=64)  # residual ones at each
