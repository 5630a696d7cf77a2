"""The camera that landmarks tell, in the search: where it starts, and how far the generator can take it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras import poses
from pmv_jax.cameras.files import find_problem
from pmv_jax.config import CameraSearchConfig, InversionConfig, override
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.inversion import camera as camera_search
from pmv_jax.inversion import latent
from pmv_jax.inversion.pipeline import invert, search_camera
from pmv_jax.models.completer import Completer
from pmv_jax.models.encoder import Glance
from tests import small_inversion
from tests.small_inversion import CONFIG as TINY

GUESS = np.asarray(cameras.rolled(cameras.look_at(0.4, -0.2), 0.1))


@pytest.fixture(scope="module")
def generator():
    return small_inversion.generator()


@pytest.fixture(scope="module")
def image(generator):
    return latent.average_head(generator, cameras.look_at(0.1, 0.0)[None])["image"][0]


def recipe(**settings) -> InversionConfig:
    search = override(InversionConfig(), small_inversion.SMALL_SEARCH).camera
    return InversionConfig(camera=dataclasses.replace(search, **settings))


def test_around_a_guess_is_that_camera():
    estimate = camera_search.around(jnp.asarray(GUESS), jnp.zeros((2, 8)))
    np.testing.assert_allclose(poses.to_camera(estimate.pose, TINY), GUESS, atol=1e-5)


def test_shifts_move_the_picture():
    """The pivot, in the middle of the picture without them, goes to the right and down by their size."""
    camera = poses.to_camera(jnp.array([0.3, -0.1, 0.2, 0.05, 0.02]), TINY)
    where, _ = cameras.project(camera, jnp.asarray(TINY.camera_pivot))
    np.testing.assert_allclose(where[0], (0.55, 0.52), atol=1e-5)
    assert find_problem(np.asarray(camera, np.float64)) is None


def test_guess_without_refinement_is_kept(generator, image):
    np.testing.assert_allclose(search_camera(image, generator, recipe(refine_steps=0), GUESS), GUESS, atol=1e-5)


def test_guess_holds_the_refinement(generator, image):
    """Nothing that is drawn is further away than the widths say, 0.05 times sqrt(3), and the answer hardly is."""
    found = search_camera(image, generator, recipe(), GUESS)
    moved = np.subtract(cameras.yaw_pitch(found), cameras.yaw_pitch(GUESS))
    assert 0 < np.abs(moved).max() < 0.15
    assert float(cameras.roll_of(found)) == pytest.approx(0.1, abs=0.01)


def test_regression_reads_angles_off_features():
    """Of examples with a smooth dependence: the answer for one more, and the error that it says it has."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(3, 40))
    see = lambda x: np.tanh(x @ mixing)  # noqa: E731
    poses = random.uniform(-0.5, 0.5, (40, 4, 3))
    errors, said = [], None
    for asked in random.uniform(-0.4, 0.4, (20, 3)):
        value, said = camera_search._regress(*map(jnp.asarray, (see(poses), poses, see(asked))))
        errors.append(np.asarray(value) - asked)
    scatter = np.sqrt(np.mean(np.square(errors)))
    assert scatter < 0.05
    assert scatter / 3 < float(jnp.sqrt(jnp.mean(said**2))) < 3 * scatter


def test_features_ignore_light_and_complexion():
    image = np.random.default_rng(0).uniform(-0.5, 0.5, (16, 16, 3)).astype(np.float32)
    plain, other = camera_search._features(image), camera_search._features(0.3 * image + np.array([0.3, 0.2, 0.1]))
    assert plain.shape == (8 * 8 * 8,)
    np.testing.assert_allclose(plain, other, atol=0.02)
    assert np.abs(plain - camera_search._features(image[:, ::-1])).max() > 0.2


def test_what_is_made_up_says_nothing_of_the_camera(generator, image):
    """Whatever stands in the lower half, the camera is the same; and what is believed there matters."""
    believed = np.ones((32, 32), np.float32)
    believed[20:] = 0
    noise = np.random.default_rng(0).uniform(-1, 1, (32, 32, 3))
    other = np.where(believed[..., None] > 0, image, noise)
    ours, theirs = (search_camera(x, generator, recipe(), weights=believed) for x in (image, other))
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(search_camera(image, generator, recipe()) - search_camera(other, generator, recipe())).max() > 1e-3


def test_an_answer_narrows_the_estimate_and_goes_all_around():
    """Yaws near pi and -pi are the same direction; their mean is not 0."""
    random = np.random.default_rng(0)
    yaw = np.where(random.uniform(size=(6, 2)) < 0.5, np.pi - 0.1, 0.1 - np.pi)
    poses = np.concatenate([yaw[..., None], random.normal(0, 0.01, (6, 2, 4))], axis=-1)
    image = random.uniform(-1, 1, (16, 16, 3))
    examples = camera_search.Examples(poses, random.normal(size=(6, 8)), random.uniform(0, 1, (6, 2, 512)))
    before = camera_search.unknown(jnp.zeros((2, 8)), CameraSearchConfig(yaw_range=np.pi))
    after, unlike = camera_search.answer(examples, before, image, np.ones((16, 16)), resolution=16)
    assert abs(after.pose[0]) > 3.0 and unlike > 0
    assert (after.pose_width <= before.pose_width).all() and after.code_width <= before.code_width


# ---------------------------------------------------------------------------------------------------------------------
# With an encoder
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Saying:
    """An encoder that sees the same in every picture."""

    glance: Glance
    config: EncoderConfig = EncoderConfig(resolution=32, code_dim=8, code_space="z")
    completer: Completer | None = None

    def __call__(self, image: jax.Array) -> Glance:
        return self.glance


def encoder_that_says(pose, width) -> Saying:
    """The same pose [6] with the same widths [6], and a code of zeros."""
    code = jnp.zeros(8), jnp.full(8, np.exp(-1.0))
    return Saying(Glance(jnp.float32(pose), jnp.float32(width), *code, *3 * [jnp.ones((32, 32))]))


def test_the_encoder_takes_the_place_of_the_search(generator, image):
    pose, width = [0.4, -0.1, 0.02, 0.01, -0.01, 0.0], [0.02] * 6
    encoder = encoder_that_says(pose, width)
    found = search_camera(image, generator, recipe(refine_steps=0), encoder=encoder)
    np.testing.assert_allclose(found, poses.to_camera(jnp.asarray(pose[:5]), TINY), atol=1e-5)


def test_landmarks_and_encoder_are_weighed_by_what_they_know(generator, image):
    """Half way where both know as much of the yaw, and all the landmarks' where they know much more of the roll."""
    encoder = encoder_that_says([0.4, 0.0, 0.3, 0.0, 0.0, 0.0], [0.05, 0.05, 0.1, 0.1, 0.1, 0.1])
    guess = poses.to_camera(jnp.array([0.2, 0.0]), TINY)
    found = search_camera(image, generator, recipe(refine_steps=0), guess, encoder=encoder)
    yaw, _ = cameras.yaw_pitch(found)
    assert yaw == pytest.approx(0.3, abs=1e-3) and cameras.roll_of(found) == pytest.approx(0.0, abs=1e-3)


def test_the_code_of_a_glance_is_the_mean_over_what_it_leaves_possible(generator, image):
    """And it begins the fit: with no steps taken, the result's code is that mean."""
    encoder = encoder_that_says(np.zeros(6), np.full(6, 0.02))
    nothing = override(recipe(), ["latent.steps=0", "tuning.steps=0", "joint.steps=0"])
    inversion = invert(image, GUESS, generator, nothing, encoder=encoder)
    z = np.exp(-1.0) * np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
    many = generator.mapping(z, jnp.broadcast_to(GUESS, (len(z), 25)))[:, 0]
    spread = np.asarray(many.std(0)) / np.sqrt(256)
    assert (np.abs(inversion.ws - many.mean(0)) < 5 * spread).all()
    assert np.ptp(inversion.ws, axis=0).max() == 0
