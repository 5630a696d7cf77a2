"""What U-Nets are made of."""

import jax
import numpy as np
import pytest

from pmv_jax.models import unet


@pytest.mark.parametrize("size", [1, 3, 8])
def test_maps_are_doubled_as_a_bilinear_resize_does(size):
    x = jax.random.normal(jax.random.key(size), (2, size, size, 5))
    expected = jax.image.resize(x, (2, 2 * size, 2 * size, 5), "bilinear")
    np.testing.assert_allclose(unet._doubled(x), expected, atol=1e-6)
