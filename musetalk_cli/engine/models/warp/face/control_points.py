"""Pose of a mouth → control points (n, 2) on lips, chin, cheeks and around, and their motion (8, n, 2) per component.

The amounts are shares of the mouth's width, set by eye on drawn and photographed faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smooth_curve, transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure, smile_of
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose

# ``purse`` (gap times rounding) draws the sides of a rounded opening together and leaves its middle. ``close`` undoes
# the image's own mouth shape, above all its lip gap; its weight is always one.
COMPONENTS = ("gap", "jaw", "round", "spread", "press", "labiodental", "purse", "close")

GAP = 0.30  # lip gap at O = 1
TUCK = 0.055  # mouth units of the lower lip that hide behind the upper teeth at F = 1
_PRESS = 0.005  # towards each other, inner lips at P = 1
_DENTAL_LOWER, _DENTAL_UPPER = 0.040, 0.014  # rise of the inner lips at F = 1
_JAW = 0.27  # travel of the chin at J = 1
_APERTURE = 0.92  # width of the opening relative to the distance of the inner corners
_UPPER_SHARE = 0.13  # share of the gap made by raising the upper lip
_JAW_CLOSES = 0.6  # share of an open image's gap closed by raising the chin
_JAW_CLOSES_SMILE = 0.25  # the same in a smile
_JAW_LINE = slice(10, 27)  # of the oval: ear to ear through the chin
# Of the jaw line: its lower part, every second point. A layer has fewer than a hundred points in all, because from
# there on the linear solver starts threads of its own.
_CHIN_LINE = slice(4, 13, 2)
_CHIN = slice(16, 21)  # of the oval: the chin's edge
_SHADOW = 0.08  # how far a corner's shadow reaches beyond it, mouth units
_FAR_ABOVE, _FAR_BELOW = np.linspace(-1.5, 1.5, 5).tolist(), np.linspace(-1.5, 1.5, 7).tolist()  # x of fixed points
_MIN_RISE, _MAX_RISE = 0.03, 0.06  # rise of the chin that closes the lips; more than this is not speech


@dataclass(frozen=True)
class ControlPoints:
    """Positions float32 (n, 2) and their motion per component, float32 (8, n, 2), both in mouth units."""

    position: FloatArray
    motion: FloatArray

    @classmethod
    def moved(
        cls, position: FloatArray, **moves: tuple[NDArray[np.floating] | float, NDArray[np.floating] | float]
    ) -> ControlPoints:
        """Points with the x and y motion of the named components; the other components do not move them."""
        motion = np.zeros((len(COMPONENTS), len(position), 2), dtype=np.float32)
        for name, (x, y) in moves.items():
            motion[COMPONENTS.index(name), :, 0] = x
            motion[COMPONENTS.index(name), :, 1] = y
        return cls(np.asarray(position, dtype=np.float32), motion)

    @classmethod
    def joined(cls, parts: list[ControlPoints]) -> ControlPoints:
        """All points of all parts."""
        position = np.concatenate([part.position for part in parts])
        return cls(position, np.concatenate([part.motion for part in parts], axis=1))


def lip_points(pose: MouthPose, lip_closure: LipClosure, *, is_lower: bool) -> ControlPoints:
    """The control points of the lower or the upper lip."""
    side = "lower" if is_lower else "upper"
    own, rest = (
        transform_points(pose.axes.from_image, getattr(face, f"outer_{side}_lip")) for face in (pose.face, pose.rest)
    )
    inner = transform_points(pose.axes.from_image, getattr(pose.face, f"inner_{side}_lip"))
    return ControlPoints.joined(
        [
            _contour_points(smooth_curve(inner, 21), None, lip_closure, is_lower),
            _contour_points(own, rest - own, lip_closure, is_lower),
        ]
    )


def shared_points(pose: MouthPose, lip_closure: LipClosure) -> ControlPoints:
    """The control points of both layers: chin, cheeks, and points that never move."""
    own = _in_units(pose)
    chin = transform_points(pose.axes.from_image, pose.rest.oval[_CHIN])
    rise = _chin_rise(float(np.mean(chin[:, 1] - own["oval"][_CHIN, 1])), lip_closure, smile_of(pose.rest))
    return ControlPoints.joined(
        [
            *_chin_points(own, lip_closure, rise),
            *_cheek_points(own, lip_closure, rise),
            ControlPoints.moved(own["nose"]),
            ControlPoints.moved(_fixed_points(own)),
        ]
    )


def _in_units(pose: MouthPose) -> dict[str, FloatArray]:
    """The landmarks that the frame shows, mouth units, all transformed at once."""
    groups = vars(pose.face)
    units = transform_points(pose.axes.from_image, np.concatenate(list(groups.values())))
    ends = np.cumsum([len(points) for points in groups.values()])
    return {name: units[end - len(points) : end] for (name, points), end in zip(groups.items(), ends, strict=True)}


def wanted_gap(weights: FloatArray, side: FloatArray) -> FloatArray:
    """The lip gap that component ``weights`` (8,) ask for, mouth units, at ``side`` (...), -1..1 between the corners.

    Beside the corners it is a little more, as splines round off what the contours do there.
    """
    gap, purse, closing = gap_shares(weights)
    side = np.clip(side, -1, 1)
    arch, pinch = _arch_and_pinch(side, aperture=1.0)
    return np.asarray(GAP * (gap * arch + purse * pinch) - closing * (1 - side**2), dtype=np.float32)


def gap_shares(weights: FloatArray) -> tuple[np.float32, np.float32, np.float32]:
    """What component ``weights`` (8,) open: shares of GAP, and of what rounding adds to it; closing, mouth units."""
    gap, press, dental, purse = (weights[COMPONENTS.index(name)] for name in ("gap", "press", "labiodental", "purse"))
    closing = 2 * _PRESS * press + (_DENTAL_LOWER - _DENTAL_UPPER - TUCK) * dental
    return gap, purse, closing


def _arch_and_pinch(side: FloatArray, aperture: float = _APERTURE) -> tuple[FloatArray, FloatArray]:
    """Shares of the gap, and of what rounding adds to it, at ``side`` from corner to corner."""
    # Lips stay together near the corners; a plain parabola would open them in a V.
    arch = np.maximum(1 - (side / aperture) ** 2, 0) ** 0.62
    return arch, np.maximum(1 - (side / 0.82) ** 2, 0) ** 0.75 - arch


def _chin_rise(to_rest: float, lip_closure: LipClosure, smile: float) -> float:
    """Displacement of the chin (y) to a closed mouth, given that to rest, which faulty landmarks may overstate.

    A ``smile`` (0..1) parts the lips more than the jaw.
    """
    most = _MIN_RISE + lip_closure.own.own_gap
    closes = _JAW_CLOSES + smile * (_JAW_CLOSES_SMILE - _JAW_CLOSES)
    return float(np.clip(to_rest, -most, _MAX_RISE)) - closes * lip_closure.rest.own_gap


def _contour_points(
    points: FloatArray, to_rest: FloatArray | None, lip_closure: LipClosure, is_lower: bool
) -> ControlPoints:
    """Motion of one lip contour.

    Args:
        points: The contour, left to right, (n, 2), mouth units; y grows towards the chin.
        to_rest: Displacement of an outer contour to its rest position, (n, 2); None for an inner contour.
        lip_closure: How the lips close.
        is_lower: Whether it is a contour of the lower lip.
    """
    is_inner = to_rest is None
    left, right = float(points[0, 0]), float(points[-1, 0])
    middle, half_width = (left + right) / 2, max((right - left) / 2, 0.05)
    if is_inner:
        middle, half_width = lip_closure.own.middle, lip_closure.own.half_width
    side = np.clip((points[:, 0] - middle) / half_width, -1, 1)
    side[[0, -1]] = -1, 1
    if is_inner:
        points = lip_closure.edge_of(points, side, is_lower)
    arch, pinch = _arch_and_pinch(side)
    bow, flank = 1 - side**2, 2.6 * np.abs(side) * (1 - side**2)
    motion = np.zeros((len(COMPONENTS), len(points), 2), dtype=np.float32)
    gap, jaw, rounded, spread, press, dental, purse, close = motion
    follows = 1.0 if is_inner else 0.93
    if to_rest is None:
        close[:] = lip_closure.inner_displacement(side, is_lower)
    else:
        close[:] = to_rest
        close[:, 1] += lip_closure.outer_displacement(side, is_lower) * follows
    if is_lower:
        gap[:, 1] = GAP * (1 - _UPPER_SHARE) * arch * follows
        purse[:, 1] = GAP * (1 - _UPPER_SHARE) * pinch * follows
        press[:, 1] = bow * (-_PRESS if is_inner else -0.034)
        dental[:, 1] = bow * (-_DENTAL_LOWER if is_inner else -0.050)
        rounded[:, 1] = 0.0 if is_inner else 0.041 * bow + 0.025 * flank
        spread[:, 1] = bow * (0.0 if is_inner else -0.012)
    else:
        gap[:, 1] = -GAP * _UPPER_SHARE * arch * follows
        purse[:, 1] = -GAP * _UPPER_SHARE * pinch * follows
        press[:, 1] = bow * (_PRESS if is_inner else 0.024)
        dental[:, 1] = bow * -_DENTAL_UPPER
        rounded[:, 1] = 0.0 if is_inner else -0.019 * bow - 0.022 * flank
        spread[:, 1] = bow * (0.0 if is_inner else 0.008)
    jaw[:, 1] = 0.12 * np.abs(side) ** 2.5
    rounded[:, 0] = (-0.23 if is_inner else -0.20) * side
    spread[:, 0] = 0.11 * side
    spread[:, 1] -= 0.018 * side**2
    press[:, 0] = -0.035 * side
    dental[:, 0] = -0.02 * side
    return ControlPoints(points, motion)


def _chin_points(own: dict[str, FloatArray], lip_closure: LipClosure, rise: float) -> list[ControlPoints]:
    """Points on the jaw line, the chin and the neck. A lowered chin covers the neck, so that a collar does not move."""
    jaw_line, lip_bottom = own["oval"][_JAW_LINE], own["outer_lower_lip"][5]
    chin = own["oval"][18]
    lip_rise = float(lip_closure.inner_displacement(np.zeros(1, dtype=np.float32), is_lower=True)[0, 1])
    hang = np.clip((jaw_line[:, 1] + 0.1) / max(float(chin[1]) - 0.1, 0.3), 0, 1) ** 1.3
    under, give = jaw_line[_CHIN_LINE], hang[_CHIN_LINE]
    points = [
        ControlPoints.moved(jaw_line, jaw=(-0.03 * jaw_line[:, 0] * hang, _JAW * hang), close=(0, rise * hang)),
        ControlPoints.moved(under + np.array([0, 0.2]), jaw=(0, 0.42 * _JAW * give), close=(0, 0.5 * rise * give)),
        ControlPoints.moved(under + np.array([0, 0.45])),
    ]
    for share in (0.4, 0.7):
        points.append(
            ControlPoints.moved(
                (lip_bottom + share * (chin - lip_bottom))[None],
                gap=(0, GAP * 0.55 * (1 - share)),
                jaw=(0, _JAW * (0.35 + 0.65 * share)),
                press=(0, -0.02 * (1 - share)),
                labiodental=(0, -0.03 * (1 - share)),
                close=(0, lip_rise + share * (rise - lip_rise)),
            )
        )
    return points


def _cheek_points(own: dict[str, FloatArray], lip_closure: LipClosure, rise: float) -> list[ControlPoints]:
    """Points beside each corner of the mouth, near and far, and in the fold between it and the nose."""
    points = []
    corners, edges = own["outer_upper_lip"][[0, -1]], own["oval"][[26, 10]]
    corner_displacements = lip_closure.inner_displacement(np.array([-1, 1], dtype=np.float32), is_lower=True)
    for corner, edge, wing, displacement in zip(corners, edges, own["nose"][[3, 4]], corner_displacements, strict=True):
        outward = float(np.sign(corner[0] - lip_closure.own.middle))
        # The shadow of a corner goes with it; stretched, it would show as a line.
        points.append(
            ControlPoints.moved(
                (corner + np.array([_SHADOW * outward, 0]))[None],
                jaw=(0, 0.11),
                round=(-0.17 * outward, 0),
                spread=(0.10 * outward, -0.018),
                press=(-0.03 * outward, 0),
                close=(0.9 * displacement[0], 0.9 * displacement[1]),
            )
        )
        for share, level in ((0.3, 0.05), (0.65, 0.05), (0.35, 0.4)):
            near = (1 - share) ** 1.5
            points.append(
                ControlPoints.moved(
                    np.array([[corner[0] + share * (edge[0] - corner[0]), corner[1] + level]]),
                    gap=(0, GAP * 0.12 * level),
                    jaw=(0, _JAW * (0.15 + 0.8 * level)),
                    round=(-0.14 * near * outward, 0),
                    spread=(0.08 * near * outward, -0.018 * near),
                    close=(near * displacement[0], near * displacement[1] + 0.5 * level * rise),
                )
            )
        points.append(
            ControlPoints.moved(
                (0.55 * corner + 0.45 * wing + np.array([0.1 * outward, 0]))[None],
                jaw=(0, 0.03),
                round=(-0.06 * outward, 0),
                spread=(0.04 * outward, -0.015),
                close=(0.4 * displacement[0], 0.4 * displacement[1]),
            )
        )
    return points


def _fixed_points(own: dict[str, FloatArray]) -> FloatArray:
    """Control points that never move: outside the cheeks, below the chin, and across the eyes' level."""
    left, right, chin = own["oval"][26, 0], own["oval"][10, 0], own["oval"][18]
    points = [[x, -1.1] for x in _FAR_ABOVE]
    points += [[x, y] for y in (-0.5, 0.1) for x in (left - 0.15, right + 0.15)]
    points += [[x, y] for y in (0.7, 1.3) for x in (left - 0.3, right + 0.3)]
    points += [[x, chin[1] + 0.65] for x in _FAR_BELOW]
    return np.array(points, dtype=np.float32)
