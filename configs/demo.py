"""The default recipe, for the demo generator and two CPU cores.

    python -m pmv_jax.invert --image weights/demo/portrait.png --config demo

The same as without `--config`: a recipe says only what differs from the defaults, and this one nothing. A recipe of
your own is a copy with a few lines such as

    return InversionConfig(tuning=TuningConfig(steps=60), joint=JointConfig(steps=400))

Every setting, with its default and its range, stands in pmv_jax/config/inversion.py.

Time and score: see the figures in README.md.
"""

from pmv_jax.config import InversionConfig


def config() -> InversionConfig:
    return InversionConfig()
