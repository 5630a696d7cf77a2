"""Shards of rendered heads: what is decoded is what was rendered, and crops show what their corners say."""

import numpy as np
import pytest

from pmv_jax.errors import InputError
from tests import rendered_spheres as spheres
from tools.training import pack
from tools.training.data import Heads
from tools.training.pixels import decode_depth, encode


@pytest.fixture
def heads(tmp_path):
    spheres.shard(tmp_path / "shard_0000.npz", heads=3, views=2, seed=0)
    return Heads(tmp_path)


def test_depth_survives_its_two_bytes():
    depth = np.concatenate([[0.0], np.linspace(2.1, 3.4, 1001)])
    pixels = encode(np.zeros((1002, 3), np.uint8), np.zeros(1002, np.uint8), depth)
    found = decode_depth(pixels[:, 4], pixels[:, 5])
    assert found[0] == 0
    np.testing.assert_allclose(found, depth, atol=1.6e-5)


def test_a_decoded_view_is_the_rendered_one(heads):
    rgb, mask, depth = spheres.render(heads.p[1], heads.camera[1, 0])
    view = heads.view(1, 0)
    np.testing.assert_array_equal(view[..., :3], np.uint8(255 * rgb + 0.5))
    np.testing.assert_array_equal(view[..., 3], 255 * mask)
    np.testing.assert_allclose(decode_depth(view[..., 4], view[..., 5]), depth, atol=3e-5)


def test_crops_are_cut_where_their_corners_are(heads):
    batch = heads.crops(np.random.default_rng(0), heads=4, views=2, side=8)
    for h, p in enumerate(batch.p):
        head = int(np.flatnonzero((heads.p == p).all(-1))[0])
        for camera, (row, column), pixels in zip(batch.camera[h], batch.corner[h, :, 0], batch.pixels[h], strict=True):
            view = int(np.flatnonzero((heads.camera[head] == camera).all(-1))[0])
            np.testing.assert_array_equal(pixels, heads.view(head, view)[row : row + 8, column : column + 8])


def test_single_pixels_are_those_of_their_places(heads):
    batch = heads.scattered(np.random.default_rng(1), heads=2, views=1, rays=50)
    head = int(np.flatnonzero((heads.p == batch.p[0]).all(-1))[0])
    view = int(np.flatnonzero((heads.camera[head] == batch.camera[0, 0]).all(-1))[0])
    rows, columns = batch.corner[0, 0].T
    np.testing.assert_array_equal(batch.pixels[0, 0], heads.view(head, view)[rows, columns])


def test_views_of_one_head_differ(heads):
    batch = heads.crops(np.random.default_rng(2), heads=8, views=2, side=4)
    assert (np.abs(batch.camera[:, 0] - batch.camera[:, 1]).max(-1) > 0).all()


def test_new_shards_are_taken_in_and_unfinished_ones_are_not(heads, tmp_path):
    spheres.shard(tmp_path / "shard_0007.npz", heads=2, views=2, seed=1)
    (tmp_path / "shard_0008.npz.tmp.npz").write_bytes(b"half of a shard")
    assert len(heads) == 3
    assert heads.refresh() == len(heads) == len(heads.p) == len(heads.camera) == 5
    assert heads.refresh() == 5


def test_no_shards_is_said(tmp_path):
    with pytest.raises(InputError, match=r"holds no shard_\*\.npz"):
        Heads(tmp_path)


def test_a_pack_holds_the_same_heads_in_less(heads, tmp_path):
    assert pack.pack(heads, tmp_path / "pack", limit=10**6, views=1) == 3
    packed = Heads(tmp_path / "pack")
    np.testing.assert_array_equal(packed.p, heads.p)
    np.testing.assert_array_equal(packed.camera, heads.camera[:, :1])
    for head in range(3):
        ours, theirs = packed.view(head, 0), heads.view(head, 0)
        np.testing.assert_array_equal(ours[..., 3], theirs[..., 3])
        assert np.abs(ours[..., :3].astype(int) - theirs[..., :3]).mean() < 6
        near, far = (np.sort(decode_depth(x[..., 4], x[..., 5]).reshape(16, 2, 16, 2)) for x in (ours, theirs))
        flat = np.ptp(far.swapaxes(1, 2).reshape(16, 16, 4), axis=-1) < 0.01
        off = (near - far).swapaxes(1, 2).reshape(16, 16, 4)[flat]
        assert flat.sum() > 100 and np.abs(off).max() < 0.011


def test_packs_stay_within_their_limit(heads, tmp_path):
    with pytest.raises(InputError):  # not one pack was written
        pack.pack(heads, tmp_path / "pack", limit=100, views=2)
        Heads(tmp_path / "pack")
