"""Faces with an official EG3D generator: ffhq512-128, ffhqrebalanced512-128 and their 64-pixel kin.

    python -m pmv_jax.convert eg3d --input ffhq512-128.pkl --output weights/ffhq512-128
    python -m pmv_jax.invert --image face.png --generator weights/ffhq512-128 --config ffhq512

The image is a crop as EG3D aligns FFHQ. Pivot, radius and focal length of the cameras come with the generator. Meant
for a GPU.

The rates are those of PTI and HFGI3D, far below those of the demo recipe: these networks have many more weights, so
that much smaller changes of each do. Here they fall along a cosine, there they do not.

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
        camera=CameraSearchConfig(yaw_range=0.8, heads=512, refine_heads=256),
        latent=LatentConfig(steps=500, learning_rate=0.01, ramp_down=0.25),
        tuning=TuningConfig(steps=300, learning_rate=3e-4),
        # FFHQ shows faces up to a yaw of about 0.8 and a pitch of about 0.3.
        pseudo_views=PseudoViewConfig(yaw_range=0.45, pitch_range=0.25),
        joint=JointConfig(steps=500, learning_rate=3e-4),
    )
