"""Cars with the official EG3D generator shapenetcars128-64.

    python -m pmv_jax.convert eg3d --input shapenetcars128-64.pkl --output weights/shapenetcars128-64
    python -m pmv_jax.invert --image car.png --generator weights/shapenetcars128-64 --config shapenetcars128

The image is a car on white, as in SRN's renderings of ShapeNet, seen from any side; the focal length, 1.0254 image
widths, comes with the generator. Meant for a GPU.

The generator knows cars from all around. So the search for the camera goes once around, and pseudo-views
lie further from the input than those of faces. Front and back look alike from afar: give the camera if it is known.

Time and score are not measured yet: the official weights are not part of this repository.
"""

import math

from pmv_jax.config import (
    CameraSearchConfig,
    InversionConfig,
    JointConfig,
    LatentConfig,
    PseudoViewConfig,
    TuningConfig,
)


def config() -> InversionConfig:
    return InversionConfig(
        camera=CameraSearchConfig(yaw_range=math.pi, pitch_range=0.5, heads=1024, refine_heads=256, refine_steps=2),
        latent=LatentConfig(steps=500, learning_rate=0.01, ramp_down=0.25),
        tuning=TuningConfig(steps=300, learning_rate=3e-4),
        pseudo_views=PseudoViewConfig(yaw_range=0.7, pitch_range=0.25),
        joint=JointConfig(steps=500, learning_rate=3e-4),
    )
