"""The arithmetic under StyleGAN2 layers, channels last: `[B, H, W, C]`, kernels `[kh, kw, in, out]`.

Doubling the resolution never stuffs zeros: what comes out at even and at odd places is computed as such (polyphase),
StyleGAN2's [1, 3, 3, 1] filter is sums of shifted phases, and the gradients are written out the same way. Against
products with banded matrices that is four times as fast at 512 pixels, and against derived gradients three times.

In mixed precision the operands and results of convolutions are bfloat16 and everything between them is float32:
rounding after each scale, filter, noise and bias too would cost 9 dB in the image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = 2**0.5  # keeps the variance of a leaky ReLU's output near one
_LARGE = 2**21  # numbers from which an array counts as large: 8 MB


def normalise_second_moment(x: Array, eps: float = 1e-8) -> Array:
    """Scales `x` [..., D] so that the mean of its squares over D is one."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """`log(1 + exp(x))` of x [...]. JAX's own is a `logaddexp` of two numbers, four times as slow on a CPU."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


# The slope in float32: in bfloat16 nothing would be left of a small one.
softplus.defjvps(lambda tangent, y, x: tangent * (1 - jnp.exp(-y.astype(jnp.float32))).astype(y.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def bias_activation(x: Array, bias: Array, clamp: float | None, name: str = "") -> Array:
    """`clip(sqrt(2) * leaky_relu(x + bias), -clamp, clamp)` (StyleGAN2 `bias_act`, 'lrelu').

    `bias` is [C]. The gradient needs the result alone, which the next layer keeps anyway; `name` is what policies of
    `jax.checkpoint` know it by.
    """
    return clip(jax.nn.leaky_relu(x + bias, LEAKY_SLOPE) * ACTIVATION_GAIN, clamp)


def _bias_activation_forward(x: Array, bias: Array, clamp: float | None, name: str) -> tuple[Array, Array]:
    y = checkpoint_name(_activation_kept(x, bias, clamp), name)
    return y, y


def _bias_activation_backward(clamp: float | None, name: str, y: Array, g: Array) -> tuple[Array, Array]:
    y, g = _after(y, g)
    dx = g * jnp.where(y < 0, LEAKY_SLOPE * ACTIVATION_GAIN, ACTIVATION_GAIN).astype(g.dtype)
    if clamp is not None:
        dx = jnp.where(jnp.abs(y) < clamp, dx, 0)
    return dx, dx.sum(range(dx.ndim - 1))


def _after(x: Array, g: Array) -> tuple[Array, Array]:
    """The same, but nothing is made of x before g is there. Else XLA prepares in the forward pass what the gradient
    needs of x, slopes or a copy with a border, and keeps it beside x."""
    return lax.optimization_barrier((x, g))


def _activation_kept(x: Array, bias: Array, clamp: float | None) -> Array:
    """`bias_activation` as an array that the gradient finds again. Else XLA makes it anew from x where the gradient
    needs it, and keeps x beside it; what a loop has made, here of one half after the other, it keeps as it is. Small
    arrays are not worth the loop."""
    if x.size < _LARGE or x.shape[1] % 2:
        return bias_activation(x, bias, clamp)
    halves = x.reshape(x.shape[0], 2, -1, *x.shape[2:]).swapaxes(0, 1)
    return lax.map(lambda half: bias_activation(half, bias, clamp), halves).swapaxes(0, 1).reshape(x.shape)


bias_activation.defvjp(_bias_activation_forward, _bias_activation_backward)


def clip(x: Array, clamp: float | None) -> Array:
    """Clips to [-clamp, clamp]; None leaves `x` alone."""
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


def upsample(x: Array) -> Array:
    """Doubles the size of [B, H, W, C], zeros outside: 3/4 near + 1/4 far neighbour (StyleGAN2 `upsample2d`)."""
    for axis in (1, 2):
        size = x.shape[axis]
        before, here, after = (_window(_pad(x, axis, 1), axis, start, size) for start in range(3))
        x = _interleave(0.75 * here + 0.25 * before, 0.75 * here + 0.25 * after, axis)
    return x


def halve(x: Array) -> Array:
    """Means of 2x2 pixels: [..., H, W, C] -> [..., H // 2, W // 2, C]; an odd last row or column is dropped."""
    *batch, height, width, channels = x.shape
    x = x[..., : height // 2 * 2, : width // 2 * 2, :]
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels).mean((-4, -2))


def modulated_conv(x: Array, kernel: Array, style: Array, *, demodulate: bool = True, up: bool = False) -> Array:
    """Style-modulated convolution (StyleGAN2 eq. 1 and 3).

    For one image the weights are modulated. For a batch its inputs are scaled by the style and its outputs by the
    demodulation factor, which is the same and keeps one ordinary convolution for all.

    Args:
      x: [B, H, W, in]; the convolution computes in its dtype.
      kernel: [k, k, in, out] with k 1 or 3.
      style: [B, in].
      demodulate: divides each output channel by the norm of its modulated weights.
      up: doubles the resolution: transposed convolution, then the [1, 3, 3, 1] filter. Needs k = 3.

    Returns:
      [B, H, W, out] or, with `up`, [B, 2H, 2W, out], float32.
    """
    if demodulate:
        power = jnp.square(style) @ jnp.sum(jnp.square(kernel), axis=(0, 1))
        gain = lax.rsqrt(power + 1e-8)
    single = x.shape[0] == 1
    if single:
        kernel = kernel * style[0][:, None]
        kernel = kernel * gain[0] if demodulate else kernel
    else:
        x = (x * style[:, None, None, :]).astype(x.dtype)
    weights = kernel.astype(x.dtype)
    if up:
        y = _blur(*(phase.astype(jnp.float32) for phase in _transposed_conv(x, weights)))
    elif kernel.shape[0] == 1:
        y = (x @ weights[0, 0]).astype(jnp.float32)
    else:
        y = _conv3x3(x, weights).astype(jnp.float32)
    return y * gain[:, None, None, :] if demodulate and not single else y


def resize(x: Array, resolution: int, *, antialias: bool) -> Array:
    """Bilinear resize of x [B, H, W, C] to [B, resolution, resolution, C], half-pixel centres.

    As torch's `interpolate` with align_corners=False; `antialias` as there: a smaller picture is of means.
    """
    return jax.image.resize(x, (x.shape[0], resolution, resolution, x.shape[3]), "bilinear", antialias=antialias)


# Convolutions with spelled-out gradients. XLA's CPU compiler brings convolutions into the layout that its fast routine
# takes only outside of loops. In the body of `lax.scan`, where every optimisation step lives, the gradients that JAX
# derives fall back to naive loops, 3 (input) to 20 times (weights) slower. Written as plain convolutions and as matrix
# products over bands of rows they are fast everywhere. Other platforms keep their own weight gradient.

_BAND = 1024  # pixels of a matrix product in weight gradients: few enough that they are in the cache when multiplied


def _conv(x: Array, kernel: Array, padding: str = "VALID") -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _flip(kernel: Array) -> Array:
    """The kernel that carries a gradient back: mirrored, inputs and outputs exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


@jax.custom_vjp
def _conv3x3(x: Array, kernel: Array) -> Array:
    """3x3 convolution with zero padding."""
    return _conv(x, kernel, "SAME")


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv3x3(x, kernel), (x, kernel)


def _conv3x3_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    x, g = _after(x, g)
    plain = lambda x, g: jax.linear_transpose(lambda k: _conv(x, k, "SAME"), kernel)(g)[0]  # noqa: E731
    dkernel = lax.platform_dependent(x, g, cpu=_conv3x3_kernel_gradient, default=plain)
    return _conv(g, _flip(kernel), "SAME"), dkernel


def _conv3x3_kernel_gradient(x: Array, g: Array) -> Array:
    """Of the nine shifts between x and g, x takes those along a row and g those along a column: three copies of each,
    where nine copies of x would take nearly as long as the product."""
    height, width = g.shape[1:3]
    g = _pad(g, 1, 1)

    def product(row: Array, rows: int) -> Array:
        ours, theirs = _pad(_rows(x, row, rows), 2, 1), _rows(g, row, rows + 2)
        across = jnp.concatenate([_window(ours, 2, j, width) for j in range(3)], axis=-1)
        down = jnp.concatenate([_window(theirs, 1, 2 - i, rows) for i in range(3)], axis=-1)
        return jnp.einsum("bhwi,bhwo->io", across, down, preferred_element_type=jnp.float32)

    total = _sum_over_bands(product, height, width).astype(x.dtype)
    return total.reshape(3, x.shape[3], 3, g.shape[3]).transpose(2, 0, 1, 3)


_conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)

Phases = tuple[Array, Array, Array, Array]


_PARITIES = ((1, 1), (1, 0), (0, 1), (0, 0))  # of rows, of columns; 1 is even
_TAPS = {1: slice(None, None, -2), 0: slice(1, 2)}


def _phases(x: Array, kernel: Array) -> Phases:
    """3x3 convolution of stride 1/2: what comes out in even and odd rows, and in each of these in even and odd columns.

    [B, H, W, in] -> [B, H + 1, W + 1, out], [B, H + 1, W, out], [B, H, W + 1, out], [B, H, W, out]: even places see
    taps 2 and 0 of the kernel, odd ones tap 1.
    """
    return tuple(
        _conv(_pad(_pad(x, 1, even_row), 2, even_column), kernel[_TAPS[even_row], _TAPS[even_column]])
        for even_row, even_column in _PARITIES
    )


_transposed_conv = jax.custom_vjp(_phases)


def _transposed_conv_forward(x: Array, kernel: Array) -> tuple[Phases, tuple[Array, Array]]:
    return _transposed_conv(x, kernel), (x, kernel)


def _transposed_conv_backward(residuals: tuple[Array, Array], g: Phases) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = sum(
        _conv(phase, _flip(kernel[_TAPS[even_row], _TAPS[even_column]]))
        for phase, (even_row, even_column) in zip(g, _PARITIES, strict=True)
    )
    plain = lambda x, *g: jax.linear_transpose(lambda k: _phases(x, k), kernel)(g)[0]  # noqa: E731
    return dx, lax.platform_dependent(x, *g, cpu=_transposed_conv_kernel_gradient, default=plain)


def _transposed_conv_kernel_gradient(x: Array, *g: Array) -> Array:
    height, width = x.shape[1:3]

    def product(row: Array, rows: int) -> Array:
        phases = {parity: _rows(phase, row, rows + parity[0]) for phase, parity in zip(g, _PARITIES, strict=True)}
        # Tap 0 sees even places where they are, tap 2 the next one.
        taps = [
            phases[i != 1, j != 1][:, i // 2 : i // 2 + rows, j // 2 : j // 2 + width]
            for i in range(3)
            for j in range(3)
        ]
        beside = jnp.concatenate(taps, axis=-1)
        return jnp.einsum("bhwi,bhwo->io", _rows(x, row, rows), beside, preferred_element_type=jnp.float32)

    total = _sum_over_bands(product, height, width).astype(x.dtype)
    return total.reshape(x.shape[3], 3, 3, -1).transpose(1, 2, 0, 3)


_transposed_conv.defvjp(_transposed_conv_forward, _transposed_conv_backward)


def _sum_over_bands(product: Callable[[Array, int], Array], height: int, width: int) -> Array:
    """Sum of `product(first row, rows)` over bands of rows."""
    rows = rows_of_band(height, _BAND // width)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: product(jnp.int32(0), rows)))
    return lax.fori_loop(0, height // rows, lambda i, total: total + product(i * rows, rows), zeros)


def rows_of_band(height: int, most: int) -> int:
    """The largest number of rows, `most` at most but never 0, that divides an image's height."""
    return next(n for n in range(min(height, max(1, most)), 0, -1) if height % n == 0)


@jax.custom_vjp
def _blur(even_even: Array, even_odd: Array, odd_even: Array, odd_odd: Array) -> Array:
    """The phases of [B, 2H + 1, 2W + 1, C], filtered by [1, 3, 3, 1] / 4 a side -> [B, 2H, 2W, C]."""
    return _blur_axis(_blur_axis(even_even, even_odd, 2), _blur_axis(odd_even, odd_odd, 2), 1)


def _blur_axis(even: Array, odd: Array, axis: int) -> Array:
    size = odd.shape[axis]
    odd = _pad(odd, axis, 1)
    before, here, after = (_window(odd, axis, start, size) for start in range(3))
    this, following = (_window(even, axis, start, size) for start in range(2))
    return _interleave(
        0.25 * (before + following) + 0.75 * (this + here), 0.25 * (this + after) + 0.75 * (here + following), axis
    )


def _blur_forward(*phases: Array) -> tuple[Array, tuple[()]]:
    return _blur(*phases), ()


def _blur_backward(residuals: tuple[()], g: Array) -> Phases:
    even, odd = _blur_axis_transposed(g, 1)
    return *_blur_axis_transposed(even, 2), *_blur_axis_transposed(odd, 2)


def _blur_axis_transposed(g: Array, axis: int) -> tuple[Array, Array]:
    size = g.shape[axis] // 2
    padded = _pad(g, axis, 2)
    at = lambda place, count: _window(padded, axis, 2 + place, count, 2)  # noqa: E731
    even = 0.25 * (at(-2, size + 1) + at(1, size + 1)) + 0.75 * (at(-1, size + 1) + at(0, size + 1))
    return even, 0.25 * (at(-1, size) + at(2, size)) + 0.75 * (at(0, size) + at(1, size))


_blur.defvjp(_blur_forward, _blur_backward)


def _pad(x: Array, axis: int, width: int) -> Array:
    return jnp.pad(x, [(width, width) if i == axis else (0, 0) for i in range(x.ndim)])


def _window(x: Array, axis: int, start: int, size: int, stride: int = 1) -> Array:
    return lax.slice_in_dim(x, start, start + (size - 1) * stride + 1, stride, axis)


def _rows(x: Array, start: Array, count: int) -> Array:
    return lax.dynamic_slice_in_dim(x, start, count, axis=1)


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    shape = [2 * size if i == axis else size for i, size in enumerate(even.shape)]
    return jnp.stack([even, odd], axis + 1).reshape(shape)
