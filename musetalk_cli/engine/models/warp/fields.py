"""How the skin around a mouth moves: one displacement field per component of the mouth shape, for two layers.

Lips, chin, cheeks and nose carry control points. Every mouth component moves them by a known amount; thin-plate
splines (Bookstein, "Principal Warps", 1989) carry that motion to the skin between. Upper-lip side and lower-lip side
are separate layers, because the skin tears along the seam of the lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.geometry import FloatArray, MouthAxes, smooth_curve, smoothstep, transform_points

# Order of the fields. ``close`` takes the picture's own lip gap away; its weight is always one.
# ``purse`` (gap times rounding) draws the sides of a rounded opening together, its middle unchanged.
COMPONENTS = ("gap", "jaw", "round", "spread", "press", "labiodental", "purse", "close")
REACH = (-1.55, 1.55, -1.1, 2.0)  # x and y range of the fields, mouth units

GAP = 0.30  # lip gap at O = 1
_JAW = 0.27  # way of the chin at J = 1
_APERTURE = 0.92  # width of the opening against the distance of the inner corners
_UPPER_SHARE = 0.13  # of the gap, by raising the upper lip
_CLOSE_TO_CORNERS = 0.65  # how far an open picture's seam settles from the upper lip towards the line of the corners
_CLOSED_GAP = 0.012  # below this a picture's lips count as closed
_LIP_INSET = 0.018  # of an open picture's lip edge: landmarks run a little inside the teeth
TUCK = 0.055  # of the lower lip's height that hides behind the upper teeth at F = 1
_JAW_POINTS = range(10, 27)  # of the oval, ear to ear through the chin


@dataclass(frozen=True)
class LipLines:
    """The picture's inner lip contours, in mouth units, as functions of x: float32 (n,) each, x ascending.

    ``upper`` and ``lower`` are equal where the lips touch; ``closed`` is where they are to meet. ``half_width`` is that
    of the inner mouth, ``middle`` its x. ``own_gap`` is the gap the picture shows, at its widest; 0 for closed lips.
    """

    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    closed: FloatArray
    middle: float
    half_width: float
    own_gap: float

    @classmethod
    def of(cls, face: Landmarks, axes: MouthAxes) -> LipLines:
        """Measure the inner lips of a face."""
        curves = [
            smooth_curve(transform_points(axes.from_picture, points))
            for points in (face.inner_upper_lip, face.inner_lower_lip)
        ]
        left, right = (float((curves[0][k, 0] + curves[1][k, 0]) / 2) for k in (0, -1))
        x = np.linspace(left, right, 96, dtype=np.float32)
        upper = _as_function(curves[0], x)
        lower = np.maximum(_as_function(curves[1], x), upper)
        if float((lower - upper).max()) < _CLOSED_GAP:
            upper = lower = (upper + lower) / np.float32(2)
        else:
            inset = np.float32(_LIP_INSET) * smoothstep(lower - upper, 0.0, 0.04)
            upper, lower = upper - inset, lower + inset
        gap = lower - upper
        straight = np.linspace(upper[0] + lower[0], upper[-1] + lower[-1], len(x), dtype=np.float32) / 2
        # An open mouth's upper lip is an arch; lips that met along it would look sad.
        settled = upper + np.float32(_CLOSE_TO_CORNERS) * (straight - upper)
        closed = np.clip(settled, upper + np.float32(0.12) * gap, lower - np.float32(0.3) * gap)
        half_width = max((right - left) / 2, 0.05)
        return cls(x, upper, lower, closed, (left + right) / 2, half_width, float(gap.max()))

    @property
    def closed_middle(self) -> tuple[float, float]:
        """The middle of the seam once the lips are closed, x and y in mouth units."""
        return self.middle, float(self.closed[len(self.x) // 2])

    def closing_at(self, x: FloatArray, is_lower: bool) -> FloatArray:
        """Way of a lip at x to where the lips are to meet (y), zero outside the mouth."""
        way = self.closed - (self.lower if is_lower else self.upper)
        return np.asarray(np.interp(x, self.x, way, 0, 0), dtype=np.float32)


def _as_function(curve: FloatArray, x: FloatArray) -> FloatArray:
    """y over x of a curve that runs left to right (small steps back, as a turned head gives, are sorted out)."""
    order = np.argsort(curve[:, 0], kind="stable")
    return np.asarray(np.interp(x, curve[order, 0], curve[order, 1]), dtype=np.float32)


@dataclass(frozen=True)
class _Points:
    """Control points of one layer: positions (n, 2) in mouth units, and their motion per component (8, n, 2)."""

    position: FloatArray
    motion: FloatArray


def compute_fields(face: Landmarks, axes: MouthAxes, lips: LipLines, nodes: FloatArray) -> FloatArray:
    """Forward displacement of the skin at ``nodes`` (h, w, 2), mouth units, for every layer and component.

    Returns float32 (8, 2, h, w, 2): component, layer (upper, lower), node, and x and y displacement in mouth units, for
    a component's full weight. All fields fall to zero at the edge of ``REACH``.
    """
    own = transform_to_units(face, axes)
    fields = np.stack([_interpolate(_control_points(own, lips, is_lower), nodes) for is_lower in (False, True)], axis=1)
    window = np.stack([_window(nodes)] * len(COMPONENTS))
    is_of_lips = np.array([name not in ("jaw", "close") for name in COMPONENTS])
    window[is_of_lips] *= _inside_face(own["oval"], nodes)
    return np.asarray(fields * window[:, None, :, :, None], dtype=np.float32)


def transform_to_units(face: Landmarks, axes: MouthAxes) -> dict[str, FloatArray]:
    """The face's groups that the fields need, in mouth units."""
    names = ("outer_upper_lip", "outer_lower_lip", "inner_upper_lip", "inner_lower_lip", "nose", "oval")
    return {name: transform_points(axes.from_picture, getattr(face, name)) for name in names}


def _control_points(own: dict[str, FloatArray], lips: LipLines, is_lower: bool) -> _Points:
    side = "lower" if is_lower else "upper"
    parts = [
        _lip_points(smooth_curve(own[f"inner_{side}_lip"], 21), lips, is_lower, is_inner=True),
        _lip_points(own[f"outer_{side}_lip"], lips, is_lower, is_inner=False),
        _skin_points(own, lips),
    ]
    return _Points(
        np.concatenate([part.position for part in parts]), np.concatenate([part.motion for part in parts], axis=1)
    )


def _lip_points(points: FloatArray, lips: LipLines, is_lower: bool, is_inner: bool) -> _Points:
    """Motion of one lip contour, left to right (y grows towards the chin)."""
    half_width = lips.half_width if is_inner else float(np.ptp(points[:, 0]) / 2)
    side = np.clip((points[:, 0] - points[:, 0].mean()) / half_width, -1, 1)
    side[[0, -1]] = -1, 1
    # Lips stay together next to the corners; a plain parabola would open into a V.
    arch = np.maximum(1 - (side / _APERTURE) ** 2, 0) ** 0.62
    bow, flank = 1 - side**2, 2.6 * np.abs(side) * (1 - side**2)
    pinch = np.maximum(1 - (side / 0.82) ** 2, 0) ** 0.75 - arch
    motion = np.zeros((len(COMPONENTS), len(points), 2), dtype=np.float32)
    gap, jaw, rounded, spread, press, dental, purse, close = motion
    follows = 1.0 if is_inner else 0.93
    close[:, 1] = lips.closing_at(lips.middle + side * lips.half_width * 0.999, is_lower) * follows
    if is_lower:
        gap[:, 1] = GAP * (1 - _UPPER_SHARE) * arch * follows
        purse[:, 1] = GAP * (1 - _UPPER_SHARE) * pinch * follows
        press[:, 1] = bow * (-0.005 if is_inner else -0.034)
        dental[:, 1] = bow * (-0.040 if is_inner else -0.050)
        rounded[:, 1] = 0.0 if is_inner else 0.034 * bow + 0.034 * flank
        spread[:, 1] = bow * (0.0 if is_inner else -0.012)
    else:
        gap[:, 1] = -GAP * _UPPER_SHARE * arch * follows
        purse[:, 1] = -GAP * _UPPER_SHARE * pinch * follows
        press[:, 1] = bow * (0.005 if is_inner else 0.024)
        dental[:, 1] = bow * -0.026
        rounded[:, 1] = 0.0 if is_inner else -0.019 * bow - 0.022 * flank
        spread[:, 1] = bow * (0.0 if is_inner else 0.008)
    jaw[:, 0] = -0.07 * side
    jaw[:, 1] = 0.12 * np.abs(side) ** 2.5
    rounded[:, 0] = (-0.23 if is_inner else -0.20) * side
    spread[:, 0] = 0.075 * side
    spread[:, 1] -= 0.018 * side**2
    press[:, 0] = 0.012 * side
    return _Points(points, motion)


def _skin_points(own: dict[str, FloatArray], lips: LipLines) -> _Points:
    """Chin, jaw line, cheeks, nose and the still points around them, shared by both layers."""
    jaw_line = own["oval"][list(_JAW_POINTS)]
    chin, corners = own["oval"][18], own["outer_upper_lip"][[0, -1]]
    lip_bottom = own["outer_lower_lip"][5]
    groups: list[tuple[FloatArray, FloatArray]] = []

    def add(points: FloatArray, **moves: tuple[NDArray[np.floating] | float, NDArray[np.floating] | float]) -> None:
        motion = np.zeros((len(COMPONENTS), len(points), 2), dtype=np.float32)
        for name, (x, y) in moves.items():
            motion[COMPONENTS.index(name), :, 0] = x
            motion[COMPONENTS.index(name), :, 1] = y
        groups.append((points, motion))

    closing = -lips.own_gap * 0.6
    reach_y = max(float(chin[1]) - 0.1, 0.3)
    hang = np.clip((jaw_line[:, 1] + 0.1) / reach_y, 0, 1) ** 1.3
    add(jaw_line, jaw=(-0.03 * jaw_line[:, 0] * hang, _JAW * hang), close=(0, closing * hang))
    # A chin hides the neck as it comes down: the skin right under it gives way, a collar stays where it is.
    under, give = jaw_line[4:13], hang[4:13]
    add(under + np.float32([0, 0.2]), jaw=(0, 0.42 * _JAW * give), close=(0, 0.5 * closing * give))
    add(under + np.float32([0, 0.45]))
    for share in (0.4, 0.7):
        between = (lip_bottom + share * (chin - lip_bottom))[None]
        add(
            between,
            gap=(0, GAP * 0.55 * (1 - share)),
            jaw=(0, _JAW * (0.35 + 0.65 * share)),
            press=(0, -0.02 * (1 - share)),
            labiodental=(0, -0.03 * (1 - share)),
            close=(0, -lips.own_gap * 0.65),
        )
    for corner, edge, wing in zip(corners, (own["oval"][26], own["oval"][10]), own["nose"][[3, 4]], strict=True):
        outward = float(np.sign(corner[0] - lips.middle))
        for share, level in ((0.3, 0.05), (0.65, 0.05), (0.35, 0.4)):
            near = (1 - share) ** 1.5
            add(
                np.array([[corner[0] + share * (edge[0] - corner[0]), corner[1] + level]], dtype=np.float32),
                gap=(0, GAP * 0.12 * level),
                jaw=(-0.03 * near * outward, _JAW * (0.15 + 0.8 * level)),
                round=(-0.14 * near * outward, 0),
                spread=(0.055 * near * outward, -0.015 * near),
                close=(0, closing * 0.5 * level),
            )
        fold = (0.55 * corner + 0.45 * wing + np.array([0.1 * outward, 0]))[None]
        add(
            fold.astype(np.float32),
            jaw=(-0.01 * outward, 0.03),
            round=(-0.06 * outward, 0.0),
            spread=(0.03 * outward, -0.012),
        )
    add(own["nose"])
    add(_still_ring(own))
    return _Points(np.concatenate([g[0] for g in groups]), np.concatenate([g[1] for g in groups], axis=1))


def _still_ring(own: dict[str, FloatArray]) -> FloatArray:
    """Points that never move: outside the cheeks, below the chin, and across the eyes' level."""
    left, right, chin = own["oval"][26, 0], own["oval"][10, 0], own["oval"][18]
    ring = [[x, -1.1] for x in np.linspace(-1.5, 1.5, 5)]
    ring += [[x, y] for y in (-0.5, 0.1) for x in (left - 0.15, right + 0.15)]
    ring += [[x, y] for y in (0.7, 1.3) for x in (left - 0.3, right + 0.3)]
    ring += [[x, chin[1] + 0.65] for x in np.linspace(-1.5, 1.5, 7)]
    return np.array(ring, dtype=np.float32)


def _interpolate(points: _Points, nodes: FloatArray) -> FloatArray:
    """Thin-plate splines through the points' motion, evaluated at nodes (h, w, 2): (8, h, w, 2)."""
    position = points.position.astype(np.float64)
    count = len(position)
    system = np.zeros((count + 3, count + 3))
    # A trace of smoothing: landmarks may coincide (drawn faces' inner and outer corners do).
    system[:count, :count] = _kernel(position, position) + 1e-4 * np.eye(count)
    system[:count, count:] = np.column_stack([np.ones(count), position])
    system[count:, :count] = system[:count, count:].T
    motion = points.motion.transpose(1, 0, 2).reshape(count, -1)
    weights = np.linalg.solve(system, np.vstack([motion, np.zeros((3, motion.shape[1]))]))
    flat, weights = nodes.reshape(-1, 2), weights.astype(np.float32)
    values = _kernel(flat, points.position) @ weights[:count] + weights[count] + flat @ weights[count + 1 :]
    return np.asarray(values.reshape(*nodes.shape[:2], -1, 2).transpose(2, 0, 1, 3))


def _kernel(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    squared = (a[:, :1] - b[:, 0]) ** 2 + (a[:, 1:] - b[:, 1]) ** 2
    return np.asarray(squared * np.log(squared + squared.dtype.type(1e-12)))


def _inside_face(oval: FloatArray, nodes: FloatArray) -> FloatArray:
    """1 well inside the face's outline, 0 outside of it: hair and background take no part in what the lips do."""
    step = nodes[0, -1] - nodes[0, 0] if nodes.shape[1] > 1 else np.array([1.0, 0.0])
    cells = max(nodes.shape[1] - 1, 1)
    scale = cells / max(float(np.hypot(*step)), 1e-6)
    cos, sin = step / max(float(np.hypot(*step)), 1e-6)
    on_grid = (oval - nodes[0, 0]) @ np.array([[cos, -sin], [sin, cos]]) * scale
    mask = np.zeros(nodes.shape[:2], dtype=np.float32)
    cv2.fillPoly(mask, [np.round(on_grid * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    blurred = cv2.GaussianBlur(mask, (0, 0), max(0.1 * scale, 0.3), borderType=cv2.BORDER_REPLICATE)
    return smoothstep(np.asarray(blurred), 0.5, 0.98)


def _window(nodes: FloatArray) -> FloatArray:
    left, right, top, bottom = REACH
    x, y = nodes[..., 0], nodes[..., 1]
    margin = 0.25
    inner = np.minimum.reduce([x - left, right - x, y - top, bottom - y])
    return smoothstep(inner, 0.02, margin)
