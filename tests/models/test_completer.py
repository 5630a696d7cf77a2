"""The completer: that what it gives is in the units that it says."""

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax.config.completer import CompleterConfig
from pmv_jax.models import completer
from pmv_jax.models.completer import DEPTH_UNIT, LOG_WIDTHS, SEEN_CHANNELS, Completer, CompleterNetwork

CONFIG = CompleterConfig(resolution=32, widths=(4, 4, 8, 8), blocks=(1, 0, 0, 0))


def test_a_completion_is_what_the_network_reads_in_its_units():
    random = np.random.default_rng(0)
    params = completer.initialise(CONFIG, jax.random.key(0)).params
    params = jax.tree.map(lambda x: jnp.asarray(0.5 * random.standard_normal(x.shape), x.dtype), params)
    views = jnp.asarray(random.standard_normal((3, 32, 32, SEEN_CHANNELS)), jnp.float32)
    told = Completer(CONFIG, params)(views)
    read = CompleterNetwork(CONFIG).apply({"params": params}, views)
    close = dict(rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(told.matte, 1 / (1 + np.exp(-read.matte_logits)), **close)
    np.testing.assert_allclose(told.relief, DEPTH_UNIT * read.relief, **close)
    np.testing.assert_allclose(told.relief_width, DEPTH_UNIT * np.exp(read.relief_log_width), **close)
    np.testing.assert_allclose(told.colour, read.colour, **close)
    np.testing.assert_allclose(told.colour_width, np.exp(read.colour_log_width), **close)
    assert told.colour.shape == (3, 32, 32, 3) and np.ptp(told.matte) > 0.1
    widths = np.log(np.stack([told.relief_width / DEPTH_UNIT, told.colour_width]))
    assert widths.min() >= LOG_WIDTHS[0] - 1e-5 and widths.max() <= LOG_WIDTHS[1] + 1e-5


def test_views_do_not_know_of_one_another():
    new = completer.initialise(CONFIG, jax.random.key(1))
    views = np.random.default_rng(1).standard_normal((2, 32, 32, SEEN_CHANNELS)).astype(np.float32)
    both, one = new(views), new(views[1:])
    np.testing.assert_allclose(both.colour[1], one.colour[0], rtol=1e-4, atol=1e-5)
