"""What stands behind heads in photographs, made up: gradients, blots, noise, pieces of pictures, other people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pmv_jax.errors import InputError

Random = np.random.Generator
Pictures = Sequence[Image.Image]

_BLURS = (0, 0, 1, 2, 5)  # radii in pixels: things far behind are out of focus


def pictures(directory: str | Path | None) -> list[Image.Image]:
    """The pictures in a directory; none of None. Raises `InputError` where there is none."""
    if directory is None:
        return []
    paths = [p for p in sorted(Path(directory).glob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not paths:
        raise InputError(f"--backgrounds {directory}: holds no .jpg or .png; give a directory of pictures")
    return [Image.open(path).convert("RGB") for path in paths]


def draw(side: int, pictures: Pictures, neighbour: Callable[[], np.ndarray], random: Random) -> np.ndarray:
    """One backdrop.

    Args:
      side: pixels.
      pictures: to take pieces of, as many as there are.
      neighbour: gives another head as a layer [side, side, 4], colour and coverage in [0, 1].
      random: where chance comes from.

    Returns:
      [side, side, 3], in about [0, 1].
    """
    kinds = [_blots, _noise, _plain, _people, _people] + [_piece, _piece] * bool(pictures)
    back = kinds[random.integers(len(kinds))](_gradient(side, random), pictures, neighbour, random)
    radius = _BLURS[random.integers(len(_BLURS))]
    return blurred(back, radius) if radius else back


def toned(picture: np.ndarray, random: Random, strength: float = 1.0) -> np.ndarray:
    """[..., 3] in [0, 1] at another exposure, contrast and white balance."""
    gain = np.exp(strength * (random.normal(0, 0.2) + random.normal(0, 0.1, 3)))
    lifted = np.clip(picture * gain + strength * random.normal(0, 0.04), 0, 1)
    return lifted ** np.exp(strength * random.normal(0, 0.25))


def blurred(picture: np.ndarray, radius: float) -> np.ndarray:
    """[H, W, 3] in [0, 1], out of focus by `radius` pixels."""
    eight_bit = Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8))
    return np.asarray(eight_bit.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def _places(side: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y [side, side, 1] of pixels, in picture sizes from the middle."""
    y, x = np.mgrid[-0.5 : 0.5 : side * 1j, -0.5 : 0.5 : side * 1j][..., None]
    return x, y


def _gradient(side: int, random: Random) -> np.ndarray:
    base = random.uniform(0, 1, 3) * (1 - random.random() * 0.5)
    if random.random() < 0.4:
        base = np.repeat(base.mean(), 3)
    slope = random.normal(0, 0.25, (2, 3))
    x, y = _places(side)
    return base + slope[0] * x + slope[1] * y


def _plain(back: np.ndarray, pictures: Pictures, neighbour: Callable, random: Random) -> np.ndarray:
    return back


def _blots(back: np.ndarray, pictures: Pictures, neighbour: Callable, random: Random) -> np.ndarray:
    x, y = _places(len(back))
    for _ in range(random.integers(1, 9)):
        centre, radius = random.uniform(-0.6, 0.6, 2), random.uniform(0.03, 0.5, 2)
        across, down = (x - centre[0]) / radius[0], (y - centre[1]) / radius[1]
        inside = np.hypot(across, down) if random.random() < 0.5 else np.maximum(np.abs(across), np.abs(down))
        soft = np.clip((1 - inside) / random.uniform(0.02, 0.5), 0, 1)
        back = back + soft * random.uniform(0.3, 1) * (random.uniform(0, 1, 3) - back)
    return back


def _noise(back: np.ndarray, pictures: Pictures, neighbour: Callable, random: Random) -> np.ndarray:
    """Noise with about the spectrum of photographs."""
    side = len(back)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    decay = (frequency + 1 / side) ** -random.uniform(0.8, 2)
    noise = np.fft.fft2(random.normal(size=(side, side, 3)), axes=(0, 1))
    waves = np.fft.ifft2(decay[..., None] * noise, axes=(0, 1)).real
    mix = np.eye(3) * random.uniform(0, 1) + 0.5
    return back + random.uniform(0.02, 0.25) * (waves / waves.std()) @ mix


def _piece(back: np.ndarray, pictures: Pictures, neighbour: Callable, random: Random) -> np.ndarray:
    picture = pictures[random.integers(len(pictures))]
    length = int(random.uniform(0.25, 1) * min(picture.size))
    left, top = (random.integers(size - length + 1) for size in picture.size)
    box = (left, top, left + length, top + length)
    cut = picture.resize((len(back), len(back)), Image.Resampling.BILINEAR, box)
    return toned(np.asarray(cut, np.float32) / 255, random)


def _people(back: np.ndarray, pictures: Pictures, neighbour: Callable, random: Random) -> np.ndarray:
    if pictures and random.random() < 0.5:
        back = _piece(back, pictures, neighbour, random)
    for _ in range(random.integers(1, 3)):
        layer = neighbour()
        back = back + layer[..., 3:] * (toned(layer[..., :3], random) - back)
    return back
