"""Rendering: one head from any camera, at any size, with any number of samples; and what one call compiles."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.config import InversionConfig
from pmv_jax.inversion.result import Inversion
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator
from tests import small_inversion

CONFIG = small_inversion.CONFIG
FRONT = np.asarray(cameras.look_at(0.0, 0.0))


@pytest.fixture(scope="module")
def small() -> Inversion:
    return small_inversion.make()


@pytest.fixture(scope="module")
def demo() -> Inversion:
    """A head of the demo generator."""
    generator = load_generator(default_generator_directory())
    z = np.random.default_rng(2).standard_normal((1, generator.config.z_dim), np.float32)
    ws = np.asarray(generator.mapping(z, None)[0])
    return Inversion(generator, ws, FRONT, InversionConfig())


def farther(camera: np.ndarray, factor: float) -> np.ndarray:
    """A camera that many times as far from the origin, with a lens as many times as long."""
    camera = camera.copy()
    camera[..., 3:12:4] *= factor
    camera[..., [16, 20]] *= factor
    return camera


def with_config(generator: Generator, group: str, **changes) -> Generator:
    """The same weights under another config."""
    changed = dataclasses.replace(getattr(generator.config, group), **changes)
    return generator.replace(config=dataclasses.replace(generator.config, **{group: changed}))


def with_own_program(generator: Generator, number: float) -> Generator:
    """The same generator; its methods are traced anew, by a setting that none of them looks at."""
    return generator.replace(config=dataclasses.replace(generator.config, camera_focal=number))


# ---------------------------------------------------------------------------------------------------------------------
# Cameras at any distance
# ---------------------------------------------------------------------------------------------------------------------


def test_at_the_distance_of_training_rays_begin_at_the_camera(small):
    """To the last bit, however a camera's distance is rounded."""
    views = camera_paths.orbit(CONFIG, 60, focal=4.0)
    radius = np.linalg.norm(views[:, 3:12:4], axis=1)
    assert np.any(radius != np.float32(CONFIG.camera_radius))  # so the test says something
    origins, directions, start = jax.jit(lambda g, c: g._rays(c, 8))(small.generator, views)
    expected = jax.jit(lambda c: cameras.rays(c, 8))(views)
    np.testing.assert_array_equal(start, 0)
    np.testing.assert_array_equal(origins, expected[0])
    np.testing.assert_array_equal(directions, expected[1])


def test_at_the_distance_of_training_bounds_that_stay_give_the_same_picture(small, monkeypatch):
    """Bit by bit, but for how one version of XLA or another orders its sums."""
    arguments = small.planes, jnp.asarray(small.ws), camera_paths.orbit(CONFIG, 8, focal=4.0)[1]
    moving = small.generator.render(*arguments)
    monkeypatch.setattr(Generator, "_rays", lambda self, camera, size: (*cameras.rays(camera, size), jnp.zeros(1)))
    staying = with_own_program(small.generator, 1.0).render(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), moving, staying)


def test_twice_as_far_through_twice_the_lens_a_head_looks_nearly_the_same(demo):
    """The mean difference is that of the perspective; with bounds that stay where they are, nothing is seen."""
    near, far = (demo.render(view[None]) for view in (FRONT, farther(FRONT, 2.0)))
    error = np.abs(far["image"] - near["image"]).mean()
    assert error < 0.06, error
    added = demo.generator.config.camera_radius
    depth, far_depth = (
        np.asarray(cameras.ray_distance_to_z_depth(made["ray_distance"][0], view))
        for made, view in ((near, FRONT), (far, farther(FRONT, 2.0)))
    )
    assert abs(np.median(far_depth - depth) - added) < 0.01
    assert np.abs(far_depth - depth - added).mean() < 0.03


def test_median_depth_grows_by_the_added_distance(demo):
    generator, planes = demo.generator, demo.planes
    near, far = (np.asarray(generator.z_depth(planes, view, 32)) for view in (FRONT, farther(FRONT, 2.0)))
    assert abs(np.median(far - near) - generator.config.camera_radius) < 0.01


def test_rays_never_begin_behind_the_camera(small):
    close = np.asarray(cameras.look_at(0.0, 0.0, radius=0.2))
    _, _, start = small.generator._rays(jnp.asarray(close), 4)
    assert float(start) == -CONFIG.rendering.ray_start


def test_bounds_of_the_box_stay_with_the_box(small):
    auto = with_config(small.generator, "rendering", ray_start=None, ray_end=None)
    near, far = (auto.march(small.planes, view, 16)[1] for view in (FRONT, farther(FRONT, 3.0)))
    assert abs(float(jnp.median(far - near)) - 2 * CONFIG.camera_radius) < 0.05


def test_gradients_reach_the_camera_and_are_finite(small):
    def brightness(camera):
        return small.generator.march(small.planes, camera, 4)[0].mean()

    for camera in (FRONT, farther(FRONT, 1.3)):
        gradient = jax.jit(jax.grad(brightness))(jnp.asarray(camera))
        chex.assert_tree_all_finite(gradient)
        assert np.abs(gradient).max() > 0


def test_the_gradient_of_a_still_camera_alone_is_left_out(small):
    def gradients(still):
        def brightness(params, planes, camera):
            return small.generator.with_params(params).render(planes, small.ws, camera, still=still)["image"].mean()

        return jax.grad(brightness, (0, 1, 2))(small.generator.params, small.planes, jnp.asarray(FRONT))

    *wanted, by_camera = jax.jit(gradients)(None)
    for still in (False, True):
        *others, camera = jax.jit(gradients)(jnp.asarray(still))
        chex.assert_trees_all_close(others, wanted, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(camera, np.zeros(25) if still else by_camera, rtol=1e-4, atol=1e-7)
    assert np.abs(by_camera).max() > 1e-5


# ---------------------------------------------------------------------------------------------------------------------
# Sizes and samples
# ---------------------------------------------------------------------------------------------------------------------


def test_one_view_is_what_a_batch_gives(small):
    views = np.stack([FRONT, np.asarray(cameras.look_at(0.4, -0.2, radius=3.5))])
    ws = np.stack([small.ws, 0.5 * small.ws])
    batch = small.generator.synthesis(ws, views)
    for index in range(2):
        planes = small.generator.planes(ws[index])
        alone = small.generator.render(planes, ws[index], views[index])
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a, b[i], atol=2e-3, rtol=2e-3), alone, batch)


def test_raw_picture_has_the_size_asked_for_and_the_finished_one_its_own(small):
    ws = jnp.asarray(small.ws)
    made = small.generator.render(small.planes, ws, FRONT, resolution=8)
    features, distance = small.generator.march(small.planes, FRONT, 8)
    assert made["image"].shape == (small_inversion.SIZE, small_inversion.SIZE, 3)
    np.testing.assert_allclose(made["image_raw"], features[..., :3], atol=1e-5)
    np.testing.assert_allclose(made["ray_distance"], distance, atol=1e-5)


def test_super_resolution_that_scales_nothing_down_refuses_more_rays(small):
    fixed = with_config(small.generator, "superresolution", resize_larger=False)
    with pytest.raises(ValueError, match="takes 16 rays a side, not 32"):
        fixed.render(small.planes, jnp.asarray(small.ws), FRONT, resolution=32)


def test_samples_are_those_of_a_generator_with_as_many(small):
    rendering = CONFIG.rendering
    finer = with_config(
        small.generator,
        "rendering",
        coarse_samples=3 * rendering.coarse_samples,
        fine_samples=3 * rendering.fine_samples,
    )
    expected = finer.render(small.planes, jnp.asarray(small.ws), FRONT)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-4), small.render(FRONT[None], samples=3), expected
    )
    assert np.abs(small.render(FRONT[None])["image_raw"][0] - expected["image_raw"]).max() > 1e-3


def test_density_is_that_of_the_field_which_rays_meet(small):
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (7, 3)).astype(np.float32)
    model = small.generator.model
    expected, features = model.apply(small.generator.variables, small.planes[None], points[None], method="density")
    density, colour = small.generator.density(small.planes, points)
    np.testing.assert_allclose(density, expected[0], atol=1e-4)
    np.testing.assert_allclose((colour + 1) / 2, features[0, :, :3], atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# What is computed how often
# ---------------------------------------------------------------------------------------------------------------------


def test_planes_are_made_once_and_one_program_serves_all_views(monkeypatch):
    """However many views are asked for at a time, and for every head of the family."""
    made, traced = [], []
    planes, render = Generator.planes, Generator._render

    def count_planes(self, ws):
        made.append(1)
        return planes(self, ws)

    def count_render(self, *args):
        traced.append(1)
        return render(self, *args)

    monkeypatch.setattr(Generator, "planes", count_planes)
    monkeypatch.setattr(Generator, "_render", count_render)
    views = camera_paths.orbit(CONFIG, 7, focal=4.0)
    for head in (small_inversion.make(), small_inversion.make()):
        head = dataclasses.replace(head, generator=with_own_program(head.generator, 2.0))
        for count in (1, 3):
            assert head.render(views[:count])["image"].shape == (count, small_inversion.SIZE, small_inversion.SIZE, 3)
        assert len(list(frames.render_views(functools.partial(head.render), views))) == 7
    assert len(made) == 2 and len(traced) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda g, planes, ws: g.planes(ws[None]),
        lambda g, planes, ws: g.render(planes, ws, FRONT[None]),
        lambda g, planes, ws: g.render(planes[None], ws, FRONT),
        lambda g, planes, ws: g.march(planes, FRONT[:24], 4),
        lambda g, planes, ws: g.synthesis(ws[None], FRONT),
        lambda g, planes, ws: g.mapping(np.zeros((2, 3)), None),
        lambda g, planes, ws: g.density(planes, np.zeros((4, 2))),
    ],
)
def test_wrong_shapes_are_refused(small, call):
    with pytest.raises(AssertionError, match="shape|rank"):
        call(small.generator, small.planes, jnp.asarray(small.ws))
