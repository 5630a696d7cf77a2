"""The arithmetic under StyleGAN2 layers, channels last: `[B, H, W, C]`, kernels `[kh, kw, in, out]`.

Resampling with StyleGAN2's [1, 3, 3, 1] filter is a product with a constant banded matrix along each axis. Against
shifts and sums, or zero-stuffing and a depthwise convolution, that is twice as fast and compiles in half the time.

In mixed precision the operands and results of convolutions are bfloat16 and everything between them is float32:
rounding after each scale, filter, noise and bias too would cost 9 dB in the image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = 2**0.5  # keeps the variance of a leaky ReLU's output near one


def normalise_second_moment(x: Array, eps: float = 1e-8) -> Array:
    """Scales `x` [..., D] so that the mean of its squares over D is one."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)


def bias_activation(x: Array, bias: Array, clamp: float | None) -> Array:
    """`clip(sqrt(2) * leaky_relu(x + bias), -clamp, clamp)` (StyleGAN2 `bias_act`, 'lrelu')."""
    return clip(jax.nn.leaky_relu(x + bias, LEAKY_SLOPE) * ACTIVATION_GAIN, clamp)


def clip(x: Array, clamp: float | None) -> Array:
    """Clips to [-clamp, clamp]; None leaves `x` alone."""
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def upsample(x: Array) -> Array:
    """Doubles the size of [B, H, W, C], zeros outside: 3/4 near + 1/4 far neighbour (StyleGAN2 `upsample2d`)."""
    rows, columns = (jnp.asarray(_upsampling_matrix(n), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("pi,bijc,qj->bpqc", rows, x, columns, precision="highest")  # images gather in float32


def halve(x: Array) -> Array:
    """Means of 2x2 pixels: [..., H, W, C] -> [..., H // 2, W // 2, C]; an odd last row or column is dropped."""
    *batch, height, width, channels = x.shape
    x = x[..., : height // 2 * 2, : width // 2 * 2, :]
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels).mean((-4, -2))


def modulated_conv(x: Array, kernel: Array, style: Array, *, demodulate: bool = True, up: bool = False) -> Array:
    """Style-modulated convolution (StyleGAN2 eq. 1 and 3), by scaling activations in place of weights.

    Scaling the inputs by the style and the outputs by the demodulation factor equals modulated weights, and keeps one
    ordinary convolution for the whole batch.

    Args:
      x: [B, H, W, in]; the convolution computes in its dtype.
      kernel: [k, k, in, out] with k 1 or 3.
      style: [B, in].
      demodulate: divides each output channel by the norm of its modulated weights.
      up: doubles the resolution: transposed convolution, then the [1, 3, 3, 1] filter. Needs k = 3.

    Returns:
      [B, H, W, out] or, with `up`, [B, 2H, 2W, out], float32.
    """
    scaled = (x * style[:, None, None, :]).astype(x.dtype)
    weights = kernel.astype(x.dtype)
    if up:
        y = _blurred_transposed_conv(scaled, weights)
    elif kernel.shape[0] == 1:
        y = scaled @ weights[0, 0]
    else:
        y = _conv3x3(scaled, weights)
    y = y.astype(jnp.float32)
    if demodulate:
        power = jnp.square(style) @ jnp.sum(jnp.square(kernel), axis=(0, 1))
        y = y * lax.rsqrt(power + 1e-8)[:, None, None, :]
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
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def tap(offset: Array) -> Array:
        shifted = lax.dynamic_slice(padded, (0, offset[0], offset[1], 0), x.shape)
        return jnp.einsum("bhwi,bhwo->io", shifted, g)

    offsets = jnp.array([(i, j) for i in range(3) for j in range(3)])
    return lax.map(tap, offsets).reshape(kernel.shape)  # a loop, because nine copies take nine times as long to compile


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
    rows, columns = (jnp.asarray(_phase_filter_matrix(n), x.dtype) for n in (height, width))
    return jnp.einsum("piy,bijyxc,qjx->bpqc", rows, y, columns, preferred_element_type=jnp.float32)


def _upsampling_matrix(size: int) -> np.ndarray:
    """[2 size, size]: zero-stuffing, then the filter."""
    i = np.arange(size)
    matrix = np.zeros((2 * size, size))
    matrix[2 * i, i] = matrix[2 * i + 1, i] = 0.75
    matrix[2 * i[1:] - 1, i[1:]] = matrix[2 * i[:-1] + 2, i[:-1]] = 0.25
    return matrix


def _phase_filter_matrix(size: int) -> np.ndarray:
    """[2 size, size + 1, 2]: the filter over 2 size + 1 samples that come as (position, phase), the last one void."""
    matrix = np.zeros((2 * size, size + 1, 2))
    for output in range(2 * size):
        for tap, value in enumerate((0.25, 0.75, 0.75, 0.25)):
            sample = output - 1 + tap
            if 0 <= sample <= 2 * size:
                matrix[output, sample // 2, sample % 2] = value
    return matrix
