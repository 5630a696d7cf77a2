"""The pipeline that joins the stages, with a generator small enough to compile in seconds."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.cameras import look_at, poses, yaw_pitch
from pmv_jax.config import CameraSearchConfig, LossConfig, TuningConfig, override
from pmv_jax.errors import InputError, NumericalError
from pmv_jax.inversion import adam_loop, image_run, latent, pipeline
from pmv_jax.inversion.result import Inversion, load_inversion
from pmv_jax.inversion.stage import Photograph
from tests import small_inversion
from tests.small_inversion import CAMERA, SIZE, generator, picture
from tests.small_inversion import CONFIG as TINY

RECIPE = dataclasses.replace(small_inversion.RECIPE, tuning=TuningConfig(steps=4))


def assert_identical(one: Inversion, other: Inversion) -> None:
    def values(inversion: Inversion):
        losses = [stage.losses for stage in inversion.stages]
        return inversion.generator.variables, inversion.ws, inversion.camera, inversion.pseudo_views, losses

    chex.assert_trees_all_equal(values(one), values(other))


class Stop(Exception):
    """What a progress callback raises to interrupt a run."""


def invert(config=RECIPE, camera=CAMERA, image=None, **kwargs) -> Inversion:
    return pipeline.invert(picture() if image is None else image, camera, generator(), config, **kwargs)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(image_run, "CHUNK", 2)
    monkeypatch.setattr(image_run, "SAVE_SHARE", np.inf)  # save after every chunk


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
    config, hidden = RECIPE.pseudo_views, 1 - views.visibility
    assert (views.weight > views.visibility + config.hidden_weight * hidden - 1e-6).all()
    assert (views.weight < views.visibility + config.mirror_weight * hidden + 1e-6).all()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    assert_identical(invert(), inversion())
    other = invert(dataclasses.replace(RECIPE, seed=1))
    assert (other.ws != inversion().ws).any()


def test_pixels_that_are_not_believed_have_no_part_in_anything():
    """Other colours there give the same result to the bit; and weights of 1 are none."""
    assert_identical(invert(weights=np.ones((SIZE, SIZE))), inversion())
    believed = np.ones((SIZE, SIZE), np.float32)
    believed[-9:] = 0
    changed = np.array(picture())
    changed[-9:] = 1 - changed[-9:]
    ours, theirs = (invert(image=image, weights=believed) for image in (picture(), changed))
    assert_identical(ours, theirs)
    assert (invert(image=changed).ws != ours.ws).any()
    with pytest.raises(InputError, match="weights of shape"):
        invert(weights=np.ones((SIZE, SIZE, 1)))


@functools.cache
def together() -> Inversion:
    """Of three photographs, the second with a matte, the third without a camera."""
    matte = np.zeros((SIZE, SIZE), np.float32)
    matte[8:, 8:24] = 1
    given = (
        Photograph(picture(), CAMERA),
        Photograph(picture(1), look_at(-0.4, 0.0), matte=matte),
        Photograph(picture(2), guess=look_at(0.5, -0.1)),
    )
    recipe = override(RECIPE, [*small_inversion.SMALL_SEARCH, "latent.camera_rate=0.01"])
    return pipeline.invert_photographs(given, generator(), recipe)


def test_several_photographs_make_one_head(tmp_path):
    ours = together()
    names = ["camera_refinement_3", "latent", "tuning", "joint"]
    assert [stage.name for stage in ours.stages] == names
    assert ours.cameras.shape == (3, 25) and len(ours.head_limits) == 3 and ours.head_limits[0] is None
    np.testing.assert_array_equal(ours.cameras[:2], [CAMERA, look_at(-0.4, 0.0)])  # what was given stays
    moved = np.abs(ours.cameras[2] - look_at(0.5, -0.1)).max()
    assert 1e-4 < moved < 0.5
    assert ours.pseudo_views.distances.shape[0] == 3 + RECIPE.pseudo_views.count
    # The second photograph has a say: alone, the first makes another head.
    assert np.abs(ours.ws - inversion().ws).max() > 1e-3
    ours.save(tmp_path / "saved")
    again = load_inversion(tmp_path / "saved")
    np.testing.assert_array_equal(again.cameras, ours.cameras)
    np.testing.assert_array_equal(again.camera, CAMERA)
    assert inversion().cameras.shape == (1, 25)


@pytest.mark.slow  # the mean over three inputs is tested with the program of all stages
def test_the_same_photograph_twice_is_fitted_as_once():
    """Mean losses, so the same steps as of one, but for rounding."""
    recipe = override(RECIPE, ["joint.steps=0", "latent.camera_rate=0"])
    twice = pipeline.invert_photographs([Photograph(picture(), CAMERA)] * 2, generator(), recipe)
    for stage, expected in zip(twice.stages, invert(recipe).stages, strict=True):
        np.testing.assert_allclose(stage.losses, expected.losses, rtol=1e-3)


def test_no_photograph_is_refused():
    with pytest.raises(InputError, match="photographs: there is none"):
        pipeline.invert_photographs([], generator(), RECIPE)


def test_the_generator_given_is_left_alone():
    before = jax.tree.map(np.array, generator().variables)
    tuned = invert().generator
    chex.assert_trees_all_equal(generator().variables, before)
    chex.assert_trees_all_equal(tuned.variables["buffers"], before["buffers"])
    weights = [network["params"]["backbone"]["synthesis"]["b8"] for network in (before, tuned.variables)]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), *weights)))


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
    chex.assert_trees_all_equal(again, renders)
    with pytest.raises(InputError, match="exists"):
        ours.save(tmp_path / "a")
    with pytest.raises(InputError, match="no inversion here"):
        load_inversion(tmp_path)


def test_results_of_older_versions_are_read(tmp_path):
    """What they say that this version does not know, or does not take, is named in a warning and left out."""
    inversion().save(tmp_path / "old")
    meta = json.loads((tmp_path / "old" / "inversion.json").read_text())
    meta["config"]["occluded"] = {"steps": 0}
    meta["config"]["pseudo_views"] |= {"centre": "input", "fill": "occluded"}
    (tmp_path / "old" / "inversion.json").write_text(json.dumps(meta))
    with pytest.warns(UserWarning, match="another version.*: pseudo_views.fill, pseudo_views.centre, occluded$"):
        loaded = load_inversion(tmp_path / "old")
    assert loaded.config == inversion().config
    assert_identical(loaded, dataclasses.replace(inversion(), pseudo_views=None))
    meta["generator"]["gone"] = 1  # of a generator, a setting that is not known may make it another function
    (tmp_path / "old" / "inversion.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="old: written by another version of pmv_jax .*gone"):
        load_inversion(tmp_path / "old")


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


@pytest.mark.parametrize(
    ("camera", "problem"),
    [
        (np.zeros(24, np.float32), r" of shape \(24,\); this generator takes \[25\]"),
        (np.full(25, np.inf, np.float32), " has values that are not finite"),
    ],
)
def test_unusable_cameras_are_refused(camera, problem):
    with pytest.raises(InputError, match=f"^camera{problem}"):
        invert(camera=camera)
    with pytest.raises(InputError, match=f"^camera_guess{problem}"):
        invert(camera=None, camera_guess=camera)


def test_a_poisoned_run_names_its_stage():
    with pytest.raises(NumericalError, match="stage latent: .* at step [23]; .*--set latent.learning_rate"):
        invert(override(RECIPE, ["latent.learning_rate=1e30"]))


def test_what_to_try_after_a_loss_that_is_not_finite_exists():
    """Every setting that a stage's remedy names can be set."""
    search = CameraSearchConfig(heads=2, refine_heads=2, resolution=8)
    stages = pipeline.stages([Photograph(picture())], generator(), dataclasses.replace(RECIPE, camera=search))
    request, remedies = next(stages), {}
    while request is not None:
        remedies[request.name] = request.remedy
        try:
            request = stages.send(request.start.variables)
        except StopIteration:
            request = None
    assert list(remedies) == ["camera", "camera_refinement", "latent", "tuning", "joint"]
    for name, remedy in remedies.items():
        if name.startswith("camera"):
            assert "--camera FILE" in remedy and "--set" not in remedy
        else:
            setting = remedy.partition("--set ")[2].removesuffix("...)")
            assert getattr(override(RECIPE, [setting + "0.001"]), name).learning_rate == 0.001


def test_the_program_is_traced_once_for_all_stages(monkeypatch):
    """Latent code, tuning and joint tuning, of a camera that is fitted too or given, with pseudo-views or without: one
    program, whatever their lengths."""
    run, traces = adam_loop.run, []

    def counted(*arguments):
        traces.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(adam_loop, "run", chex.assert_max_traces(counted, n=1))
    recipe = dataclasses.replace(RECIPE, loss=LossConfig(perceptual="none", perceptual_weight=0.123))  # a fresh program
    invert(override(recipe, small_inversion.SMALL_SEARCH), camera=None)
    invert(override(recipe, ["joint.steps=0"]))
    assert len(traces) == 1


def test_the_head_can_be_looked_at_after_every_stage_but_the_last():
    looks = []
    ours = invert(look=looks.append)
    assert len(looks) == 2  # after the latent code, and after the tuning
    start, tuned = (np.asarray(look.ws) for look in looks)
    np.testing.assert_array_equal(start, ours.ws)
    np.testing.assert_array_equal(tuned, ours.ws)
    chex.assert_trees_all_equal(looks[0].generator.variables, generator().variables)
    assert all(np.isfinite(look.render(look.camera[None])["image"]).all() for look in looks)  # no memory was taken
    assert looks[1].generator.fingerprint() not in (generator().fingerprint(), ours.generator.fingerprint())


def test_stages_without_steps_are_left_out():
    recipe = override(RECIPE, ["latent.steps=0", "tuning.steps=0", "joint.reset_generator=true"])
    assert [stage.name for stage in invert(recipe).stages] == ["joint"]
    nothing = invert(override(recipe, ["joint.steps=0"]))
    assert nothing.stages == () and nothing.pseudo_views is None
    chex.assert_trees_all_equal(nothing.generator.variables, generator().variables)
    np.testing.assert_array_equal(nothing.ws[0], latent.statistics(generator(), CAMERA).mean)


# ---------------------------------------------------------------------------------------------------------------------
# Random keys
# ---------------------------------------------------------------------------------------------------------------------


def keys_of(names: list[str], seed: int = 3) -> dict[str, list[int]]:
    """The key of each stage of a method with these stages, none of which takes a step."""
    state = adam_loop.FitState({}, (), jnp.int32(0), jnp.ones((), bool))
    requests = (image_run.StageRequest(name, 1, None, state.replace(stopped=False), (), "") for name in names)
    run, keys = image_run.ImageRun(requests, seed), {}
    while run.stage is not None:
        keys[run.stage.name] = jax.random.key_data(run.key).tolist()
        run.advance(state, jnp.zeros(adam_loop.CHUNK))
    return keys


def test_a_stages_key_follows_from_the_seed_and_its_name_alone():
    some, others = keys_of(["latent", "tuning", "joint"]), keys_of(["camera", "joint", "latent"])
    assert {name: others[name] for name in ("latent", "joint")} == {name: some[name] for name in ("latent", "joint")}
    assert len(set(map(tuple, (some | others).values()))) == 4
    assert all(some[name] != key for name, key in keys_of(list(some), seed=4).items())
    # The same in every process and version: a checksum, where Python's own hash would differ between processes.
    expected = jax.random.fold_in(jax.random.key(3), np.uint32(0x6CF1FD73))
    assert some["latent"] == jax.random.key_data(expected).tolist()


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
    recipe = override(RECIPE, (f"latent.camera_rate={rate}", *small_inversion.SMALL_SEARCH))
    found = pipeline.search_camera(picture(), generator(), recipe)
    ours = invert(recipe, camera=None)
    assert np.array_equal(ours.camera, found) == (rate == 0)
    pose = np.asarray(poses.of_camera(jnp.asarray(ours.camera)) - poses.of_camera(jnp.asarray(found)))
    assert np.abs(pose[:2]).max() <= rate * recipe.latent.steps
