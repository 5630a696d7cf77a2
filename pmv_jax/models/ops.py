"""The arithmetic under StyleGAN2 layers, channels last: `[B, H, W, C]`, kernels `[kh, kw, in, out]`.

The resampling filter is StyleGAN2's [1, 3, 3, 1], written out as shifts and sums: two polyphase taps a side, no
zero-stuffing, no depthwise convolution.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = 2**0.5  # keeps the variance of a leaky ReLU's output near one


def normalise_second_moment(x: Array, eps: float = 1e-8) -> Array:
    """Scales `x` [..., D] so that the mean of its squares over D is one."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)


def bias_activation(x: Array, bias: Array, clamp: float | None) -> Array:
    """`clip(sqrt(2) * leaky_relu(x + bias), -clamp, clamp)` (StyleGAN2 `bias_act`, 'lrelu')."""
    x = jax.nn.leaky_relu(x + bias.astype(x.dtype), LEAKY_SLOPE) * ACTIVATION_GAIN
    return clip(x, clamp)


def clip(x: Array, clamp: float | None) -> Array:
    """Clips to [-clamp, clamp]; None leaves `x` alone."""
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def upsample(x: Array) -> Array:
    """[B, H, W, C] -> [B, 2H, 2W, C], zeros outside (StyleGAN2 `upsample2d`): each output is 3/4 near + 1/4 far neighbour."""
    for axis in (1, 2):
        before, after = _shift(x, axis, 1), _shift(x, axis, -1)
        x = _interleave(0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after, axis)
    return x


def modulated_conv(x: Array, kernel: Array, style: Array, *, demodulate: bool = True, up: bool = False) -> Array:
    """Style-modulated convolution (StyleGAN2 eq. 1 and 3), by scaling activations in place of weights.

    Scaling the inputs by the style and the outputs by the demodulation factor equals modulated weights, and keeps one
    ordinary convolution for the whole batch.

    Args:
      x: [B, H, W, in].
      kernel: [k, k, in, out] with k 1 or 3.
      style: [B, in].
      demodulate: divides each output channel by the norm of its modulated weights.
      up: doubles the resolution: transposed convolution, then the [1, 3, 3, 1] filter. Needs k = 3.

    Returns:
      [B, H, W, out] or, with `up`, [B, 2H, 2W, out], in the dtype of `x`.
    """
    scaled = x * style[:, None, None, :].astype(x.dtype)
    weights = kernel.astype(x.dtype)
    if up:
        y = _blurred_transposed_conv(scaled, weights)
    elif kernel.shape[0] == 1:
        y = scaled @ weights[0, 0]
    else:
        y = _conv3x3(scaled, weights)
    if demodulate:
        power = jnp.square(style) @ jnp.sum(jnp.square(kernel), axis=(0, 1))
        y = y * lax.rsqrt(power + 1e-8)[:, None, None, :].astype(x.dtype)
    return y


def resize(x: Array, resolution: int, *, antialias: bool) -> Array:
    """Bilinear resize of [B, H, W, C] to a square, half-pixel centres (torch `interpolate`, align_corners=False)."""
    return jax.image.resize(x, (x.shape[0], resolution, resolution, x.shape[3]), "bilinear", antialias=antialias)


@jax.custom_vjp
def _conv3x3(x: Array, kernel: Array) -> Array:
    """3x3 convolution with zero padding.

    Its gradients are spelled out because XLA's CPU compiler brings convolutions into the layout that its fast routine
    takes only outside of loops. In the body of `lax.scan`, where every optimisation step lives, the gradients that JAX
    derives fall back to naive loops, 3 (input) to 20 times (weights) slower. Written as a plain convolution and as nine
    matrix products they are fast everywhere. Other platforms keep their own weight gradient.
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv3x3(x, kernel), (x, kernel)


def _conv3x3_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _conv3x3(g, kernel[::-1, ::-1].swapaxes(2, 3))
    dkernel = lax.platform_dependent(x, g, kernel, cpu=_kernel_gradient_by_shifts, default=_kernel_gradient)
    return dx, dkernel


def _kernel_gradient(x: Array, g: Array, kernel: Array) -> Array:
    plain = lambda k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))  # noqa: E731
    return jax.linear_transpose(plain, kernel)(g)[0]


def _kernel_gradient_by_shifts(x: Array, g: Array, kernel: Array) -> Array:
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        jnp.einsum("bhwi,bhwo->io", padded[:, i : i + height, j : j + width], g) for i in range(3) for j in range(3)
    ]
    return jnp.stack(taps).reshape(kernel.shape)


_conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)


def _blurred_transposed_conv(x: Array, kernel: Array) -> Array:
    """Stride-2 transposed 3x3 convolution and [1, 3, 3, 1] / 4 filter a side (StyleGAN2 `conv2d_resample`, up=2).

    Even outputs of the transposed convolution see taps 0 and 2, odd ones tap 1: a 2x2 convolution at the low resolution
    whose output channels are the four phases. It is written as one matrix product over gathered patches, because XLA's
    CPU gradient for the weights of an even-sized convolution is 20 times slower than that.
    """
    batch, height, width, channels = x.shape
    out = kernel.shape[3]
    zero = jnp.zeros_like(kernel[0])
    rows = jnp.stack([jnp.stack([kernel[2], kernel[0]]), jnp.stack([zero, kernel[1]])])  # [phase_y, y, tap_x, in, out]
    zero = jnp.zeros_like(rows[:, :, 0])
    both = jnp.stack(  # [phase_x, x, phase_y, y, in, out]
        [jnp.stack([rows[:, :, 2], rows[:, :, 0]]), jnp.stack([zero, rows[:, :, 1]])]
    )
    matrix = both.transpose(3, 1, 4, 2, 0, 5).reshape(4 * channels, 4 * out)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = [padded[:, i : i + height + 1, j : j + width + 1] for i in (0, 1) for j in (0, 1)]
    y = (jnp.concatenate(patches, axis=-1) @ matrix).reshape(batch, height + 1, width + 1, 2, 2, out)
    y = y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height + 2, 2 * width + 2, out)[:, :-1, :-1]
    for axis in (1, 2):
        y = jnp.pad(y, [(1, 1) if a == axis else (0, 0) for a in range(4)])
        size = y.shape[axis] - 3
        a, b, c, d = (lax.slice_in_dim(y, i, i + size, axis=axis) for i in range(4))
        y = 0.25 * (a + d) + 0.75 * (b + c)
    return y


def _shift(x: Array, axis: int, by: int) -> Array:
    """`x` moved by one place along `axis`, zero filled."""
    pad = [(0, 0)] * x.ndim
    pad[axis] = (1, 0) if by > 0 else (0, 1)
    start = 0 if by > 0 else 1
    return lax.slice_in_dim(jnp.pad(x, pad), start, start + x.shape[axis], axis=axis)


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    shape = list(even.shape)
    shape[axis] *= 2
    return jnp.stack([even, odd], axis=axis + 1).reshape(shape)
