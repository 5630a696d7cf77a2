"""Cats with the official EG3D generator afhqcats512-128.

    python -m pmv_jax.convert eg3d --input afhqcats512-128.pkl --output weights/afhqcats512-128
    python -m pmv_jax.invert --image cat.png --generator weights/afhqcats512-128 --config afhqcats512

The image is a frontal crop as in AFHQ, which EG3D views with the cameras of its faces. Meant for a GPU.

As ffhq512.py, but with views closer to the input: the training set is small and its cats look at the camera, so that
the generator knows less of their sides. Ears are thin and make depth edges: the masks keep a wider distance from them.

Time and score are not measured yet: the official weights are not part of this repository.
"""

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
        camera=CameraSearchConfig(yaw_range=0.5, heads=512, refine_heads=256),
        latent=LatentConfig(steps=500, learning_rate=0.01, ramp_down=0.25),
        tuning=TuningConfig(steps=300, learning_rate=3e-4),
        pseudo_views=PseudoViewConfig(yaw_range=0.35, pitch_range=0.2, erode=0.03, blur=0.04),
        joint=JointConfig(steps=500, learning_rate=3e-4),
    )
