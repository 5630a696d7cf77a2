"""The same numbers as EG3D: reference values of the PyTorch code against the imported generator, in float32.

Two small variants run always, from `tests/data` (its README says how the values were made). All seven, of the official
sizes, run under `-m slow` with the environment variable EG3D_REFERENCES naming the directory that has them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pmv_jax import cameras
from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names
from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.models.generator import Generator

DATA = Path(__file__).parents[1] / "data"
SMALL = ("tiny128-32", "tiny128-32-auto")
LARGE = ("shapenetcars128-64", "lsun256-128", "ffhq512-64", "ffhq512-128", "afhqcats512-128")


@pytest.fixture(autouse=True)
def highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


# ---------------------------------------------------------------------------------------------------------------------
# Reference values and the generators that they belong to
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reference:
    """One variant: EG3D's settings and tensor shapes, and what EG3D computes (layouts of PyTorch)."""

    name: str
    spec: dict[str, Any]
    values: dict[str, np.ndarray]

    def image(self, key: str) -> np.ndarray:
        """[H, W, C]."""
        return self.values[key].transpose(1, 2, 0)


@dataclasses.dataclass(frozen=True)
class Case:
    reference: Reference
    generator: Generator

    @property
    def ws(self) -> jax.Array:
        return jnp.asarray(self.reference.values["ws"])

    def camera(self, index: int) -> jax.Array:
        return jnp.asarray(self.reference.values["camera"][index : index + 1])

    def call(self, method: str, *args: Any) -> Any:
        """A method of the model, compiled."""
        model = self.generator.model
        return jax.jit(lambda variables, *args: model.apply(variables, *args, method=method))(
            self.generator.variables, *args
        )


def rule_weight(name: str, shape: list[int]) -> np.ndarray:
    """The weights of the reference networks: normal numbers seeded by the tensor's name, at about trained scales."""
    rng = np.random.default_rng(zlib.crc32(f"dev/{name}".encode()))
    normal = rng.standard_normal(shape, dtype=np.float32)
    leaf = name.rpartition(".")[2]
    if leaf in ("noise_strength", "w_avg"):
        return np.float32(0.1) * normal
    if leaf == "bias":
        if ".affine." in name:
            return 1 + np.float32(0.1) * normal
        return np.float32(10 if ".mapping.fc" in name else 0.1) * normal
    if leaf == "weight" and ".mapping.fc" in name:
        return np.float32(100) * normal
    if leaf == "resample_filter":
        taps = np.array([1, 3, 3, 1], np.float32) / 8
        return np.outer(taps, taps)
    return normal


def load_case(name: str, spec: dict[str, Any], path: Path) -> Case:
    tensors = {key: rule_weight(key, shape) for key, shape in spec["tensors"].items()}
    state = eg3d.Eg3dState(name, spec["init"], spec["rendering_kwargs"], spec["neural_rendering_resolution"], tensors)
    config = eg3d_families.generator_config(state)
    variables = eg3d_names.to_variables(checkpoints.variable_shapes(config), tensors, name)
    generator = Generator(config, jax.tree.map(jnp.asarray, variables))
    return Case(Reference(name, spec, dict(np.load(path))), generator)


@pytest.fixture(scope="module", params=SMALL)
def case(request: pytest.FixtureRequest) -> Case:
    specs = json.loads((DATA / "eg3d_variants.json").read_text())
    return load_case(request.param, specs[request.param], DATA / f"eg3d_{request.param}.npz")


@pytest.fixture(scope="module", params=SMALL + LARGE)
def full_case(request: pytest.FixtureRequest) -> Case:
    specs = json.loads((full_directory() / "variants.json").read_text())
    return load_case(request.param, specs[request.param], full_directory() / f"{request.param}.npz")


def full_directory() -> Path:
    if "EG3D_REFERENCES" not in os.environ:
        pytest.skip("EG3D_REFERENCES does not name the directory of the full reference values")
    return Path(os.environ["EG3D_REFERENCES"])


def assert_close(ours: Any, theirs: np.ndarray, worst: float = 1e-3, mean: float = 1e-4, what: str = "") -> None:
    """Bounds the largest and the mean error, in units of the reference's range."""
    ours = np.asarray(ours, np.float64)
    assert ours.shape == theirs.shape, what
    error = np.abs(ours - theirs) / np.ptp(theirs)
    assert error.max() <= worst and error.mean() <= mean, f"{what}: worst {error.max():.1e}, mean {error.mean():.1e}"


def on_reference_grid(image: Any, reference: np.ndarray) -> np.ndarray:
    """The pixels of [H, W, C] that the reference values keep: the middle one of every cell."""
    step = image.shape[0] // reference.shape[0]
    return np.asarray(image)[step // 2 :: step, step // 2 :: step]


# ---------------------------------------------------------------------------------------------------------------------
# What has to agree
# ---------------------------------------------------------------------------------------------------------------------


def check_latents(case: Case) -> None:
    values, generator = case.reference.values, case.generator
    z = jnp.asarray(values["z"])
    assert_close(generator.mapping(z, case.camera(0)), values["ws"], 1e-5, 1e-5, "ws")
    truncated = generator.mapping(z, case.camera(0), truncation_psi=0.7, truncation_cutoff=8)
    assert_close(truncated, values["ws_truncated"], 1e-5, 1e-5, "truncated ws")


def check_planes_and_points(case: Case) -> None:
    values = case.reference.values
    planes = case.call("planes", case.ws)
    channels = np.asarray(planes)[0].transpose(0, 3, 1, 2).reshape(-1, *planes.shape[2:4])  # as EG3D stacks them
    step = channels.shape[1] // values["planes_strided"].shape[1]
    assert_close(channels[:, ::step, ::step], values["planes_strided"], what="planes")
    np.testing.assert_allclose([channels.mean(), channels.std()], values["planes_mean_std"], rtol=1e-4)
    densities, colours = case.call("density", planes, jnp.asarray(values["points"])[None])
    assert_close(densities[0][:, None], values["points_sigma"], what="density")
    assert_close(colours[0], values["points_rgb"], what="features of points")


def check_images(case: Case) -> None:
    for view in range(2):
        out = case.generator.synthesis(case.ws, case.camera(view))
        assert jax.tree.map(lambda x: x.dtype, out) == dict.fromkeys(out, jnp.float32)
        ours = {"image": out["image"], "image_raw": out["image_raw"], "image_depth": out["ray_distance"][..., None]}
        for key, image in ours.items():
            reference = case.reference.image(f"{key}_{view}")
            assert_close(on_reference_grid(image[0], reference), reference, what=f"{key} {view}")


def check_image_without_noise(case: Case) -> None:
    reference = case.reference.image("image_nonoise_0")
    image = case.generator.synthesis(case.ws, case.camera(0), noise_mode="none")["image"][0]
    assert_close(on_reference_grid(image, reference), reference)


@jax.jit
def loss_and_gradients(generator: Generator, ws: jax.Array, camera: jax.Array, target: jax.Array):
    """Mean squared error of the image, its gradient to ws, and the norm of its gradient to every parameter."""

    def loss(params, ws):
        image = generator.with_params(params).synthesis(ws, camera)["image"]
        return jnp.mean(jnp.square(image - target))

    value, (params, ws) = jax.value_and_grad(loss, argnums=(0, 1))(generator.params, ws)
    return value, ws, jax.tree.map(jnp.linalg.norm, params)


def check_gradients(case: Case, target: np.ndarray | float, prefix: str) -> None:
    values = case.reference.values
    size = case.generator.config.image_resolution
    target = jnp.broadcast_to(jnp.asarray(target, jnp.float32), (1, size, size, 3))
    loss, ws, norms = loss_and_gradients(case.generator, case.ws, case.camera(0), target)
    np.testing.assert_allclose(loss, values[f"{prefix}_loss"], rtol=1e-3)
    assert_close(ws, values[f"{prefix}_ws"], 1e-3, 1e-4, "gradient to ws")
    ours = traverse_util.flatten_dict(norms, sep=".")
    ours = {name.replace("decoder.net_", "decoder.net."): float(norm) for name, norm in ours.items()}
    theirs = dict(zip(case.reference.spec["parameters"], values[f"{prefix}_norms"], strict=True))
    assert ours.keys() == theirs.keys()
    for name, norm in theirs.items():
        # The absolute part is for noise strengths, single numbers that are left over where up to 5e5 terms cancel:
        # EG3D's own float32 and float64 differ there by up to 3e-3. The largest norm is 1.3.
        np.testing.assert_allclose(ours[name], norm, rtol=1e-3, atol=2e-6, err_msg=name)


def noise_target(values: dict[str, np.ndarray]) -> np.ndarray:
    """The image [H, W, 3] that `grad_loss` compares with: what the seed of `z` and `points` gives next."""
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(rng.standard_normal((1, 512)).astype(np.float32), values["z"])
    np.testing.assert_allclose(1.2 * (rng.random((256, 3)) - 0.5), values["points"], atol=1e-6)
    return rng.standard_normal((3, 128, 128)).transpose(1, 2, 0)


# ---------------------------------------------------------------------------------------------------------------------
# The small variants, always
# ---------------------------------------------------------------------------------------------------------------------


first_variant = pytest.mark.parametrize("case", SMALL[:1], indirect=True)  # where the other one has nothing new


@first_variant
def test_latents(case):
    check_latents(case)


@first_variant
def test_planes_and_points(case):
    check_planes_and_points(case)


def test_images_and_distances(case):
    check_images(case)


@first_variant
def test_image_without_noise(case):
    check_image_without_noise(case)


@first_variant
def test_gradients_of_the_mean_square(case):
    check_gradients(case, 0.0, "square")


@first_variant
def test_gradients_of_the_error_to_an_image(case):
    check_gradients(case, noise_target(case.reference.values), "grad")


# ---------------------------------------------------------------------------------------------------------------------
# Cameras
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def camera_values() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "cameras.npz"))


def test_look_at(camera_values):
    def pose(yaw, pitch, pivot, radius):
        return cameras.split(cameras.look_at(yaw, pitch, pivot=pivot, radius=radius))[0]

    arguments = (camera_values[key].astype(np.float32) for key in ("yaw", "pitch", "pivot", "radius"))
    ours = jax.jit(jax.vmap(pose))(*arguments)
    np.testing.assert_allclose(ours, camera_values["cam2world"], atol=3e-6)


def test_intrinsics_from_field_of_view(camera_values):
    ours = cameras.intrinsics_from_fov(camera_values["fov_degrees"])
    np.testing.assert_allclose(ours, camera_values["intrinsics"], rtol=1e-6)


def test_rays(camera_values):
    camera = cameras.join(camera_values["cam2world"][:2], camera_values["intrinsics"][1:3])
    origins, directions = jax.jit(cameras.rays, static_argnums=1)(camera, 8)
    np.testing.assert_allclose(origins, camera_values["rays_origin"], atol=1e-6)
    np.testing.assert_allclose(directions, camera_values["rays_direction"], atol=1e-6)


def test_pseudo_views_of_the_paper(camera_values):
    # One round on an ellipse. Its code writes pi as 3.14, and half pi as half of that.
    angle = 2 * 3.14 * np.arange(30) / 30
    offset = 3.14 / 2 - np.pi / 2
    ours = cameras.split(cameras.look_at(0.35 * np.sin(angle) + offset, 0.25 * np.cos(angle) - 0.05 + offset))[0]
    half_precision = camera_values["pseudo_view_cam2world"]
    np.testing.assert_allclose(ours, half_precision, rtol=2**-11, atol=3e-6)


# ---------------------------------------------------------------------------------------------------------------------
# All variants, slow
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_variants(full_case):
    check_latents(full_case)
    check_planes_and_points(full_case)
    check_images(full_case)
    check_image_without_noise(full_case)
    if full_case.reference.name in SMALL:
        check_gradients(full_case, noise_target(full_case.reference.values), "grad")


@pytest.mark.slow
def test_bfloat16_is_close_to_float32(full_case):
    """The image in mixed precision, on the scale of [-1, 1], is at least 40 dB near the one in float32."""
    generator = full_case.generator
    mixed = generator.replace(config=dataclasses.replace(generator.config, compute_dtype="bfloat16"))
    exact, near = (g.synthesis(full_case.ws, full_case.camera(0))["image"] for g in (generator, mixed))
    psnr = 10 * jnp.log10(4 / jnp.mean(jnp.square(exact - near)))
    print(f"{full_case.reference.name}: {psnr:.1f} dB")
    assert psnr >= 40


@pytest.mark.slow
def test_a_pickle_of_the_official_code_holds_the_same_network():
    specs = json.loads((full_directory() / "variants.json").read_text())
    state = eg3d.read_checkpoint(full_directory() / "tiny128-32.pkl")
    shapes = specs["tiny128-32"]["tensors"]
    assert {name: list(tensor.shape) for name, tensor in state.tensors.items()} == shapes
    for name, tensor in state.tensors.items():
        np.testing.assert_array_equal(tensor, rule_weight(name, shapes[name]), err_msg=name)
