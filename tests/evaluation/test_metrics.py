import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pmv_jax import cameras
from pmv_jax.evaluation import metrics

# Compiled whole: compiling each of their steps for each size of images takes longer.
psnr, ssim, ms_ssim, masked_psnr, masked_ssim, masked_rmse, normal_angle = map(
    jax.jit,
    (
        metrics.psnr,
        metrics.ssim,
        metrics.ms_ssim,
        metrics.masked_psnr,
        metrics.masked_ssim,
        metrics.masked_rmse,
        metrics.normal_angle,
    ),
)


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
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-4)
    assert float(psnr(a, b)) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=2), abs=1e-3)


@pytest.mark.parametrize("size", [11, 43, 128, 176])
def test_ms_ssim_orders_images_by_damage(size):
    a, slightly = pair(size, 0.05)
    _, badly = pair(size, 0.5)
    assert float(ms_ssim(a, a)) == pytest.approx(1, abs=1e-5)
    assert 1 > ms_ssim(a, slightly) > ms_ssim(a, badly) > 0
    assert 0 <= ms_ssim(a, -a) < 1  # anticorrelated: no NaN from a power of a negative number


def test_ms_ssim_of_one_scale_is_ssim():
    a, b = pair(21, 0.2)  # half of it is smaller than the window
    assert float(ms_ssim(a, b)) == pytest.approx(float(ssim(a, b)), abs=1e-5)


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
    assert float(ms_ssim(a, b)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim], ids=["psnr", "ssim", "ms_ssim"])
def test_metrics_batch_compile_and_differentiate(metric):
    pairs = [pair(32, 0.2, seed) for seed in range(3)]
    a, b = (jnp.stack(side) for side in zip(*pairs, strict=True))
    batched = jax.jit(jax.vmap(metric))(a, b)
    np.testing.assert_allclose(batched, [metric(*p) for p in pairs], rtol=1e-5)
    gradient = jax.jit(jax.grad(metric, argnums=1))(a[0], b[0])
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    towards = b[0] + 1e-2 * gradient / np.linalg.norm(gradient)
    assert metric(a[0], towards) > metric(a[0], b[0])


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="11x11"):
        ssim(jnp.zeros((10, 40, 3)), jnp.zeros((10, 40, 3)))


def test_masked_metrics_of_everything_are_the_plain_ones():
    a, b = pair(40, 0.2)
    everything = jnp.ones((40, 40), bool)
    assert float(masked_psnr(a, b, everything)) == pytest.approx(float(psnr(a, b)), abs=1e-4)
    assert float(masked_ssim(a, b, everything)) == pytest.approx(float(ssim(a, b)), abs=1e-5)


def test_masked_metrics_look_at_the_mask_only():
    a, b = pair(40, 0.2)
    left = jnp.broadcast_to(jnp.arange(40) < 17, (40, 40))
    assert float(masked_psnr(a, b, left)) == pytest.approx(float(psnr(a[:, :17], b[:, :17])), abs=1e-4)
    # Windows reach five pixels beyond their middle, and lie inside the image.
    assert float(masked_ssim(a, b, left)) == pytest.approx(float(ssim(a[:, :22], b[:, :22])), abs=1e-5)
    nothing = jnp.zeros((40, 40), bool)
    for metric in (masked_psnr, masked_ssim):
        assert np.isnan(metric(a, b, nothing))


def test_depth_error_is_neither_shifted_nor_scaled_away():
    depth = np.random.default_rng(0).uniform(2, 3, (9, 9)).astype(np.float32)
    mask = np.eye(9, dtype=bool)
    shifted = np.where(mask, depth + 0.25, 7.0)
    assert float(masked_rmse(shifted, depth, mask)) == pytest.approx(0.25, rel=1e-4)
    assert np.isnan(masked_rmse(shifted, depth, mask & False))


def test_normal_angle_of_two_planes_is_their_angle():
    """Planes n . x = 2.7 n . axis through one point, turned against each other about y by 20 degrees."""
    camera = cameras.look_at(0.3, 0.0)  # the axis is perpendicular to y: the normals turn by all of it
    directions = np.asarray(cameras.unproject(camera, cameras.pixel_centres(24).reshape(-1, 2))).reshape(24, 24, 3)
    axis = np.asarray(camera[:16]).reshape(4, 4)[:3, 2]

    def plane(degrees: float) -> np.ndarray:
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        normal = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]) @ axis
        return (2.7 * (normal @ axis) / (directions @ normal)).astype(np.float32)

    mask = np.zeros((24, 24), bool)
    mask[4:20, 5:18] = True
    broken = np.where(mask, plane(15), 9.0)  # what lies outside of the mask has no part in it
    assert float(normal_angle(plane(-5), broken, camera, mask)) == pytest.approx(20, abs=0.05)


def test_iou_counts_pixels():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:, :2], b[:, 1:] = True, True
    assert float(metrics.iou(a, b)) == 0.25
    assert np.isnan(metrics.iou(a & False, b & False))
