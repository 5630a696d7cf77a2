"""The crop that an encoder sees."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.faces import alignment
from pmv_jax.inputs import framing
from pmv_jax.models.encoder import POSE_NUMBERS, Glance
from tools.encoding.examples import Placement

WIDTHS = np.full(POSE_NUMBERS, 0.01)


@dataclasses.dataclass
class Encoder:
    """One that is played."""

    look: Callable[[np.ndarray], Glance]
    config: EncoderConfig = EncoderConfig(resolution=32)

    def __call__(self, image: np.ndarray) -> Glance:
        return self.look(image)


def glance(pose, width=WIDTHS, matte=((0.0,),)) -> Glance:
    told = np.asarray(pose), np.asarray(width), np.zeros(1), np.ones(1)
    return Glance(*told, *3 * [np.asarray(matte, np.float32)])


def smooth_picture(size: int) -> Image.Image:
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    waves = np.stack([np.sin(7 * x + 2 * y), np.cos(5 * y - 3 * x), np.sin(4 * x * y + 1)], axis=-1)
    return Image.fromarray((127 + 120 * waves).astype(np.uint8))


@pytest.mark.parametrize("placement", [(0.0, 0.05, -0.1, 0.0), (0.3, 0.0, 0.0, 0.0), (-0.2, 0.1, 0.05, 0.25)])
def test_the_crop_undoes_what_was_done_to_the_picture(placement):
    picture = smooth_picture(256)
    placed = Placement(*placement).apply(picture, 256)
    frame = framing.moved(alignment.whole(placed), np.array([0.0, 0.0, *placement]))
    seen = alignment.coverage(placed, frame, 64) > 0.99
    crop, original = alignment.cut(placed, frame, 64), alignment.cut(picture, alignment.whole(picture), 64)
    assert seen.mean() > 0.3
    assert np.abs(crop - original)[seen].max() < 0.05


def test_it_looks_again_until_the_head_is_in_its_place():
    """An encoder that tells half of the distance comes within a sixteenth in four rounds."""
    picture, looked = smooth_picture(128), []

    def look(crop: np.ndarray) -> Glance:
        frame = looked[-1] if looked else alignment.whole(picture)
        right = (0.7 - alignment.apply(frame, np.array([[0.5, 0.5]]))[0, 0] / 128) * 128 / alignment.side(frame)
        found = glance([0, 0, 0, -0.5 * -right, 0, 0])
        looked.append(framing.moved(frame, found.pose))
        return found

    frame = framing.frame_of(picture, Encoder(look))
    assert len(looked) == 4
    assert alignment.apply(frame, np.array([[0.5, 0.5]]))[0, 0] / 128 == pytest.approx(0.7, abs=0.2 / 15)


def test_without_a_head_there_is_no_crop():
    unsure = np.array([0.01, 0.01, 0.5, 0.01, 0.01, 0.01])
    encoder = Encoder(lambda crop: glance(np.zeros(6), unsure))
    assert framing.frame_of(smooth_picture(64), encoder) is None
    assert framing.matte_of(np.zeros((64, 64, 3), np.float32), encoder) is None


def test_a_matte_is_as_large_as_the_crop():
    half = np.repeat([[1.0, 0.0]], 8, axis=1).repeat(16, axis=0)
    matte = framing.matte_of(np.zeros((64, 64, 3), np.float32), Encoder(lambda crop: glance(np.zeros(6), matte=half)))
    assert matte.shape == (64, 64) and matte[:, :28].min() > 0.9 and matte[:, 36:].max() < 0.1
