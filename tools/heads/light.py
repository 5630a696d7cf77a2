"""Light: a key light, a sky, a fill and a rim; p -> directions and colours."""

from dataclasses import dataclass

import numpy as np

KEY_SHARE = 0.62  # of the key light's strength: the rest of the exposure is the surroundings


@dataclass(frozen=True)
class Light:
    """`key_direction` and `key_colour` [3]; a sky `ambient` [3] and what the ground returns, `floor` [3]; `soft`
    lights, each (direction [3], colour [3], sharpness): fill and rim; `exposure`, a factor."""

    key_direction: np.ndarray
    key_colour: np.ndarray
    ambient: np.ndarray
    floor: np.ndarray
    soft: tuple[tuple[np.ndarray, np.ndarray, float], ...]
    exposure: float


def polar(azimuth: float, elevation: float) -> np.ndarray:
    """Direction [3]: azimuth 0 is the front, positive to the right of the picture; elevation is up; radians."""
    level = np.cos(elevation)
    return np.array([np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level])


def describe_light(x: tuple) -> Light:
    """`latent.Latent.light` -> a light."""
    warm, cool = np.array([1, 0.0, -1.2]), np.array([1, 0.0, -1])
    key = 1.15 * np.exp(0.40 * x.strength) * np.exp(warm * (0.09 * x.warmth + 0.03))
    fill = np.exp(0.5 * x.fill) * np.exp(cool * 0.05 * x.warmth)
    rim = 0.9 * np.exp(0.5 * x.rim) * np.ones(3)
    return Light(
        key_direction=polar(0.62 * x.azimuth, 0.55 + 0.25 * x.elevation),
        key_colour=KEY_SHARE * key,
        ambient=0.52 * np.exp(cool * -0.06 * x.warmth),
        floor=np.array([0.25, 0.2, 0.16]) * 0.3,
        soft=((polar(-0.9 - 0.5 * x.fill_azimuth, 0.35), fill, 4.0), (polar(2.2, 0.3), rim, 5.0)),
        exposure=float(np.exp(0.13 * x.exposure)),
    )


def radiance(light: Light, directions: np.ndarray) -> np.ndarray:
    """Of the surroundings from `directions` [n, 3], without the key light: [n, 3]."""
    up = directions[:, 1:2]
    total = light.ambient * (0.75 + 0.45 * up) + light.floor * np.clip(-up, 0, 1)
    for direction, colour, sharpness in light.soft:
        total = total + colour * np.exp(sharpness * (directions @ direction[:, None] - 1))
    return total
