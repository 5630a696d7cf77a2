"""Smooth steps, ramps and blends, and sRGB: the vocabulary in which a head depends smoothly on p."""

import numpy as np
from numpy.typing import ArrayLike

Number = float | np.ndarray


def sigmoid(x: ArrayLike) -> Number:
    """Logistic step from 0 to 1."""
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))[()]


def ramp(x: ArrayLike, sharpness: float = 6.0) -> Number:
    """Smooth max(0, x) (softplus); the corner is about 1 / sharpness wide."""
    return np.logaddexp(0, sharpness * np.asarray(x, np.float64))[()] / sharpness


def smoothstep(start: ArrayLike, stop: ArrayLike, x: ArrayLike) -> Number:
    """0 before `start`, 1 past `stop` (which may be the smaller one), 3 t^2 - 2 t^3 between."""
    t = np.clip((np.asarray(x) - start) / (np.asarray(stop) - start), 0, 1)
    return t * t * (3 - 2 * t)


def lerp(a: Number, b: Number, t: Number) -> Number:
    """a at t = 0, b at t = 1."""
    return a + (b - a) * t


def log_lerp(a: ArrayLike, b: ArrayLike, t: Number) -> np.ndarray:
    """As `lerp`, of logarithms: even steps for the eye between two colours."""
    return np.exp((1 - t) * np.log(np.asarray(a)) + t * np.log(np.asarray(b)))


def softmax(x: ArrayLike) -> np.ndarray:
    """Weights [n] that sum to 1."""
    e = np.exp(np.asarray(x) - np.max(x))
    return e / e.sum()


def pruned(weights: np.ndarray, floor: float) -> np.ndarray:
    """Weights [n] with those below `floor` faded to exactly zero, continuously, so that they cost nothing."""
    weights = np.maximum(weights - floor, 0)
    return weights / weights.sum()


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] scaled to length 1."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def linear_from_srgb(image: np.ndarray) -> np.ndarray:
    """uint8 sRGB -> float32 linear light in [0, 1]; IEC 61966-2-1."""
    x = image.astype(np.float32) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_from_linear(x: np.ndarray) -> np.ndarray:
    """Linear light, clipped to [0, 1] -> sRGB in [0, 1]."""
    x = np.clip(x, 0, 1)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def to_bytes(x: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, rounded."""
    return (np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)
