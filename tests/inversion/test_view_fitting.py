"""The program of all stages: its gradients against those of the whole loss, its views, its early stop, its plans."""

import operator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from pmv_jax.cameras import poses
from pmv_jax.config import InversionConfig, LatentConfig, LossConfig, TuningConfig, load_recipe
from pmv_jax.inversion import latent, losses, tuning, view_fitting
from pmv_jax.inversion.losses import image_loss
from tests.small_inversion import CONFIG as TINY
from tests.small_inversion import RECIPE, a_code, four_views, generator, views_of

ROOT = Path(__file__).parents[2]

PLAN = view_fitting.plan(3, code_rate=1e-3, weights_rate=1e-3, regularisation=0.1, extra_views=3, view_weight=0.7)


def fit(code, views, steps, *, plan=PLAN, poses=None, loss=RECIPE.loss, inputs=1):
    """Steps from a code, with all weights."""
    state = view_fitting.start(*jax.tree.map(jnp.array, (code, generator().params, poses)))
    return view_fitting.run(
        state, generator(), views, plan, jnp.float32(0.5), None, jax.random.key(0), steps,
        loss_config=loss, inputs=inputs,
    )  # fmt: skip


def test_gradients_summed_view_by_view_are_those_of_the_whole_loss():
    views, code = four_views(), a_code()

    @jax.value_and_grad
    def whole(variables):
        cameras = views.cameras
        tuned = generator().with_params(variables["params"])
        ws = jnp.tile(variables["code"][None], (4, 1, 1))
        images = tuned.synthesis(ws, cameras)["image"]
        losses = jax.vmap(lambda *x: image_loss(x[0], x[1], RECIPE.loss, x[2]))(images, views.images, views.weights)
        spread = jnp.mean(jnp.square((variables["code"] - variables["code"].mean(0)) / 0.5))
        return losses[0] + 0.7 * losses[1:].mean() + 0.1 * spread

    value, grads = jax.jit(whole)({"code": code, "params": generator().params})
    state, losses = fit(code, views, 1)
    np.testing.assert_allclose(losses[0], value, rtol=1e-5)
    moments = {name: state.optimiser[0].mu[name] for name in grads}
    first_moment = ravel_pytree(moments)[0]  # a tenth of the gradient, after one step of Adam
    expected = ravel_pytree(grads)[0]
    np.testing.assert_allclose(10 * first_moment, expected, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize(("inputs", "loss"), [(1, RECIPE.loss), (3, LossConfig())])
def test_the_poses_of_estimated_cameras_are_fitted_and_no_others(inputs, loss):
    """Of three inputs the second has a camera that was given."""
    views, code, network = four_views(), a_code(), generator()
    start = jnp.array([[0.1, -0.2, 0.05, 0.02, -0.03], [0.0] * 5, [-0.2, 0.1, 0.0, 0.01, 0.02]])[:inputs]
    estimated = jnp.array([True, False, True])[:inputs]

    @jax.value_and_grad
    def whole(fitted):
        own = jnp.where(estimated[:, None], poses.to_camera(fitted, TINY), views.cameras[:inputs])
        images = network.synthesis(jnp.tile(code, (4, 1, 1)), views.cameras.at[:inputs].set(own))["image"]
        losses = jax.vmap(lambda *x: image_loss(x[0], x[1], loss, x[2]))(images, views.images, views.weights)
        return losses[:inputs].mean() + 0.7 * losses[inputs:].mean()

    value, expected = jax.jit(whole)(start)
    expected += value / inputs * 2 * 0.5 * start  # the pull towards half of it
    plan = PLAN.replace(
        camera_rate=PLAN.camera_rate.at[:3].set(0.01), poses=0.5 * start, fitted=estimated,
        pose_pull=jnp.float32(2), extra_views=jnp.int32(4 - inputs),
    )  # fmt: skip
    state, losses = fit(code, views, 1, plan=plan, poses=start, loss=loss, inputs=inputs)
    np.testing.assert_allclose(losses[0] - 0.1 * spread(code), value, rtol=1e-4)
    np.testing.assert_allclose(10 * state.optimiser[0].mu["poses"], expected, rtol=1e-3, atol=1e-7)
    step = state.variables["poses"] - start  # Adam's first one has the full rate
    np.testing.assert_allclose(step, -0.01 * np.sign(expected) * poses.PACE, rtol=1e-2, atol=1e-9)


def spread(code):
    """What the regularisation of PLAN holds small."""
    return jnp.mean(jnp.square((code - code.mean(0)) / 0.5))


@pytest.mark.parametrize("extra", [0, 1])
def test_every_step_sees_all_inputs_and_its_early_stop_watches_their_perceptual_terms_alone(extra):
    """Whatever L2 and the loss of the fourth view are: the threshold lies on either side of the mean of three terms."""
    config, views, code = LossConfig(), four_views(), a_code()
    images = views_of(generator(), code, views.cameras)["image"]
    terms = [losses.terms(*x[:2], config, x[2]) for x in zip(images, views.images, views.weights)]  # noqa: B905
    each, watched = [sum(map(float, term)) for term in terms], np.mean([float(term[1]) for term in terms[:3]])
    total = np.mean(each[:3]) + extra * 0.8 * each[3]
    assert np.mean([float(l2) for l2, _ in terms[:3]]) > 0.1

    def taken(stop: float) -> jax.Array:
        plan = view_fitting.plan(3, weights_rate=1e-4, extra_views=extra, view_weight=0.8, stop=stop)
        plan = plan.replace(fitted=np.zeros(3, bool), poses=np.zeros((3, 5), np.float32))
        state, values = fit(code, views, 1, plan=plan, poses=jnp.zeros((3, 5)), loss=config, inputs=3)
        np.testing.assert_allclose(values[0], total, rtol=1e-4)
        return state.optimiser[0].count

    assert taken(watched * 1.01) == 0 and taken(watched * 0.99) == 1


@pytest.mark.slow  # vmapped rendering is tested with the models, images of a batch one by one with its slots
def test_a_batch_of_images_equals_one_by_one():
    codes = jnp.stack([a_code(1), a_code(2)])
    batch = jax.tree.map(lambda *x: jnp.stack(x), four_views(1), four_views(2))
    states, losses = jax.vmap(lambda code, views: fit(code, views, 2))(codes, batch)
    for i in range(2):
        alone, own = fit(codes[i], jax.tree.map(operator.itemgetter(i), batch), 2)
        np.testing.assert_allclose(losses[i], own, rtol=1e-5)
        np.testing.assert_allclose(states.variables["code"][i], alone.variables["code"], atol=2e-5)


def test_stages_of_any_length_share_one_program():
    code, views = a_code(), four_views()
    fit(code, views, 1)
    programs = view_fitting.run.jitted._cache_size()
    fit(code, views, 2, plan=view_fitting.plan(500, code_rate=np.linspace(0, 1, 500), noise=0.1))
    assert view_fitting.run.jitted._cache_size() == programs


def test_the_pull_on_depth_holds_the_geometry():
    """Two fits of the same picture: the one that is held to a depth ends nearer to it."""
    views, code = four_views(), a_code()
    network = generator()
    reference = jnp.asarray(views_of(network, code, views.cameras)["ray_distance"])
    ends = []
    for weight in (0.0, 3.0):
        plan = view_fitting.plan(10, weights_rate=0.01, depth_weight=weight)
        state, _ = fit(code, views._replace(distances=reference), 10, plan=plan)
        made = views_of(network.with_params(state.variables["params"]), code, views.cameras[:1])
        ends.append(float(losses.depth_loss(made["ray_distance"][0], reference[0])))
    assert ends[1] < 0.7 * ends[0]


def test_views_that_do_not_belong_together_are_refused():
    views = four_views()
    with pytest.raises(AssertionError, match="prefix"):
        fit(a_code(), views._replace(weights=views.weights[:2]), 1)
    with pytest.raises(AssertionError, match="shape"):
        fit(a_code(), views._replace(cameras=views.cameras[:, :16]), 1)


# ---------------------------------------------------------------------------------------------------------------------
# Plans
# ---------------------------------------------------------------------------------------------------------------------


def test_the_latent_rate_ramps_up_and_down_and_the_noise_fades():
    recipe = InversionConfig(latent=LatentConfig(steps=100, learning_rate=2.0, ramp_down=0.5, noise=3.0))
    plan = latent.plan(recipe)
    rate, noise = np.asarray(plan.code_rate), np.asarray(plan.noise)
    assert rate[0] == 0 and rate[2] == pytest.approx(0.8) and not rate[100:].any()  # of the first 5 steps two
    np.testing.assert_allclose(rate[5:51], 2.0, rtol=1e-6)
    np.testing.assert_allclose(rate[75], 1.0, rtol=1e-6)  # half of a cosine's fall
    assert noise[0] == 3 and noise[30] == pytest.approx(3 * 0.6**2) and not noise[75:].any()
    assert not np.any(plan.weights_rate) and plan.extra_views == 0


def test_tuning_warms_up_and_ends_at_the_final_rate():
    recipe = InversionConfig(tuning=TuningConfig(steps=20, learning_rate=0.5, warm_up=0.2, final_rate=0.1))
    rate = np.asarray(tuning.single_view_plan(recipe).weights_rate)
    np.testing.assert_allclose(rate[:5], 0.5 * np.arange(5) / 4)
    assert np.all(np.diff(rate[4:20]) < 0) and 0.05 < rate[19] < 0.06


def test_rate_of_the_paper_is_constant():
    recipe = load_recipe("hfgi3d_paper")
    plan, steps = tuning.joint_plan(recipe), recipe.joint.steps
    np.testing.assert_allclose(plan.weights_rate[:steps], 3e-4)
    assert not np.any(plan.weights_rate[steps:]) and not np.any(plan.code_rate) and plan.extra_views == 1


def test_the_early_stop_is_the_losss_own_or_the_recipes():
    for name, threshold in {"lpips_alex": 0.06, "lpips_vgg": 0.12, "gradients": 0.012, "none": 0.004}.items():
        loss = LossConfig(perceptual=name)
        plans = [
            tuning.single_view_plan(InversionConfig(loss=loss, tuning=TuningConfig(early_stop=stop)))
            for stop in (None, 0.5, 0.0)
        ]
        assert [float(plan.stop) for plan in plans] == pytest.approx([threshold, 0.5, 0.0])
