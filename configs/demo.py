"""The default recipe, for the demo generator and two CPU cores, with every setting spelled out.

    python -m pmv_jax.invert --image weights/demo/portrait.png --config configs/demo.py

The same as without `--config`. A recipe of your own is a copy of this file with other values; what is left out keeps
its default, so that most recipes are a few lines (see ffhq512.py). What a setting means stands in
pmv_jax/config/settings.py.

Time and score: see the figures in README.md.
"""

from pmv_jax.config import (
    CameraSearchConfig,
    InversionConfig,
    JointConfig,
    LatentConfig,
    LossConfig,
    OccludedConfig,
    PseudoViewConfig,
    TuningConfig,
)


def config() -> InversionConfig:
    return InversionConfig(
        seed=0,
        loss=LossConfig(l2_weight=1.0, perceptual_weight=1.0, perceptual="gradients"),
        camera=CameraSearchConfig(
            yaw_range=0.6,
            pitch_range=0.4,
            roll_width=0.02,
            shift_width=0.01,
            guess_width=0.05,
            heads=128,
            refine_heads=48,
            views=4,
            refine_steps=1,
            resolution=32,
        ),
        latent=LatentConfig(
            steps=60,
            learning_rate=0.08,
            ramp_up=0.05,
            ramp_down=0.5,
            noise=0.05,
            noise_ramp=0.75,
            regularisation=0.01,
            space="w_plus",
            camera_rate=0.006,
            camera_pull=10.0,
        ),
        tuning=TuningConfig(steps=20, learning_rate=4e-3, warm_up=0.1, final_rate=0.2, early_stop=0.0),
        occluded=OccludedConfig(steps=0, learning_rate=4e-3, warm_up=0.1, final_rate=0.2, difference=0.2),
        pseudo_views=PseudoViewConfig(
            count=16,
            pattern="disc",
            centre="frontal",
            yaw_range=0.65,
            pitch_range=0.3,
            pitch_offset=0.0,
            depth_detail=2,
            depth_tolerance=0.01,
            steepest=10.0,
            erode=0.01,
            blur=0.02,
            fill="both",
            hidden_weight=0.2,
        ),
        joint=JointConfig(
            steps=120,
            learning_rate=2e-2,
            warm_up=0.1,
            final_rate=0.1,
            views_per_step=1,
            view_weight=1.5,
            depth_weight=0.02,
            reset_generator=False,
        ),
    )
