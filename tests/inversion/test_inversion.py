"""The stages of inversion and the pipeline that joins them, with a generator small enough to compile in seconds."""

import dataclasses
import functools
import json
import operator
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import ndimage

from pmv_jax.cameras import look_at, poses, yaw_pitch
from pmv_jax.checkpoints.orbax import variable_shapes
from pmv_jax.config import CameraSearchConfig, InversionConfig, LossConfig, PseudoViewConfig, TuningConfig, override
from pmv_jax.errors import InputError, NumericalError
from pmv_jax.inversion import adam_loop as optimisation
from pmv_jax.inversion import image_run as running
from pmv_jax.inversion import latent, losses, pipeline, pseudo_views, tuning
from pmv_jax.inversion import view_fitting as fitting
from pmv_jax.inversion.losses import image_loss
from pmv_jax.inversion.result import Inversion, load_inversion
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator
from tests import small_inversion
from tests.small_inversion import CONFIG as TINY
from tests.small_inversion import SIZE

pytestmark = pytest.mark.usefixtures("quick_compilation")

RECIPE = dataclasses.replace(small_inversion.RECIPE, tuning=TuningConfig(steps=4))
CAMERA = look_at(0.2, 0.1)


@functools.cache
def generator() -> Generator:
    """Random weights, without compiling a program that makes them."""
    random = np.random.default_rng(0)
    shapes = variable_shapes(TINY)
    return Generator(TINY, jax.tree.map(lambda s: jnp.asarray(random.standard_normal(s.shape, np.float32)), shapes))


@functools.cache
def picture() -> np.ndarray:
    """[SIZE, SIZE, 3], smooth."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    return np.float32(0.8 * np.sin(np.stack([6 * x, 5 * y, 4 * x * y], -1)))


def rendered(network: Generator, code: jax.Array, cameras: jax.Array) -> dict[str, np.ndarray]:
    """Views [V, 25] of a code."""
    return frames.render(network, network.planes(code), code, cameras)


def assert_identical(one: Inversion, other: Inversion) -> None:
    def values(inversion: Inversion):
        losses = [stage.losses for stage in inversion.stages]
        return inversion.generator.variables, inversion.ws, inversion.camera, inversion.pseudo_views, losses

    assert jax.tree.structure(values(one)) == jax.tree.structure(values(other))
    jax.tree.map(np.testing.assert_array_equal, values(one), values(other))


# ---------------------------------------------------------------------------------------------------------------------
# The loop
# ---------------------------------------------------------------------------------------------------------------------

ADAM = optax.adam(0.1)
STEPS = 18  # no more than optimisation.CHUNK


def bowl(target):
    """Distance to a target, with a little noise, which shows what the key does."""

    def loss(variables, step, key):
        noise = 1e-3 * jax.random.normal(key, variables["x"].shape)
        value = jnp.sum(jnp.square(variables["x"] + noise - target)) + jnp.square(variables["y"])
        return value, value

    return loss


@functools.partial(jax.jit, static_argnames="steps")
def descend(state, target, key, stop, steps=STEPS):
    state, losses = optimisation.run(jax.value_and_grad(bowl(target), has_aux=True), ADAM, state, key, steps, stop)
    return state, losses[:steps]


def fresh_state():
    return optimisation.start({"x": jnp.zeros(3), "y": jnp.ones(())}, ADAM)


def test_loop_under_vmap_equals_one_by_one_with_different_stops():
    targets, keys = jnp.array([0.2, 0.8, 9.0])[:, None] * jnp.ones(3), jax.random.split(jax.random.key(0), 3)
    states, losses = jax.vmap(lambda target, key: descend(fresh_state(), target, key, 0.3))(targets, keys)
    for index, (target, key) in enumerate(zip(targets, keys, strict=True)):
        one = descend(fresh_state(), target, key, 0.3)
        in_batch = jax.tree.map(operator.itemgetter(index), (states, losses))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), in_batch, one)
    assert states.stopped.tolist() == [True, True, False]
    first = np.argmax(losses <= 0.3, axis=1)
    assert 0 < first[0] < first[1]


def test_a_stopped_loop_changes_nothing_any_more():
    target, key = jnp.full(3, 0.2), jax.random.key(1)
    stopped, losses = descend(fresh_state(), target, key, 0.3)
    stop = int(np.argmax(np.asarray(losses) <= 0.3))
    before, _ = descend(fresh_state(), target, key, 0.0, steps=stop)
    assert 0 < stop < STEPS - 1 and int(stopped.step) == stop
    # The loss that stops it brings no step.
    for frozen, moving in ((stopped.variables, before.variables), (stopped.optimiser, before.optimiser)):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), frozen, moving)


def test_loop_in_chunks_equals_one_run():
    target, key = jnp.arange(3.0), jax.random.key(2)
    whole, losses = descend(fresh_state(), target, key, 0.0)
    state, pieces = fresh_state(), []
    for _ in range(3):
        state, piece = descend(state, target, key, 0.0, steps=STEPS // 3)
        pieces.append(piece)
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    np.testing.assert_array_equal(np.concatenate(pieces), losses)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_loss_that_is_not_finite_freezes_the_loop(bad):
    def loss(variables, step, key):
        return jnp.where(step == 5, bad, jnp.sum(jnp.square(variables["x"] - 1))), jnp.ones(())

    def run(steps):
        start = optimisation.start({"x": jnp.zeros(3)}, ADAM)
        return optimisation.run(jax.value_and_grad(loss, has_aux=True), ADAM, start, jax.random.key(0), steps)

    state, losses = run(8)
    assert bool(state.stopped) and np.isfinite(losses[:5]).all() and not np.isfinite(losses[5])
    np.testing.assert_array_equal(state.variables["x"], run(5)[0].variables["x"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


# ---------------------------------------------------------------------------------------------------------------------
# The program of all stages
# ---------------------------------------------------------------------------------------------------------------------

PLAN = fitting.plan(3, code_rate=1e-3, weights_rate=1e-3, regularisation=0.1, extra_views=2, view_weight=0.7)


def three_views(seed: int = 0) -> fitting.Views:
    random = np.random.default_rng(seed)
    cameras = look_at(jnp.array([0.0, 0.3, -0.2]), jnp.array([0.0, 0.1, -0.1]))
    images = random.uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32)
    return fitting.Views(cameras, jnp.asarray(images), jnp.asarray(random.uniform(0, 1, (3, SIZE, SIZE)), jnp.float32))


def a_code(seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal((TINY.num_ws, TINY.w_dim)), jnp.float32)


def fit(code, views, steps, views_at_once=1, *, plan=PLAN, pose=None, loss=RECIPE.loss):
    state = fitting.start(*jax.tree.map(jnp.array, (code, generator().params, pose)))
    return fitting.run(
        state, generator(), views, plan, jnp.float32(0.5), None, jax.random.key(0), steps,
        loss_config=loss, views_at_once=views_at_once,
    )  # fmt: skip


def test_gradients_summed_view_by_view_are_those_of_the_whole_loss():
    views, code = three_views(), a_code()

    @jax.value_and_grad
    def whole(variables):
        cameras = views.cameras
        tuned = generator().with_params(variables["params"])
        ws = jnp.tile(variables["code"][None], (3, 1, 1))
        images = tuned.synthesis(ws, cameras)["image"]
        losses = jax.vmap(lambda *x: image_loss(x[0], x[1], RECIPE.loss, x[2]))(images, views.images, views.weights)
        spread = jnp.mean(jnp.square((variables["code"] - variables["code"].mean(0)) / 0.5))
        return losses[0] + 0.7 * losses[1:].mean() + 0.1 * spread

    value, grads = jax.jit(whole)({"code": code, "params": generator().params})
    state, losses = fit(code, views, 1)
    np.testing.assert_allclose(losses[0], value, rtol=1e-5)
    first_moment = ravel_pytree(state.optimiser[0].mu)[0]  # a tenth of the gradient, after one step of Adam
    expected = ravel_pytree(grads)[0]
    np.testing.assert_allclose(10 * first_moment, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_the_pose_of_the_inputs_camera_is_fitted_and_no_other():
    views, code, pose = three_views(), a_code(), jnp.array([0.1, -0.2, 0.05, 0.02, -0.03])
    network = generator()

    @jax.value_and_grad
    def whole(pose):
        own = poses.to_camera(pose, TINY)
        images = network.synthesis(jnp.tile(code, (3, 1, 1)), views.cameras.at[0].set(own))["image"]
        losses = jax.vmap(lambda *x: image_loss(x[0], x[1], RECIPE.loss, x[2]))(images, views.images, views.weights)
        return losses[0] + 0.7 * losses[1:].mean()

    value, expected = jax.jit(whole)(pose)
    expected += value * 2 * 0.5 * pose  # the pull towards half of it
    plan = PLAN.replace(camera_rate=PLAN.camera_rate.at[:3].set(0.01), pose=0.5 * pose, pose_pull=jnp.float32(2))
    for views_at_once in (1, 2):
        state, _ = fit(code, views, 1, views_at_once, plan=plan, pose=pose)
        np.testing.assert_allclose(10 * state.optimiser[0].mu["pose"], expected, rtol=1e-3)
        step = state.variables["pose"] - pose  # Adam's first one has the full rate
        np.testing.assert_allclose(step, -0.01 * np.sign(expected) * poses.PACE, rtol=1e-2)


@pytest.mark.parametrize("views_at_once", [2, 3])
def test_views_side_by_side_equal_one_after_the_other(views_at_once):
    one, losses = fit(a_code(), three_views(), 2)
    other, again = fit(a_code(), three_views(), 2, views_at_once)
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    np.testing.assert_allclose(other.variables["code"], one.variables["code"], atol=2e-5)


def test_a_batch_of_images_equals_one_by_one():
    codes = jnp.stack([a_code(1), a_code(2)])
    batch = jax.tree.map(lambda *x: jnp.stack(x), three_views(1), three_views(2))
    states, losses = jax.vmap(lambda code, views: fit(code, views, 2))(codes, batch)
    for i in range(2):
        alone, own = fit(codes[i], jax.tree.map(operator.itemgetter(i), batch), 2)
        np.testing.assert_allclose(losses[i], own, rtol=1e-5)
        np.testing.assert_allclose(states.variables["code"][i], alone.variables["code"], atol=2e-5)


def test_stages_of_any_length_share_one_program():
    code, views = a_code(), three_views()
    fit(code, views, 1)
    programs = fitting.run._cache_size()
    fit(code, views, 2, plan=fitting.plan(500, code_rate=np.linspace(0, 1, 500), noise=0.1))
    assert fitting.run._cache_size() == programs


# ---------------------------------------------------------------------------------------------------------------------
# The pipeline
# ---------------------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """What a progress callback raises to interrupt a run."""


def invert(config=RECIPE, camera=CAMERA, image=None, **kwargs) -> Inversion:
    return pipeline.invert(picture() if image is None else image, camera, generator(), config, **kwargs)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(running, "CHUNK", 2)
    monkeypatch.setattr(running, "SAVE_SHARE", np.inf)  # save after every chunk


@functools.cache
def inversion() -> Inversion:
    """What all tests of the pipeline compare with; programs are compiled here, once."""
    return invert()


def test_inversion_is_whole():
    ours = inversion()
    assert [(stage.name, stage.steps) for stage in ours.stages] == [("latent", 4), ("tuning", 4), ("joint", 4)]
    assert all(np.isfinite(stage.losses).all() and stage.seconds > 0 for stage in ours.stages)
    assert ours.ws.shape == (TINY.num_ws, TINY.w_dim)
    np.testing.assert_array_equal(ours.camera, CAMERA)
    views = ours.pseudo_views
    assert views.blend.shape == views.warp.shape == (3, SIZE, SIZE, 3)
    assert views.visibility.min() >= 0 and views.visibility.max() <= 1 + 1e-6
    expected = views.visibility + RECIPE.pseudo_views.hidden_weight * (1 - views.visibility)
    np.testing.assert_allclose(views.weight, expected, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    assert_identical(invert(), inversion())
    other = invert(dataclasses.replace(RECIPE, seed=1))
    assert (other.ws != inversion().ws).any()


def test_the_generator_given_is_left_alone():
    before = jax.tree.map(np.array, generator().variables)
    inversion()
    jax.tree.map(np.testing.assert_array_equal, generator().variables, before)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before["params"], inversion().generator.params)
    assert any(jax.tree.leaves(changed))


@pytest.mark.parametrize(("stage", "done"), [("latent", 2), ("latent", 4), ("tuning", 4), ("joint", 4)])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, stage, done):
    def interrupt(name: str, steps: int, total: int, loss: float) -> None:
        if (name, steps) == (stage, done):
            raise Stop

    with pytest.raises(Stop):
        invert(progress=interrupt, state_directory=tmp_path)

    calls = []
    resumed = invert(progress=lambda *call: calls.append(call), state_directory=tmp_path)
    assert_identical(resumed, inversion())
    begun = {name: steps for name, steps, _, loss in calls if np.isnan(loss)}
    assert begun[stage] == done - 2  # the chunk that was interrupted before it was saved


def test_an_inversion_comes_back_from_disk(tmp_path):
    ours = inversion()
    ours.save(tmp_path / "a")
    loaded = load_inversion(tmp_path / "a")
    assert loaded.config == ours.config and loaded.generator.config == TINY
    assert [(stage.name, stage.seconds) for stage in loaded.stages] == [(s.name, s.seconds) for s in ours.stages]
    assert_identical(loaded, dataclasses.replace(ours, pseudo_views=None))
    cameras = look_at(jnp.array([0.0, 0.3]), 0.0)
    renders, again = ours.render(cameras), loaded.render(cameras)
    assert renders["image"].shape == (2, SIZE, SIZE, 3) and renders["ray_distance"].shape == (2, 16, 16)
    jax.tree.map(np.testing.assert_array_equal, again, renders)
    with pytest.raises(InputError, match="exists"):
        ours.save(tmp_path / "a")
    with pytest.raises(InputError, match="no inversion here"):
        load_inversion(tmp_path)
    meta = json.loads((tmp_path / "a" / "inversion.json").read_text())
    meta["config"]["joint"]["gone"] = 1
    (tmp_path / "a" / "inversion.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="a: written by another version of pmv_jax .*joint.gone"):
        load_inversion(tmp_path / "a")


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (np.zeros((SIZE, SIZE), np.float32), "shape"),
        (np.zeros((16, 16, 3), np.float32), r"takes \[32, 32, 3\]"),
        (np.full((SIZE, SIZE, 3), np.nan, np.float32), "not finite"),
    ],
)
def test_unusable_images_are_refused(image, problem):
    with pytest.raises(InputError, match=problem):
        invert(image=image)


def test_a_poisoned_run_names_its_stage():
    with pytest.raises(NumericalError, match="stage latent: .* at step [23]; .*--set latent.learning_rate"):
        invert(override(RECIPE, ["latent.learning_rate=1e30"]))


# ---------------------------------------------------------------------------------------------------------------------
# Camera search
# ---------------------------------------------------------------------------------------------------------------------


def average_head(camera) -> np.ndarray:
    """The tiny generator's average head as a camera sees it, before super-resolution, [SIZE, SIZE, 3]."""
    ws = jnp.tile(latent.statistics(generator(), camera).mean, (TINY.num_ws, 1))
    raw = Inversion(generator(), ws, camera, RECIPE).render(jnp.stack([camera, camera]))["image_raw"][0]
    return np.asarray(jax.image.resize(raw, (SIZE, SIZE, 3), "bilinear"))


@pytest.mark.slow
def test_inversion_without_a_camera_finds_one():
    search = CameraSearchConfig(heads=64, refine_heads=32, resolution=16)
    camera = poses.to_camera(jnp.array([0.35, 0.1]), TINY)
    ours = invert(dataclasses.replace(RECIPE, camera=search), camera=None, image=average_head(camera))
    assert [stage.name for stage in ours.stages[:3]] == ["camera", "camera_refinement", "latent"]
    np.testing.assert_allclose(yaw_pitch(jnp.asarray(ours.camera)), (0.35, 0.1), atol=0.1)


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_an_estimated_camera_is_refined_with_the_code(rate):
    recipe = override(RECIPE, (f"latent.camera_rate={rate}", "camera.heads=16", "camera.refine_heads=8"))
    found = pipeline.search_camera(picture(), generator(), recipe)
    ours = invert(recipe, camera=None)
    assert np.array_equal(ours.camera, found) == (rate == 0)
    pose = np.asarray(poses.of_camera(jnp.asarray(ours.camera)) - poses.of_camera(jnp.asarray(found)))
    assert np.abs(pose[:2]).max() <= rate * recipe.latent.steps


# ---------------------------------------------------------------------------------------------------------------------
# Pseudo-views
# ---------------------------------------------------------------------------------------------------------------------


def test_soften_erodes_and_blurs_inwards():
    mask = np.float32(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 5) > 0)
    assert 0.3 < mask.mean() < 0.7
    # Without a blur it is erosion, with the outside visible.
    for width, reach in ((0.0, 0), (0.03, 1), (0.1, 3)):
        expected = ndimage.minimum_filter(mask, 2 * reach + 1, mode="constant", cval=1.0)
        np.testing.assert_array_equal(pseudo_views.soften(mask, width, 0.0), expected)
    # With a blur it is the smaller of the eroded mask and its Gaussian: nothing hidden becomes visible.
    eroded, sigma = ndimage.minimum_filter(mask, 3, mode="constant", cval=1.0), 0.2 * 64 / 6
    blurred = ndimage.gaussian_filter(eroded, sigma, mode="nearest", radius=round(3 * sigma))
    softened = np.asarray(pseudo_views.soften(mask, 0.03, 0.2))
    np.testing.assert_allclose(softened, np.minimum(eroded, blurred), atol=1e-5)
    assert (softened[mask == 0] == 0).all() and 0 < np.mean((softened > 0.01) & (softened < 0.99))


@pytest.mark.parametrize("centre", ["input", "frontal"])
@pytest.mark.parametrize("pattern", ["disc", "ellipse"])
def test_view_cameras_surround_their_centre(centre, pattern):
    camera = look_at(0.2, -0.1, focal=3.0)
    config = PseudoViewConfig(count=8, pattern=pattern, centre=centre, yaw_range=0.4, pitch_range=0.2)
    views = jax.jit(pseudo_views.view_cameras, static_argnums=(1, 2))(camera, config, TINY)
    assert views.shape == (8, 25)
    np.testing.assert_array_equal(views[:, 16:], np.tile(camera[16:], (8, 1)))
    offsets = np.stack(yaw_pitch(views), -1) - ((0.2, -0.1) if centre == "input" else (0, 0))
    offsets = offsets / (0.4, 0.2)
    radii = np.linalg.norm(offsets, axis=-1)
    if pattern == "ellipse":
        np.testing.assert_allclose(offsets.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(radii, 1.0, atol=1e-4)
    else:  # rings of equal area, no two cameras close
        np.testing.assert_allclose(np.square(radii), (np.arange(8) + 0.5) / 8, atol=1e-4)
        apart = np.linalg.norm(offsets[:, None] - offsets, axis=-1) + 9 * np.eye(8)
        assert apart.min() > 0.4


def test_fill_says_who_paints_the_hidden_parts():
    # Tuning has changed the colours, not the geometry.
    params = jax.tree.map(lambda x: x, generator().params)
    torgb = params["superresolution"]["block1"]["torgb"]
    torgb["bias"] = torgb["bias"] + 0.3
    tuned = generator().with_params(params)
    views = {
        fill: pseudo_views.make(
            tuned, generator(), a_code(3), picture(), CAMERA, config=PseudoViewConfig(count=3, yaw_range=1.5, fill=fill)
        )
        for fill in ("tuned", "occluded", "both")
    }
    cameras, visible = views["tuned"].cameras, views["tuned"].visibility
    of = {"tuned": tuned, "occluded": generator()}
    painted = {name: np.clip(rendered(g, a_code(3), cameras)["image"], -1, 1) for name, g in of.items()}
    for name, image in painted.items():
        hidden = jnp.abs(views[name].blend - image)[visible == 0]
        assert hidden.size > 0 and hidden.max() < 1e-5, name
    same = jnp.abs(views["both"].blend - painted["occluded"]).max(-1) < 1e-5
    differs = jnp.abs(views["both"].blend - views["tuned"].blend).max(-1) > 1e-5
    assert differs.any()  # somewhere the input shows nothing
    assert same[differs].mean() > 0.5 and not differs[visible > 0.999].any()


def test_the_occluded_fit_leaves_out_what_the_pivot_does_not_know():
    """A patch that the generator does not have: with the map its surroundings are fitted, and the patch is not."""
    image = picture().copy()
    image[8:16, 8:16] = 1.0
    recipe = override(RECIPE, ["tuning.steps=0", "joint.steps=1", "pseudo_views.fill=occluded"])
    recipe = override(recipe, ["occluded.steps=4", "occluded.learning_rate=1e-2", "occluded.difference=0.9"])
    ours = invert(recipe, image=image)
    assert [stage.name for stage in ours.stages] == ["latent", "tuning", "occluded", "joint"]
    ws = jnp.asarray(ours.ws)
    mask = np.asarray(pseudo_views.familiar(generator(), ws, jnp.asarray(image), CAMERA, 0.9))
    made = Inversion(generator(), ours.ws, CAMERA, recipe).render(CAMERA[None])["image"][0]
    np.testing.assert_array_equal(mask, np.abs(np.clip(made, -1, 1) - image).mean(-1) <= 0.9)
    assert 0 < mask.mean() < 1
    # The loss is that of the known pixels alone.
    expected = loss(made, image, recipe.loss, mask)
    assert ours.stages[2].losses[0] == pytest.approx(float(expected), rel=1e-2)


def test_early_stop_watches_the_perceptual_term_of_the_input_alone():
    """The threshold lies between that term and the sum of both: the fit ends at once, whatever L2 is."""
    config, views, code = LossConfig(), three_views(), a_code()
    image = Inversion(generator(), np.asarray(code), CAMERA, RECIPE).render(views.cameras[:1])["image"][0]
    l2, perceptual = losses.terms(jnp.asarray(image), views.images[0], config, views.weights[0])
    assert l2 > 0.1

    def steps_taken(stop: float) -> jax.Array:
        plan = fitting.plan(3, weights_rate=1e-4, extra_views=2, view_weight=1.0, stop=stop)
        state, values = fit(code, views, 1, plan=plan, loss=config)
        assert values[0] > l2 + perceptual  # the pseudo-views' loss is in it too
        return state.optimiser[0].count

    assert steps_taken(float(perceptual) * 1.01) == 0
    assert steps_taken(float(perceptual) * 0.99) == 1


@pytest.mark.parametrize("perceptual", typing.get_args(typing.get_type_hints(LossConfig)["perceptual"]))
def test_every_loss_has_its_threshold(perceptual):
    plan = tuning.single_view_plan(TuningConfig(early_stop=None), LossConfig(perceptual=perceptual))
    assert plan.stop == pytest.approx(losses.EARLY_STOP[perceptual])
    assert tuning.single_view_plan(TuningConfig(early_stop=0.5), LossConfig(perceptual=perceptual)).stop == 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------


loss = jax.jit(image_loss, static_argnums=2)


def test_loss_is_zero_for_equal_images_and_grows_with_damage():
    image, noise = picture(), np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float32)
    losses = [float(loss(image + scale * noise, image, LossConfig())) for scale in (0, 0.01, 0.1, 1)]
    assert losses[0] == pytest.approx(0, abs=1e-6) and losses == sorted(losses)
    assert loss(image + 0.1, image, LossConfig(perceptual="none")) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(perceptual="none")])
def test_loss_ignores_pixels_without_weight(config):
    image, damaged, weight = picture(), picture().copy(), np.ones((SIZE, SIZE), np.float32)
    weight[5:20, 7:10] = 0  # an odd place for the coarser scales
    damaged[weight == 0] = 1e3
    assert loss(damaged, image, config, weight) == pytest.approx(0, abs=1e-6)
    assert loss(damaged, image, config) > 1e3


def test_loss_has_finite_gradients_and_batches():
    image, config = jnp.asarray(picture()), LossConfig()
    weight = np.float32(np.random.default_rng(0).random((SIZE, SIZE)))
    weight[:9, :9] = 0
    gradients_of = jax.jit(jax.value_and_grad(lambda x: image_loss(x, image, config, weight)))
    stack = jnp.stack([image, 0 * image, image + 0.2])  # the first is the target itself
    values, gradients = jax.jit(jax.vmap(gradients_of))(stack)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    for index, x in enumerate(stack):
        value, gradient = gradients_of(x)
        np.testing.assert_allclose(values[index], value, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(gradients[index], gradient, rtol=1e-3, atol=1e-7)


def test_depth_pulls_where_surfaces_nearly_agree_and_not_across_a_gap():
    reference = jnp.full((4, 4), 2.7)
    pull = jax.jit(jax.grad(lambda offset: losses.depth_loss(reference + offset, reference)))
    near, far = pull(0.01), pull(0.5)  # of r^2 / (1 + r^2), r in units of 0.02: 2 r / (1 + r^2)^2 / 0.02
    np.testing.assert_allclose([near, far], [2 * 0.5 / 1.25**2 / 0.02, 2 * 25 / 626**2 / 0.02], rtol=1e-4)
    assert losses.depth_loss(reference, reference) == 0 and losses.depth_loss(reference + 9, reference) < 1


def test_the_pull_on_depth_holds_the_geometry():
    """Two fits of the same picture: the one that is held to a depth ends nearer to it."""
    views, code = three_views(), a_code()
    network = generator()
    reference = jnp.asarray(rendered(network, code, views.cameras)["ray_distance"])
    ends = []
    for weight in (0.0, 3.0):
        plan = fitting.plan(10, weights_rate=0.01, depth_weight=weight)
        state, _ = fit(code, views._replace(distances=reference), 10, plan=plan)
        made = rendered(network.with_params(state.variables["params"]), code, views.cameras[:1])
        ends.append(float(losses.depth_loss(made["ray_distance"][0], reference[0])))
    assert ends[1] < 0.7 * ends[0]


def test_a_loss_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="'lpips' is not one of gradients, none"):
        override(InversionConfig(), ["loss.perceptual=lpips"])
