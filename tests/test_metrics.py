import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pmv_jax import metrics


def pair(size: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured picture in [-1, 1] and a noisy copy."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    a = np.stack([np.sin(20 * x + 3 * y), np.cos(9 * y * x), np.sin(30 * y)], -1)
    return a.astype(np.float32), np.clip(a + noise * random.normal(size=a.shape), -1, 1).astype(np.float32)


@pytest.mark.parametrize("noise", [0.02, 0.3])
@pytest.mark.parametrize("size", [32, 101])
def test_psnr_and_ssim_agree_with_scikit_image(size, noise):
    a, b = pair(size, noise)
    expected = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=2, channel_axis=-1
    )
    assert float(metrics.ssim(a, b)) == pytest.approx(expected, abs=1e-4)
    assert float(metrics.psnr(a, b)) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=2), abs=1e-3)


@pytest.mark.parametrize("size", [11, 43, 128, 176])
def test_ms_ssim_orders_images_by_damage(size):
    a, slightly = pair(size, 0.05)
    _, badly = pair(size, 0.5)
    assert float(metrics.ms_ssim(a, a)) == pytest.approx(1, abs=1e-5)
    assert 1 > metrics.ms_ssim(a, slightly) > metrics.ms_ssim(a, badly) > 0
    assert 0 <= metrics.ms_ssim(a, -a) < 1  # anticorrelated: no NaN from a power of a negative number


def test_ms_ssim_of_one_scale_is_ssim():
    a, b = pair(21, 0.2)  # half of it is smaller than the window
    assert float(metrics.ms_ssim(a, b)) == pytest.approx(float(metrics.ssim(a, b)), abs=1e-5)


def reference_ms_ssim(a: np.ndarray, b: np.ndarray, weights: tuple[float, ...]) -> float:
    """MS-SSIM in NumPy and SciPy, as the paper writes it down."""

    def mean(x):  # under the 11x11 window, where it lies inside
        return gaussian_filter(x.astype(np.float64), (1.5, 1.5, 0), truncate=3.5)[5:-5, 5:-5]

    total = 1
    for scale, weight in enumerate(weights):
        luminance = (2 * mean(a) * mean(b) + 0.02**2) / (mean(a) ** 2 + mean(b) ** 2 + 0.02**2)
        covariance, spread = mean(a * b) - mean(a) * mean(b), mean(a * a + b * b) - mean(a) ** 2 - mean(b) ** 2
        contrast = (2 * covariance + 0.06**2) / (spread + 0.06**2)
        last = scale == len(weights) - 1
        total = total * (contrast * luminance if last else contrast).mean((0, 1)) ** weight
        if not last:
            a, b = (0.25 * (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) for x in (a, b))
    return float(total.mean())


@pytest.mark.parametrize(("size", "scales"), [(176, 5), (128, 4)])
def test_ms_ssim_follows_its_definition(size, scales):
    a, b = pair(size, 0.2)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    expected = reference_ms_ssim(a, b, tuple(weights / weights.sum()))
    assert float(metrics.ms_ssim(a, b)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
def test_metrics_batch_compile_and_differentiate(metric):
    pairs = [pair(32, 0.2, seed) for seed in range(3)]
    a, b = (jnp.stack(side) for side in zip(*pairs, strict=True))
    batched = jax.jit(jax.vmap(metric))(a, b)
    np.testing.assert_allclose(batched, [metric(*p) for p in pairs], rtol=1e-5)
    gradient = jax.grad(metric, argnums=1)(a[0], b[0])
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    towards = b[0] + 1e-2 * gradient / np.linalg.norm(gradient)
    assert metric(a[0], towards) > metric(a[0], b[0])


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(jnp.zeros((10, 40, 3)), jnp.zeros((10, 40, 3)))
