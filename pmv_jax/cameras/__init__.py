"""Cameras as EG3D writes them: geometry, files, paths, and poses of five numbers.

The functions of `geometry` are found here as well. They are imported when they are first used, because they need JAX
and what reads camera files does not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["files", "geometry", "paths", "poses"],
    submod_attrs={
        "geometry": [
            "FFHQ_FOCAL",
            "intrinsics_from_focal",
            "intrinsics_from_fov",
            "join",
            "look_at",
            "look_from",
            "mirrored",
            "pixel_centres",
            "project",
            "ray_distance_to_z_depth",
            "rays",
            "roll_of",
            "rolled",
            "split",
            "unproject",
            "yaw_pitch",
            "z_depth_to_ray_distance",
        ]
    },
)
