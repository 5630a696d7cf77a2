"""The default recipe with as many steps as the paper takes: 2000 in place of 200, about six minutes on two CPU cores.

    python -m pmv_jax.invert --image weights/demo/portrait.png --config paper_budget

It renders the input at 45 dB in place of 33; novel views get better on some heads and worse on others, see
docs/benchmark.md. Tuning on the input alone gets worse at novel views with so many steps.
"""

from pmv_jax.config import InversionConfig, JointConfig, LatentConfig, TuningConfig


def config() -> InversionConfig:
    return InversionConfig(latent=LatentConfig(steps=200), tuning=TuningConfig(steps=60), joint=JointConfig(steps=1740))
