"""Pose of a mouth and grid nodes (h, w, 2) → displacement fields of the skin, (8, 2, h, w, 2): component, layer, node.

Lips, chin, cheeks and nose carry control points. Each component of the mouth shape moves them by a known amount.
Thin-plate splines (Bookstein, "Principal Warps", 1989) interpolate that motion over the skin between them. The skin of
the upper lip and of the lower lip are separate layers, because it tears along the seam of the lips.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS, ControlPoints, lip_points, shared_points
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, multiply, smoothstep, transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose

REACH = (-1.55, 1.55, -1.1, 2.0)  # x and y range of the fields, mouth units
# The fields fade in between these distances from the edge, mouth units. The first is more than a cell of the grid, so
# that no edge shows.
FADE = (0.075, 0.28)
# Value of the blurred outline from which on lips move the skin, by the tangent of the head's yaw.
_OUTLINE = ((0.1, 0.35), (0.5, 0.75))
_IS_OF_LIPS = np.array([name not in ("jaw", "close") for name in COMPONENTS])


def compute_fields(pose: MouthPose, lip_closure: LipClosure, nodes: FloatArray) -> FloatArray:
    """Forward displacement of the skin at ``nodes`` (h, w, 2), mouth units, for every component and layer.

    Returns float32 (8, 2, h, w, 2): component, layer (upper, lower), node, x and y displacement in mouth units at the
    component's full weight. All fields fall to zero at the edge of ``REACH``.
    """
    shared = shared_points(pose, lip_closure)
    basis = _kernel(nodes.reshape(-1, 2), shared.position)
    layers = [lip_points(pose, lip_closure, is_lower=is_lower) for is_lower in (False, True)]
    fields = np.stack([_interpolate(shared, points, basis, nodes) for points in layers], axis=1)
    window = np.stack([_window(nodes)] * len(COMPONENTS))
    oval = transform_points(pose.axes.from_image, pose.face.oval)
    inside = inside_face(oval, nodes[0, [0, -1]], nodes.shape[:2], pose.yaw)
    window[_IS_OF_LIPS] *= inside
    windowed = np.asarray(fields * window[:, None, :, :, None], dtype=np.float32)
    # Closing lips move the chin, but push no corner of the mouth over the far cheek of a turned head.
    windowed[COMPONENTS.index("close"), ..., 0] *= inside
    return windowed


def component_parts() -> FloatArray:
    """Which components' x and y, (16, 4), belong to each part of a displacement, as in :func:`compute_fields`.

    The parts are x and y of what fades out at the face's outline, and x and y of the rest.
    """
    parts = np.zeros((len(COMPONENTS), 2, 4), np.float32)
    for axis in (0, 1):
        parts[_IS_OF_LIPS, axis, axis] = parts[~_IS_OF_LIPS, axis, 2 + axis] = 1
    parts[COMPONENTS.index("close"), 0] = 1, 0, 0, 0
    return parts.reshape(-1, 4)


def _interpolate(shared: ControlPoints, own: ControlPoints, basis: FloatArray, nodes: FloatArray) -> FloatArray:
    """Thin-plate splines through the points' motion, evaluated at ``nodes`` (h, w, 2): (8, h, w, 2).

    ``basis`` (h · w, n): the kernel between the nodes and the shared points, computed once for both layers.
    """
    points = ControlPoints.joined([shared, own])
    position = points.position.astype(np.float64)
    count = len(position)
    system = np.zeros((count + 3, count + 3))
    # A little regularisation, because landmarks may coincide: the inner and outer corners of drawn faces do.
    system[:count, :count] = _kernel(position, position) + 1e-4 * np.eye(count)
    system[:count, count:] = np.column_stack([np.ones(count), position])
    system[count:, :count] = system[:count, count:].T
    motion = points.motion.transpose(1, 0, 2).reshape(count, -1)
    # OpenCV's solver and product, not numpy's: a threaded BLAS stalls for tens of milliseconds on a busy machine.
    _, solved = cv2.solve(system, np.vstack([motion, np.zeros((3, motion.shape[1]))]), flags=cv2.DECOMP_LU)
    weights = np.asarray(solved, dtype=np.float32)
    flat = nodes.reshape(-1, 2)
    whole = np.column_stack([basis, _kernel(flat, own.position), np.ones(len(flat), dtype=np.float32), flat])
    values = multiply(whole, weights).reshape(*nodes.shape[:2], -1, 2)
    return np.ascontiguousarray(values.transpose(2, 0, 1, 3))


def _kernel(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    # r² log r². In place and with OpenCV's logarithm it takes a fifth of the time; a video needs it for every frame.
    squared, other = (np.subtract.outer(a[:, k], b[:, k]) for k in (0, 1))
    squared *= squared
    other *= other
    squared += other
    squared += squared.dtype.type(1e-12)
    squared *= cv2.log(squared, other)
    return np.asarray(squared)


def inside_face(oval: FloatArray, ends: FloatArray, shape: tuple[int, ...], yaw: float) -> FloatArray:
    """Mask of ``shape`` (h, w): 1 well inside the face's outline, 0 outside, so that the lips move neither hair nor
    background.

    Args:
        oval: The outline, (n, 2), mouth units.
        ends: The first and the last node of the grid's first row, (2, 2), mouth units.
        shape: The grid's rows and columns.
        yaw: Tangent. Of a turned head, the outline that the landmarks give lies outside the far cheek.
    """
    step_x, step_y = (ends[1] - ends[0]).tolist() if shape[1] > 1 else (1.0, 0.0)
    length = max(math.hypot(step_x, step_y), 1e-6)
    scale, cos, sin = max(shape[1] - 1, 1) / length, step_x / length, step_y / length
    on_grid = (oval - ends[0]) @ np.array([[cos, -sin], [sin, cos]]) * scale
    mask = np.zeros(shape, dtype=np.float32)
    cv2.fillPoly(mask, [np.round(on_grid * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    blurred = cv2.GaussianBlur(mask, (0, 0), max(0.1 * scale, 0.3), borderType=cv2.BORDER_REPLICATE)
    outline = float(np.interp(abs(yaw), *_OUTLINE))
    return smoothstep(np.asarray(blurred), outline, 0.98)


def _window(nodes: FloatArray) -> FloatArray:
    left, right, top, bottom = REACH
    x, y = nodes[..., 0], nodes[..., 1]
    inner = np.minimum.reduce([x - left, right - x, y - top, bottom - y])
    return smoothstep(inner, *FADE)
