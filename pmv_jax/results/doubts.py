"""What a result's own figures say against it, in sentences for people who would believe the picture otherwise."""

from __future__ import annotations

import math

from pmv_jax.evaluation.dlib_identity import SAME_PERSON

LITTLE_PHOTOGRAPH = 0.75  # share of the crop below which what is made up is much of what one sees
LOW_PSNR = 24.0  # dB; photographs by the default recipe have 30 and more
# Share of the yaws that the generator has seen: a head turned by 0.59 of 0.6 rad was another from the front.
FAR_TURN = 0.75
SLIGHT_TURN = 0.3  # radians, up to which a head has to stay its person: farther off any guess is a guess
WRONG_SIDE = 0.08  # share of the picture that may lie on the wrong side of a mask's outline


def find(
    *,
    believed: float,
    psnr: float | None,
    yaw: float,
    yaw_range: float,
    wrong_side: float | None = None,
    identity_distances: dict[float, float] | None = None,
) -> list[str]:
    """Sentences, none where nothing is suspicious.

    Args:
      believed: share of the picture that is photograph, in [0, 1]; the rest was made up to fill the crop.
      psnr: of the input view, dB; None is not known.
      yaw: of the input's camera, radians.
      yaw_range: how far to either side the generator has seen heads, radians.
      wrong_side: share of the picture that a mask calls head and the geometry backdrop, or the other way round; None
        without a mask.
      identity_distances: of faces seen from yaws, in radians, to the input's (`evaluation.dlib_identity`); None where
        nothing tells.
    """
    doubts = []
    if believed < LITTLE_PHOTOGRAPH:
        doubts.append(
            f"only {100 * believed:.0f} % of the crop is photograph, so what lies beyond its border is invented; "
            "give a picture with more room around the head"
        )
    if psnr is not None and psnr < LOW_PSNR:
        doubts.append(
            f"the input view itself is poorly matched (PSNR {psnr:.1f} dB), so other views are worse; "
            "check the crop and the camera, or give it more steps"
        )
    if abs(yaw) > FAR_TURN * yaw_range:
        doubts.append(
            f"the head is turned by {abs(math.degrees(yaw)):.0f} degrees, near the end of what the generator has seen "
            f"({math.degrees(yaw_range):.0f}), so the far side is a guess; give a more frontal picture"
        )
    if wrong_side is not None and wrong_side > WRONG_SIDE:
        doubts.append(
            f"the head's geometry leaves the mask's outline on {100 * wrong_side:.0f} % of the picture, where hair or "
            "background hangs in the air from other sides; check the mask, or raise loss.outline_weight"
        )
    near = {yaw: distance for yaw, distance in (identity_distances or {}).items() if abs(yaw) <= SLIGHT_TURN}
    if near and max(near.values()) > SAME_PERSON:
        worst = max(near, key=near.__getitem__)
        doubts.append(
            f"seen from yaw {worst:+.1f} it is hardly the same person (identity distance {near[worst]:.2f}, limit "
            f"{SAME_PERSON}); give a more frontal picture, or check that the camera fits"
        )
    return doubts
