"""Pictures of heads that a generator draws itself, and their w: what an encoder of any generator can learn from.

A generator knows nothing but its own heads, so photographs are to such an encoder what they are to its generator. It
learns from no mistakes either: what lies outside of the prior it takes for the nearest head inside.
"""

from __future__ import annotations

import jax
import numpy as np
from jax import Array
from PIL import Image

from pmv_jax import cameras, images
from pmv_jax.cameras import poses
from pmv_jax.inversion import latent, outline
from pmv_jax.models.generator import Generator
from tools.encoding.examples import (
    STORED,
    Example,
    Random,
    as_photographed,
    covered,
    distance_to_pivot,
    placed_relief,
    random_placement,
)

_ANGLES = 0.35, 0.15  # standard deviations of yaw and pitch, radians: a little more than FFHQ's


class Samples:
    """Draws examples from a generator.

    Args:
      generator: with random z, each of which is seen by one camera.
      side: of the examples, pixels.
    """

    def __init__(self, generator: Generator, side: int) -> None:
        self._generator, self._side, self._drawn = generator, side, 0

    def refresh(self) -> int:
        """How many heads were drawn."""
        return self._drawn

    def draw(self, random: Random) -> Example:
        """One example."""
        self._drawn += 1
        pose = np.float32([*random.normal(0, _ANGLES), 0, 0, 0])
        z = random.standard_normal(self._generator.config.z_dim).astype(np.float32)
        camera = poses.to_camera(pose, self._generator.config)
        code, ws = _code(self._generator, z, camera)
        seen = self._generator.render(self._generator.planes(ws), ws, camera)
        z_depth = np.asarray(cameras.ray_distance_to_z_depth(seen["ray_distance"], camera))
        limit = outline.head_limit(z_depth)  # None without a backdrop: all is head
        is_head = z_depth < (np.inf if limit is None else limit)
        head = Image.fromarray(np.uint8(255 * is_head))
        placement = random_placement(random)
        pivot = distance_to_pivot(np.asarray(camera), self._generator.config)
        relief = placed_relief(np.where(is_head, z_depth, 0), pivot, placement, self._side)
        picture = images.to_uint8(images.resize(np.asarray(seen["image"]), (STORED, STORED)))
        image = np.asarray(placement.apply(Image.fromarray(picture), self._side), np.float32) / 255
        matte = np.asarray(placement.apply(head.resize((STORED, STORED)), self._side), np.float32) / 255
        image = as_photographed(covered(image, random), random)
        pose = np.float32([*pose[:2], *placement])
        image = (2 * image.clip(0, 1) - 1).astype(np.float32)
        return Example(image, pose, np.asarray(code), np.ones(len(code), bool), matte, relief)


@jax.jit
def _code(generator: Generator, z: Array, camera: Array) -> tuple[Array, Array]:
    """For z [z_dim] and a camera [25]: w in standard deviations from the average [w_dim], and ws [num_ws, w_dim]."""
    ws = generator.mapping(z[None], camera[None])[0]
    mean, std = latent.statistics(generator, camera)
    return (ws[0] - mean) / std, ws
