"""Checkpoints in the states in which people have them: packed, half there, not there at all, or of EG3D's relatives."""

import io
import zipfile

import numpy as np
import pytest

from pmv_jax.checkpoints import eg3d, eg3d_families
from pmv_jax.checkpoints.eg3d_presets import PRESETS
from pmv_jax.errors import InputError
from tests.checkpoints import fake_torch_files as fake

GOOD = fake.official_pickle()


def zipped(files):
    """A .zip of named contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
    def run(data, **options):
        path = tmp_path / "x.pkl"
        path.write_bytes(data)
        return eg3d.read_checkpoint(path, **options)

    return run


def refusal(read, data, **options):
    with pytest.raises(InputError) as error:
        read(data, **options)
    message = str(error.value)
    assert "x.pkl: " in message and len(message) < 500
    return message


@pytest.mark.parametrize("inner", ["official.pkl", "folder/network.pkl"])
def test_a_zip_around_a_pickle_is_read(read, inner):
    state = read(zipped({inner: GOOD, "__MACOSX/.network.pkl": b"", "readme.txt": b"hello"}))
    assert sorted(state.tensors) == sorted(fake.SMALL_TENSORS) and state.init["z_dim"] == 512


def test_a_zip_around_a_torch_archive_is_read(read):
    inner = fake.with_storages(fake.zip_file, lambda write: fake.generator(write=write))
    assert sorted(read(zipped({"network.pt": inner})).tensors) == sorted(fake.SMALL_TENSORS)


def test_a_zip_of_several_or_no_checkpoints_lists_them(read):
    message = refusal(read, zipped({"a.pkl": GOOD, "b.pkl": GOOD}))
    assert "2 checkpoints (it holds a.pkl, b.pkl); unpack it" in message
    assert "without a checkpoint in it (it holds a.txt)" in refusal(read, zipped({"a.txt": b"x"}))
    assert "unpack it" in refusal(read, zipped({"a.pkl": zipped({"b.pkl": GOOD})}))


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\xef\xbb\xbf\n <HTML lang=en>", b"<?xml version='1.0'?>"])
def test_a_web_page_is_named(read, page):
    assert "is a web page" in refusal(read, page + b"<title>Google Drive - Virus scan warning</title>" * 10)


def test_an_lfs_pointer_is_named(read):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 429822364\n" % (b"ab" * 32)
    assert "a Git LFS pointer to a file of 430 MB" in refusal(read, pointer)


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", bytes(257) + b"ustar"])
def test_other_archives_are_named(read, magic):
    assert "archive; unpack it" in refusal(read, magic + bytes(100))


@pytest.mark.parametrize(
    "data",
    [
        GOOD[: len(GOOD) // 2],
        GOOD[: len(GOOD) // 2] + bytes(len(GOOD) // 2),  # a download that took its place on the disk beforehand
        zipped({"a.pkl": GOOD})[:-30],
        fake.npz(fake.SMALL_TENSORS)[:300],
        fake.with_storages(fake.legacy_file, lambda write: write(np.ones(9, np.float32)))[:-10],
    ],
)
def test_half_a_download_is_named(read, data):
    assert "breaks off, as half a download does" in refusal(read, data)


# Relatives of EG3D's

PANOHEAD = {"t_mapping.fc0.weight": np.zeros((3, 3)), "bcg_synthesis.b4.const": np.zeros(3), "torgb.bias": np.ones(3)}
SPHEREHEAD = {**PANOHEAD, "ConvA.0.weight": np.ones((2, 2, 1, 1)), "ConvB.0.weight": np.ones((2, 2, 1, 1))}


def test_full_head_networks_are_named(read):
    rendering = {**fake.RENDERING, "triplane_depth": 3, "use_background": True}
    for tensors, expected in (
        (PANOHEAD, "a PanoHead network: it has a tri-grid"),
        (SPHEREHEAD, "a SphereHead network"),
    ):
        tensors = {**fake.SMALL_TENSORS, **{name: np.float32(x) for name, x in tensors.items()}}
        network = fake.official_pickle(fake.generator(tensors, rendering=rendering))
        for data in (network, fake.npz(tensors)):  # a state dict is named before a spec is asked for
            message = refusal(read, data)
            assert expected in message and "give a network of EG3D itself" in message
    assert "PanoHead" in refusal(read, fake.official_pickle(fake.generator(rendering=rendering)))


# Presets


@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_the_place_of_a_spec(read, name):
    """A file as EG3D-projector saves it: {"G_ema": state dict}."""
    wide = name.startswith("ffhq")
    sr = {"superresolution.block0.conv1.weight": np.zeros((256 if wide else 128, 1, 3, 3), np.float32)}

    def content(write):
        items = {key: write(x) for key, x in {**fake.SMALL_TENSORS, **sr}.items()}
        return {"G_ema": fake.call("collections.OrderedDict", items=items)}

    data = fake.with_storages(fake.zip_file, content)
    config = eg3d_families.generator_config(read(data, spec=eg3d.read_spec(name)))
    size, raw = map(int, name.lstrip("abcdefghijklmnopqrstuvwxyz").split("-"))
    assert (config.image_resolution, config.rendering.neural_resolution) == (size, raw)
    assert config.superresolution.block_channels == ((256, 128) if wide else (128, 64))
    assert config.superresolution.block_upsamples == (size == 512, True)
    assert config.rendering.white_background == ("cars" in name)
    assert f"--spec {name}" in refusal(read, data).replace("|", " --spec ")


def test_a_spec_that_is_neither_file_nor_preset_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'ffhq512-128'"):
        eg3d.read_spec("fhq512-128")
    with pytest.raises(InputError, match="presets are ffhq512-128"):
        eg3d.read_spec("nothing.json")
