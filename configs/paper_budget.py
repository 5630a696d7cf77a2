"""The default recipe with as many steps as the paper takes: 2000 in place of 150.

    python -m pmv_jax.invert --image weights/demo/portrait.png --config paper_budget

With the generator of version 0.1.0 novel views got better on some heads and worse on others, and worse with all steps
spent on the input alone, see docs/history.md.
"""

from pmv_jax.config import InversionConfig, JointConfig, LatentConfig, TuningConfig


def config() -> InversionConfig:
    return InversionConfig(latent=LatentConfig(steps=200), tuning=TuningConfig(steps=60), joint=JointConfig(steps=1740))
