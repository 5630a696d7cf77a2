"""The default recipe with the paper's budget: 2000 steps in place of 200, about six minutes on two CPU cores.

    python -m pmv_jax.invert --image weights/demo/portrait.png --config configs/thorough.py

Finer at the input and at novel views, see docs/benchmark.md. With so many steps tuning on the input alone gets worse at
novel views; with pseudo-views it gets better.
"""

from pmv_jax.config import InversionConfig, JointConfig, LatentConfig, TuningConfig


def config() -> InversionConfig:
    return InversionConfig(latent=LatentConfig(steps=200), tuning=TuningConfig(steps=60), joint=JointConfig(steps=1740))
