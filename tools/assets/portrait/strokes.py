"""Points and half widths (n,) → tapered strokes drawn into an RGBA layer: the hairs of head, brows and lashes."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from tools.assets.portrait.geometry import Array

_BITS = 4


def ribbon(points: Array, half_width: Array) -> tuple[Array, Array]:
    """Left and right edge (n, 2) of a stroke along ``points`` (n, 2) with ``half_width`` (n,)."""
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    side = np.stack([-along[:, 1], along[:, 0]], 1) * half_width[:, None]
    return points + side, points - side


def draw_stroke(
    layer: np.ndarray, points: Array, half_width: Array, colours: np.ndarray, num_pieces: int = 1, offset: float = 0.0
) -> None:
    """Draw one opaque stroke into ``layer``.

    Args:
        layer: uint8 (h, w, 4), RGB premultiplied by alpha; changed in place.
        points: Sample coordinates along the stroke, (n, 2).
        half_width: Half width at every point, samples, (n,).
        colours: RGB 0..255, evenly spaced along the stroke, (k, 3).
        num_pieces: Number of sections of one colour each.
        offset: Shift of the joints between sections, 0..1, so that those of neighbouring strokes do not form a line.
    """
    left, right = ribbon(points, half_width)
    last = len(points) - 1
    joints = np.clip((np.arange(num_pieces + 1) + (offset - 0.5 if num_pieces > 1 else 0)) / num_pieces, 0, 1)
    joints[0], joints[-1] = 0, 1
    bounds = (joints * last).round().astype(int)
    edges = np.round(np.stack([left, right]) * (1 << _BITS)).astype(np.int32)
    for start, stop in pairwise(bounds):
        if stop > start:
            piece = np.vstack([edges[0, start : stop + 1], edges[1, start : stop + 1][::-1]])
            colour = colours[min((start + stop) // 2, len(colours) - 1)]
            cv2.fillPoly(
                layer, [piece], (float(colour[0]), float(colour[1]), float(colour[2]), 255.0), cv2.LINE_AA, _BITS
            )


def over(image: Array, layer: np.ndarray, opacity: float = 1.0) -> Array:
    """``layer`` (uint8, premultiplied RGBA) over ``image`` (float sRGB 0..1)."""
    scaled = layer.astype(np.float32) * np.float32(opacity / 255)
    return image * (1 - scaled[..., 3:4]) + scaled[..., :3]
