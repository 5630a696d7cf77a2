"""Expressions: 16 numbers -> weights of the ARKit expression targets, and the gaze."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from tools.heads.curves import ramp, sigmoid

REST_SMILE = 0.12  # the base mesh's mouth hangs at its corners


@dataclass(frozen=True)
class Expression:
    """Weights of expression targets by their ARKit names, about 0 to 1; gaze (to the left, up) in radians; how far the
    smile goes, about 0 to 1.2: cheeks swell and fold with it (`shape.CHEEKS`, `skin`)."""

    weights: dict[str, float]
    gaze: tuple[float, float]
    smile: float


class _Face:
    """Sums the weights of targets; most have a left and a right one."""

    def __init__(self) -> None:
        self.weights: dict[str, float] = defaultdict(float)

    def one(self, target: str, weight: float) -> None:
        self.weights[target] += weight

    def both(self, target: str, weight: float, tilt: float = 0.0) -> None:
        self.one(f"{target}Left", weight * (1 + tilt))
        self.one(f"{target}Right", weight * (1 - tilt))


def express(x: tuple) -> Expression:
    """`latent.Latent.expression` -> targets and gaze. A number that pulls two ways passes a smooth corner at rest."""
    face, smile = _Face(), REST_SMILE + ramp(0.38 + 0.42 * x.smile, 5)
    _smile(face, x, smile)
    _mouth(face, x)
    _brows_and_eyes(face, x)
    gaze = (0.10 * x.gaze_x, 0.06 * x.gaze_y)
    face.both("eyeLookDown", 0.5 * ramp(-2 * gaze[1], 20))
    face.both("eyeLookUp", 0.4 * ramp(2 * gaze[1], 20))
    return Expression(dict(face.weights), gaze, smile)


def _smile(face: _Face, x: tuple, smile: float) -> None:
    tilt = 0.10 * x.smile_tilt
    face.both("mouthSmile", 0.70 * smile, tilt)
    face.both("cheekSquint", 0.85 * smile, tilt)
    face.both("mouthDimple", 0.16 * smile, tilt)
    face.both("eyeSquint", 0.20 * smile)
    face.both("mouthStretch", 0.10 * smile)
    face.both("noseSneer", 0.10 * smile)
    teeth = sigmoid(2.2 * x.teeth - 0.8) * np.tanh(1.5 * smile)
    face.both("mouthUpperUp", 0.42 * teeth)
    face.one("jawOpen", 0.045 * teeth)
    face.both("mouthLowerDown", 0.16 * teeth)


def _mouth(face: _Face, x: tuple) -> None:
    gap = ramp(x.mouth_open * 0.11 + 0.01, 14)
    face.one("jawOpen", 0.85 * gap)
    face.both("mouthLowerDown", 0.5 * gap)
    face.both("mouthUpperUp", 0.3 * gap)
    face.one("mouthPucker", 0.22 * ramp(x.pucker, 4))
    face.both("mouthStretch", 0.22 * ramp(-x.pucker, 4))
    face.both("mouthPress", 0.28 * ramp(x.press, 4))
    face.one("mouthFunnel", 0.12 * ramp(-x.press, 4))
    face.both("mouthFrown", 0.16 * ramp(x.corners - 0.6, 4))
    face.one("mouthShrugLower", 0.18 * ramp(-x.corners, 4))
    for side, sign in (("Left", 1), ("Right", -1)):
        face.one(f"mouth{side}", 0.13 * ramp(sign * x.mouth_side, 5))
        face.one(f"jaw{side}", 0.06 * ramp(sign * x.mouth_side, 5))


def _brows_and_eyes(face: _Face, x: tuple) -> None:
    up, down = ramp(x.brow_raise + 0.5, 3), ramp(-x.brow_raise - 0.5, 3)
    face.both("browOuterUp", 0.26 * up)
    face.one("browInnerUp", 0.24 * up + 0.26 * ramp(x.inner_brow + 1.0, 3))
    face.both("browDown", 0.09 * down + 0.10 * ramp(-x.inner_brow - 0.8, 3))
    face.both("eyeWide", 0.16 * ramp(x.lids + 0.5, 4))
    face.both("eyeBlink", 0.11 * ramp(-x.lids - 0.3, 4))
    face.both("eyeSquint", 0.22 * ramp(x.squint - 0.2, 4))
    face.one("browOuterUpLeft", 0.2 * ramp(x.one_brow, 4))
    face.one("browOuterUpRight", 0.2 * ramp(-x.one_brow, 4))
    face.both("noseSneer", 0.13 * ramp(x.sneer, 4))
    face.one("cheekPuff", 0.09 * ramp(-x.sneer, 4))
