"""A stage after all others: the weights once more on the input alone, at a low constant rate."""

from dataclasses import dataclass

from pmv_jax.config import Settings, setting
from pmv_jax.inversion import tuning, view_fitting
from pmv_jax.inversion.fit_stage import ViewFit
from pmv_jax.inversion.pipeline import METHOD


@dataclass(frozen=True)
class PolishConfig(Settings):
    steps: int = setting(10, low=0, high=1000)
    learning_rate: float = setting(1e-3, low=0)


CONFIG = PolishConfig()
POLISH = ViewFit(
    "polish",
    settings=lambda recipe: CONFIG,
    plan=lambda recipe: view_fitting.plan(CONFIG.steps, weights_rate=CONFIG.learning_rate),
    hand_on=tuning.hand_on,
)
POLISHED = (*METHOD, POLISH)  # pmv_jax.invert(image, camera, generator, method=POLISHED)
