"""A first look: what the encoder sees and a handful of steps, pictures alone, in seconds.

    python -m pmv_jax.invert --image weights/demo/portrait.png --config instant

It takes the camera and the code that the encoder and the landmarks tell, which nothing refines, and fits the weights to
the photograph alone, at the rate of the default recipe's joint tuning. It leaves out video, mesh and turntable, which
`pmv_jax.render` and `pmv_jax.mesh` make from its result. Views from the side are those of a head that was seen once:
the default recipe's are better. Meant for a generator with an encoder; without one it searches for the camera first.

Time and score: see docs/speed.md.
"""

from pmv_jax.config import (
    CameraSearchConfig,
    InversionConfig,
    JointConfig,
    LatentConfig,
    OutputConfig,
    TuningConfig,
)


def config() -> InversionConfig:
    return InversionConfig(
        camera=CameraSearchConfig(refine_steps=0),
        latent=LatentConfig(steps=0),
        tuning=TuningConfig(steps=30, learning_rate=2e-2),
        joint=JointConfig(steps=0),
        outputs=OutputConfig(video=False, mesh=False, turntable=False),
    )
