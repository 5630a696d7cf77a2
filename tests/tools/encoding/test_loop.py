"""The training of an encoder: it learns, it goes on where it was stopped, and its loss is a likelihood."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models.encoder import DEPTH_UNIT, POSE_UNITS, Readings
from tools.encoding import encoder_loss, loop
from tools.encoding.examples import Example

CONFIG = EncoderConfig(
    resolution=32, widths=(4, 4, 4, 4, 4), blocks=(0, 0, 0, 0, 0), hidden_features=8, code_dim=3, code_space="z"
)
NETWORK = encoder_loss.network(CONFIG)


@pytest.fixture(scope="module")
def batch() -> Example:
    random = np.random.default_rng(0)
    matte = np.zeros((4, 32, 32), np.float32)
    matte[:, 8:, 8:24] = 1
    image = (matte[..., None] - 0.5 + 0.1 * random.standard_normal((4, 32, 32, 3))).astype(np.float32)
    pose = (np.array(POSE_UNITS) * random.standard_normal((4, 6))).astype(np.float32)
    relief = np.where(matte > 0, np.float32(0.2) * matte, np.nan)
    return Example(image, pose, random.standard_normal((4, 3)).astype(np.float32), np.ones((4, 3), bool), matte, relief)


def run(state: loop.State, batch: Example, steps: int) -> tuple[loop.State, list[float]]:
    losses = []
    for _ in range(steps):
        state, figures = loop.advance(state, batch, 5e-3, NETWORK)
        losses.append(float(figures["loss"]))
    return state, losses


def test_it_learns_what_it_is_shown(batch):
    state, losses = run(loop.begin(NETWORK, 0), batch, 30)
    assert losses[-1] < losses[0] - 0.5
    errors = loop.test(state.params, batch, NETWORK)
    assert errors["matte"] < 0.1 and errors["relief"] < 0.1  # half of what it begins with


def test_going_on_is_as_if_it_had_not_stopped(batch, tmp_path):
    half, _ = run(loop.begin(NETWORK, 0), batch, 2)
    loop.save(half, tmp_path, NETWORK)
    resumed, _ = run(loop.load(tmp_path, NETWORK), batch, 2)
    straight, _ = run(loop.begin(NETWORK, 0), batch, 4)
    assert resumed.step == straight.step == 4
    for a, b in zip(jax.tree.leaves(resumed.params), jax.tree.leaves(straight.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_state_of_another_network_is_refused(tmp_path):
    loop.save(loop.begin(NETWORK, 0), tmp_path, NETWORK)
    other = EncoderConfig(resolution=32, widths=(4, 4, 4, 4, 8), blocks=(0, 0, 0, 0, 0), hidden_features=8, code_dim=3)
    with pytest.raises(InputError, match="another network"):
        loop.load(tmp_path, encoder_loss.network(other))


def test_numbers_that_a_picture_does_not_tell_are_not_learned(batch):
    params = loop.begin(NETWORK, 0).params
    known = batch._replace(known=np.array([[True, False, True]] * 4))
    changed = known._replace(code=known.code + np.array([0, 7, 0], np.float32))
    losses = [float(encoder_loss.loss(params, each, CONFIG)[0]) for each in (known, changed, batch)]
    assert losses[0] == losses[1] != losses[2]


def test_a_relief_is_not_learned_where_there_is_none(batch):
    params = loop.begin(NETWORK, 0).params
    nothing = batch._replace(relief=np.full_like(batch.relief, np.nan))
    grads = [jax.grad(encoder_loss.loss, has_aux=True)(params, each, CONFIG)[0]["relief"] for each in (nothing, batch)]
    assert all(np.all(x == 0) for x in jax.tree.leaves(grads[0]))
    assert all(np.any(x != 0) and np.isfinite(x).all() for x in jax.tree.leaves(grads[1]))


def test_the_width_that_fits_best_is_the_spread_of_the_errors():
    """At fixed values, the mean likelihood is best where the width is the root mean square error."""
    truth = jnp.asarray(np.random.default_rng(0).normal(0, 0.5, 4000).astype(np.float32))
    grad = jax.grad(lambda log_width: jnp.mean(loop.likelihood(jnp.zeros(4000), jnp.full(4000, log_width), truth)))
    spread = jnp.log(jnp.sqrt(jnp.mean(truth**2)))
    assert float(jnp.abs(grad(spread))) < 1e-4
    assert grad(spread - 0.2) < 0 < grad(spread + 0.2)


def test_errors_are_in_degrees_and_shares(batch):
    units = np.array(POSE_UNITS)
    off = np.radians([2.0, 1.0, 0.5]), np.array([0.01, 0.01, 0.05])
    readings = Readings(
        pose=(batch.pose + np.concatenate(off)) / units,
        pose_log_width=jnp.zeros((4, 6)),
        code=0.5 * batch.code,
        code_log_width=jnp.zeros((4, 3)),
        matte_logits=10 * (batch.matte - 0.5),
        relief=(np.nan_to_num(batch.relief) + 0.03) / DEPTH_UNIT,
        relief_log_width=jnp.zeros((4, 32, 32)),
    )
    errors = encoder_loss.told_errors(readings, batch)
    expected = {"yaw": 2.0, "pitch": 1.0, "roll": 0.5, "shift": 0.01, "scale": 0.05, "code": 0.75, "matte": 0.0}
    expected["relief"] = 0.03
    assert {name: pytest.approx(float(x), abs=1e-3) for name, x in errors.items()} == expected


def test_the_rate_warms_up_and_falls_to_nothing():
    assert loop.rate(0, 1000) < loop.rate(50, 1000) < loop.rate(99, 1000)
    assert loop.rate(1000, 1000) == pytest.approx(0, abs=1e-9)


def test_batches_are_of_the_last_examples():
    """Old ones are pushed out, and every one that is left is drawn in the long run."""
    made = iter(range(10**6))
    pool = loop.Pool(lambda random, count: [(next(made),) for _ in range(count)], fresh=4, heads=lambda: 1)
    random = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "stack", lambda examples: [x for (x,) in examples])
        drawn = [pool.batch(random) for _ in range(2000)]
    assert all(len(batch) == loop.BATCH for batch in drawn)
    assert max(drawn[0]) < 304 and min(drawn[-1]) >= 300 + 4 * 2000 - 3000


def test_a_training_goes_on_to_its_last_step(batch, tmp_path):
    """Stopped after two steps and begun again it ends where it should, and ships what it has."""
    pool = loop.Pool(lambda random, count: [Example(*(x[0] for x in batch))] * count, fresh=1, heads=lambda: 7)
    shipped = []
    for steps in (2, 52):
        loop.run(NETWORK, pool, batch, tmp_path, steps, 0, lambda state: shipped.append(state.step))
    assert shipped == [2, 52] and loop.load(tmp_path, NETWORK).step == 52
    (line,) = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert line["step"] == 50 and line["heads"] == 7 and set(line["held_out"]) < set(line)
