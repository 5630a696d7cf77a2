"""LPIPS v0.1: Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a perceptual
metric", CVPR 2018 (arXiv 1801.03924), with VGG16 or AlexNet.

Both images pass through a network trained on ImageNet. At five depths the features of each pixel are scaled to unit
length; their squared differences, weighted per channel by a learned head, are averaged over pixels and summed over
depths (eq. 1). The network is fixed: gradients reach images, never its weights.

Constants and layer tables are facts from https://github.com/richzhang/PerceptualSimilarity (`lpips/lpips.py`,
`lpips/pretrained_networks.py`) and torchvision (`models/vgg.py`, `models/alexnet.py`). Ours resizes nothing: like
`lpips.LPIPS`, it compares images at the size that they have. The paper's reference code (HFGI3D) does so at 512 pixels
with AlexNet in both tunings, and averages down to 256 before VGG16 in the latent optimisation.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Network = Literal["vgg", "alex"]
Tree = dict[str, Any]

SMALLEST_SIDE = 32  # below 31 pixels nothing is left of AlexNet's last maps; figures mean something from 64 on

# ImageNet's mean and deviation of the channels, for images in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188])
_SCALE = np.array([0.458, 0.448, 0.450])


class _Conv(NamedTuple):
    name: str  # torchvision's features.<name>
    channels: int
    size: int = 3
    stride: int = 1
    padding: int = 1


class _Slice(NamedTuple):
    """What lies between two taps: max pooling with stride 2, unless `pool` is 0, then convolutions with ReLU."""

    pool: int
    convolutions: tuple[_Conv, ...]


_SLICES: dict[Network, tuple[_Slice, ...]] = {
    "vgg": (
        _Slice(0, (_Conv("0", 64), _Conv("2", 64))),
        _Slice(2, (_Conv("5", 128), _Conv("7", 128))),
        _Slice(2, (_Conv("10", 256), _Conv("12", 256), _Conv("14", 256))),
        _Slice(2, (_Conv("17", 512), _Conv("19", 512), _Conv("21", 512))),
        _Slice(2, (_Conv("24", 512), _Conv("26", 512), _Conv("28", 512))),
    ),
    "alex": (
        _Slice(0, (_Conv("0", 64, size=11, stride=4, padding=2),)),
        _Slice(3, (_Conv("3", 192, size=5, padding=2),)),
        _Slice(3, (_Conv("6", 384),)),
        _Slice(0, (_Conv("8", 256),)),
        _Slice(0, (_Conv("10", 256),)),
    ),
}


@flax.struct.dataclass
class Lpips:
    """A network with its heads. A pytree: an argument of compiled functions like any other.

    Attributes:
      network: "vgg" or "alex".
      variables: {"features": {name: {"weight": [k, k, in, out], "bias": [out]}}, "heads": {"lin0": [C], ... "lin4"}}.
    """

    network: Network = flax.struct.field(pytree_node=False)
    variables: Tree


def variable_shapes(network: Network) -> Tree:
    """The variables of a network as `jax.ShapeDtypeStruct`s."""
    of = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    layers, heads, channels = {}, {}, 3
    for depth, part in enumerate(_SLICES[network]):
        for conv in part.convolutions:
            kernel = (conv.size, conv.size, channels, conv.channels)
            layers[conv.name] = {"weight": of(kernel), "bias": of((conv.channels,))}
            channels = conv.channels
        heads[f"lin{depth}"] = of((channels,))
    return {"features": layers, "heads": heads}


def distance(lpips: Lpips, image: Array, target: Array, weight: Array | None = None) -> Array:
    """LPIPS of two images [H, W, 3] in [-1, 1], a scalar >= 0; 0 for equal images. See `layer_distances`."""
    return jnp.sum(layer_distances(lpips, image, target, weight))


def layer_distances(lpips: Lpips, image: Array, target: Array, weight: Array | None = None) -> Array:
    """The five terms of LPIPS [5], from the finest map to the coarsest.

    Without weights it is symmetric in both images. A weight per pixel acts in two ways. A feature sees the surroundings
    of its pixel, so where the weight is 0 the image first takes the target's pixels: what does not count then has
    neither value nor gradient, at any depth. Elsewhere each map is averaged with the weight, brought to that map's
    resolution by antialiased linear resizing. The mean is over all pixels, so that a weight of c everywhere gives c
    times LPIPS.

    Args:
      lpips: network and heads.
      image, target: [H, W, 3] in [-1, 1], both sides at least `SMALLEST_SIDE`.
      weight: [H, W] >= 0; None is 1 everywhere.

    Raises:
      ValueError: a side is too short.
    """
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"LPIPS needs images of at least {SMALLEST_SIDE} pixels a side, not {image.shape[:2]}")
    if weight is not None:
        image = jnp.where(weight[..., None] > 0, image, target)
    terms = []
    for depth, (ours, theirs) in enumerate(zip(features(lpips, image), features(lpips, target), strict=True)):
        head = lax.stop_gradient(lpips.variables["heads"][f"lin{depth}"])
        # Not a matrix product, which accelerators would round to fewer bits.
        difference = jnp.sum(head * jnp.square(ours - theirs), axis=-1)
        if weight is not None:
            difference = difference * jax.image.resize(weight, difference.shape, "linear")
        terms.append(jnp.mean(difference))
    return jnp.stack(terms)


def features(lpips: Lpips, image: Array) -> list[Array]:
    """Features of unit length at five depths, [h, w, C] each, of an image [H, W, 3] in [-1, 1].

    Convolutions have the precision that `jax.default_matmul_precision` says.
    """
    layers = lax.stop_gradient(lpips.variables["features"])
    # (image - shift) / scale, with the constants brought together: one rounding less.
    x = (image * jnp.asarray(1 / _SCALE, image.dtype) - jnp.asarray(_SHIFT / _SCALE, image.dtype))[None]
    maps = []
    for part in _SLICES[lpips.network]:
        if part.pool:
            x = _max_pool(x, part.pool)
        for conv in part.convolutions:
            x = jax.nn.relu(_convolve(x, layers[conv.name]["weight"], conv) + layers[conv.name]["bias"])
        maps.append(_unit_length(x[0]))
    return maps


def _unit_length(x: Array) -> Array:
    """Divides each pixel of [h, w, C] by its norm. Pixels without any feature stay 0; the bound keeps the gradient
    finite there, and the ReLU before makes it 0."""
    return x * lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-20)


def _max_pool(x: Array, window: int) -> Array:
    """Maxima of [1, H, W, C] over windows at every second pixel that lie inside (torch `MaxPool2d`, no padding).

    As maxima of shifted copies, because XLA's CPU gradient of a windowed maximum is a naive loop.
    """
    height, width = ((side - window) // 2 + 1 for side in x.shape[1:3])
    shifted = [
        x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
        for i, j in itertools.product(range(window), repeat=2)
    ]
    return functools.reduce(jnp.maximum, shifted)


def _convolve(x: Array, kernel: Array, conv: _Conv) -> Array:
    """Zero-padded convolution of [1, H, W, in] with a kernel [k, k, in, out], without bias."""
    if conv.stride == 1:
        return _fixed_convolution(x, kernel)
    return _plain_convolution(x, kernel, conv.stride, conv.padding)


def _plain_convolution(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    margins = 2 * ((padding, padding),)
    return lax.conv_general_dilated(x, kernel, (stride, stride), margins, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def _fixed_convolution(x: Array, kernel: Array) -> Array:
    """Convolution with an odd kernel that keeps the size and lets no gradient through to the kernel.

    The gradient is spelled out as a plain convolution for XLA's CPU compiler, see `ops._conv3x3`.
    """
    return _plain_convolution(x, kernel, 1, kernel.shape[0] // 2)


def _fixed_convolution_forward(x: Array, kernel: Array) -> tuple[Array, Array]:
    return _fixed_convolution(x, kernel), kernel


def _fixed_convolution_backward(kernel: Array, g: Array) -> tuple[Array, Array]:
    return _fixed_convolution(g, kernel[::-1, ::-1].swapaxes(2, 3)), jnp.zeros_like(kernel)


_fixed_convolution.defvjp(_fixed_convolution_forward, _fixed_convolution_backward)
