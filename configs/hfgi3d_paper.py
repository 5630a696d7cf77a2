"""The recipe of HFGI3D's released code (github.com/jiaxinxie97/HFGI3D), for comparison with ours.

    python -m pmv_jax.invert --image face.png --camera face.json --generator weights/ffhq512-128 \\
        --config hfgi3d_paper

It takes the camera as given; without `--camera` ours is searched for first. Constants are its own throughout. What is
not its own, because the stages are ours:

- Its losses are LPIPS: VGG16 alone in the latent optimisation, AlexNet plus L2 in both tunings. With
  `--set loss.perceptual=lpips_alex --set loss.lpips_weights=DIR` both tunings are exactly that, with its early stop at
  an LPIPS of 0.06, and the latent optimisation has the same loss. Without weights all stages have L2 plus the stand-in
  of losses.py, and the early stop is at the stand-in's own threshold.
- It also optimises the noise inputs in the latent optimisation.
- It splats points forward into the pseudo-views, by distances along rays; ours are looked up backward, by z-depth.
- Its mask is that of the visible points eroded by a window of 3 pixels, times the outline of all points eroded by 51.
  Here the one mask is eroded by 51.
- It writes 3.14 for pi, which turns its cameras by up to 0.003 rad against these.

Time and score are not measured yet: the official weights are not part of this repository.
"""

from pmv_jax.config import InversionConfig, JointConfig, LatentConfig, LossConfig, PseudoViewConfig, TuningConfig


def config() -> InversionConfig:
    return InversionConfig(
        loss=LossConfig(surface_weight=0.0),
        latent=LatentConfig(
            steps=500,
            learning_rate=0.01,
            ramp_down=0.25,
            noise=0.05 * 512**0.5,  # it measures w's deviation by the length of the vector, ours is that of one entry
            regularisation=0.0,
            camera_rate=0.0,
        ),
        tuning=TuningConfig(steps=500, learning_rate=3e-4, warm_up=0.0, final_rate=1.0, early_stop=None),
        pseudo_views=PseudoViewConfig(
            count=30,
            pattern="ellipse",
            yaw_range=0.35,
            pitch_range=0.25,
            pitch_offset=-0.05,
            depth_detail=0,
            depth_tolerance=0.003,
            steepest=4.0,
            erode=50 / 512,  # a window of 51 pixels at 512
            blur=21 / 512,
            fill="tuned",
            hidden_weight=1.0,
        ),
        joint=JointConfig(
            steps=1000,
            learning_rate=3e-4,
            warm_up=0.0,
            final_rate=1.0,
            view_weight=1.0,
            depth_weight=0.0,
            reset_generator=True,
        ),
    )
