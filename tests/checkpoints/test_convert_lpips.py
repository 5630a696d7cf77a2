"""LPIPS weights, from files as torchvision and lpips write them; what is said of files that do not fit."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.checkpoints import lpips_package
from pmv_jax.commands import convert as converters
from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import losses
from pmv_jax.models import lpips as perceptual
from tests import command
from tests.checkpoints import fake_torch_files as fake
from tests.models.test_lpips import heads, pictures, rule_backbone


def torch_file(tensors, file_format=fake.zip_file):
    def content(write):
        return fake.call("collections.OrderedDict", items={name: write(x) for name, x in tensors.items()})

    return fake.with_storages(file_format, content)


def convert(*args):
    return command.run(converters.main, Path.cwd(), "lpips", *args)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The backbone in the newer torch format with its classifier, the heads in the older one, as lpips ships them."""
    folder = tmp_path_factory.mktemp("files")
    classifier = {"classifier.1.weight": np.ones((4, 3), np.float32)}
    (folder / "alexnet.pth").write_bytes(torch_file(rule_backbone("alex") | classifier))
    (folder / "alex.pth").write_bytes(torch_file(heads("alex"), fake.legacy_file))
    (folder / "vgg.pth").write_bytes(torch_file(heads("vgg"), fake.legacy_file))
    return folder


@pytest.fixture(scope="module")
def converted(files):
    done = convert("--backbone", files / "alexnet.pth", "--heads", files / "alex.pth", "--output", files / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LPIPS v0.1 with alex, 2.5 M parameters")
    return files / "out"


def test_conversion_keeps_every_number(converted):
    lpips, backbone = lpips_weights.load(converted), rule_backbone("alex")
    assert lpips.network == "alex"
    for layer, leaves in lpips.variables["features"].items():
        np.testing.assert_array_equal(leaves["weight"].transpose(3, 2, 0, 1), backbone[f"features.{layer}.weight"])
        np.testing.assert_array_equal(leaves["bias"], backbone[f"features.{layer}.bias"])
    for name, weight in heads("alex").items():
        np.testing.assert_array_equal(lpips.variables["heads"][name.partition(".")[0]], weight.ravel())
    assert perceptual.distance(lpips, *pictures()) > 0
    about = json.loads((converted / "lpips.json").read_text())
    assert about["network"] == "alex" and about["provenance"]["heads"]["file"] == "alex.pth"
    assert len(about["provenance"]["backbone"]["sha256"]) == 64


def test_existing_output_is_only_replaced_by_force(converted, files):
    same = ("--backbone", files / "alexnet.pth", "--heads", files / "alex.pth", "--output", converted)
    refused = convert(*same)
    assert refused.returncode == 2 and "--force" in refused.stderr and refused.stderr.count("\n") == 1
    assert convert(*same, "--force").returncode == 0
    assert lpips_weights.load(converted).network == "alex"


def test_heads_of_the_other_network_are_refused_and_nothing_is_written(files):
    done = convert("--backbone", files / "alexnet.pth", "--heads", files / "vgg.pth", "--output", files / "none")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (files / "none").exists()
    assert "vgg.pth: does not fit LPIPS with alex: lin1.model.1.weight has shape [1, 128, 1, 1]" in done.stderr


def test_missing_flags_and_files_are_named(files):
    assert "--heads is missing" in convert("--backbone", files / "alexnet.pth").stderr
    with pytest.raises(InputError, match="nowhere.pth: no such file"):
        lpips_weights.read_state_dict(files / "nowhere.pth")
    (files / "list.pth").write_bytes(fake.zip_file([1, 2], {}))
    with pytest.raises(InputError, match="list.pth: holds no state dict"):
        lpips_weights.read_state_dict(files / "list.pth")


def without(tensors, name):
    return {key: x for key, x in tensors.items() if key != name}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: without(t, "features.0.weight"), "features.0.weight is missing, so it is no VGG16 and no AlexNet"),
        (lambda t: t | {"features.0.weight": np.ones((64, 3, 7, 7))}, r"features.0.weight has shape \[64, 3, 7, 7\]"),
        (lambda t: t | {"features.0.weight": np.ones(64)}, r"features.0.weight has shape \[64\]"),
        (lambda t: without(t, "features.8.bias"), "back: does not fit LPIPS with alex: missing features.8.bias"),
        (lambda t: t | {"features.1.running_mean": np.ones(64)}, "unknown features.1.running_mean"),
        (lambda t: t | {"features.3.bias": np.full(192, np.nan)}, "features.3.bias has values that are not finite"),
        (lambda t: t | {"features.3.bias": np.ones(64)}, r"features.3.bias has shape \[64\]"),
    ],
)
def test_backbone_that_does_not_fit(change, message):
    with pytest.raises(InputError, match=message):
        lpips_weights.from_state_dicts(change(rule_backbone("alex")), heads("alex"), "back", "head")


def test_all_that_is_missing_is_counted():
    backbone = {"features.0.weight": rule_backbone("alex")["features.0.weight"]}
    with pytest.raises(InputError, match="missing features.0.bias, .* and 4 more; it takes torchvision's alexnet"):
        lpips_weights.from_state_dicts(backbone, heads("alex"), "back", "head")


def test_whole_lpips_state_dict_serves_as_heads():
    whole = heads("alex") | {"net.slice1.0.weight": np.ones(3), "scaling_layer.shift": np.ones(3)}
    ours = lpips_weights.from_state_dicts(rule_backbone("alex"), whole, "back", "head")
    assert sorted(ours.variables["heads"]) == [f"lin{i}" for i in range(5)]


# Configuration


def test_no_weights_are_configured_by_default(monkeypatch):
    monkeypatch.setattr(lpips_package, "PACKAGE", "no_such_package")
    assert lpips_weights.configured(LossConfig()) is None


def test_lpips_without_weights_says_what_to_do(monkeypatch):
    monkeypatch.setattr(lpips_package, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="torchvision's vgg16.*pmv_jax.convert lpips.*loss.lpips_weights=DIR"):
        losses.load_network(LossConfig(perceptual="lpips_vgg"))


def test_configured_weights_are_loaded_and_must_be_of_the_loss(converted):
    assert lpips_weights.configured(LossConfig(lpips_weights=str(converted))).network == "alex"
    assert losses.load_network(LossConfig(lpips_weights=str(converted))) is None  # for metrics alone
    ours = losses.load_network(LossConfig(perceptual="lpips_alex", lpips_weights=str(converted)))
    assert ours.network == "alex" and all(isinstance(x, jax.Array) for x in jax.tree.leaves(ours))
    with pytest.raises(InputError, match="weights of LPIPS with alex, but loss.perceptual is lpips_vgg"):
        losses.load_network(LossConfig(perceptual="lpips_vgg", lpips_weights=str(converted)))


def test_directories_without_lpips_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such directory.*pmv_jax.convert lpips"):
        lpips_weights.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="pmv_jax.convert lpips"):
        lpips_weights.load(tmp_path / "empty")
    from pmv_jax.checkpoints import orbax as checkpoints

    checkpoints.save_tree(tmp_path / "other", {"heads": np.ones(3, np.float32)})
    with pytest.raises(InputError, match="other: holds no LPIPS weights"):
        lpips_weights.load(tmp_path / "other")
