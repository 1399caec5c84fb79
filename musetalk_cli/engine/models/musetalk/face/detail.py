"""What a network's 256 pixels cannot show of a larger face is taken from the avatar's own frame: pores, beard, edges.

The frame is split where the network ends: down to 256² and back up gives the low band, the rest is the detail. The
motion between the generated mouth and the frame's own carries the detail along, and it shows where both then look alike
in the low band. Between open lips nothing is alike, and nothing is added.
"""

from __future__ import annotations

import cv2
import numpy as np

from musetalk_cli.engine.models.musetalk.face.blend import FACE_PX, Box, resize_face
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_luma
from musetalk_cli.engine.types.messages import FloatArray, Region

# A box that is larger than a generated face by this loses something that shows.
LEAST_SCALE = 1.15
# Over how many pixels of the generated face the low bands are compared, and their difference where half of the detail
# is left, levels.
NEAR_PX, ALIKE_LEVELS = 1.5, 8.0
# Motion that is longer, pixels of the generated face, belongs to no mouth.
MOST_MOTION_PX = 24.0
# Rows and columns around the region in which motion is looked for, pixels of the generated face.
MARGIN_PX = 24


def is_enlarged(box: Box) -> bool:
    """Whether a generated face is shown so much larger than it is that it lacks detail."""
    return max(box.width, box.height) > LEAST_SCALE * FACE_PX


class FaceDetail:
    """The detail of one avatar frame around the mouth, ready for any generated face; immutable, for several threads."""

    def __init__(self, image: ByteArray, box: Box, region: Region, small: ByteArray) -> None:
        """Split a frame into its bands.

        Args:
            image: The frame, uint8 BGR (h, w, 3).
            box: Of the face, inside the frame.
            region: The part of the frame that changes; it may leave the box by one pixel.
            small: The box as the network gets it, uint8 BGR (n, n, 3).
        """
        side = small.shape[0]
        self._size = region.width, region.height
        offset = np.array([region.left - box.left, region.top - box.top], np.float32)
        # Pixels of the box for one of the generated face, and the part of that around the region.
        self._scale = np.array([box.width, box.height], np.float32) / side
        columns = _around(offset[0], region.width, self._scale[0], side)
        rows = _around(offset[1], region.height, self._scale[1], side)
        self._part = rows, columns
        low = bgr_to_luma(small)
        self._low = np.ascontiguousarray(low[self._part])
        own = bgr_to_luma(image[box.top : box.bottom, box.left : box.right])
        high = own.astype(np.int16) - resize_face(low, box.width, box.height)
        # Offset by 128, as OpenCV resamples bytes fastest.
        first, last = (np.array([columns.start, rows.start]), np.array([columns.stop, rows.stop])) * self._scale
        left, top = (int(value) for value in first)
        self._high = as_bytes(np.clip(high + 128, 0, 255))[top : int(last[1]) + 1, left : int(last[0]) + 1].copy()
        # From pixels of the region to those of the part, and from those to pixels of the detail, centre to centre.
        start = np.array([columns.start, rows.start], np.float32)
        self._to_part = np.column_stack([np.diag(1 / self._scale), (offset + 0.5) / self._scale - 0.5 - start])
        self._x = (np.arange(columns.start, columns.stop) + 0.5) * self._scale[0] - 0.5 - left
        self._y = (np.arange(rows.start, rows.stop) + 0.5) * self._scale[1] - 0.5 - top

    def add(self, luma: ByteArray, face: ByteArray) -> ByteArray:
        """The region's luma, uint8 (h, w), of a generated ``face``, uint8 BGR (n, n, 3), with the frame's detail."""
        made = bgr_to_luma(np.ascontiguousarray(face[self._part]))
        flow = _motion(made, self._low)
        coarse = np.empty((*made.shape, 3), np.float32)
        coarse[..., 0] = self._x + flow[..., 0] * self._scale[0]
        coarse[..., 1] = self._y[:, None] + flow[..., 1] * self._scale[1]
        coarse[..., 2] = _likeness(made, self._low, flow)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(coarse, self._to_part, self._size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        x, y, shown = cv2.split(fine)
        high = cv2.remap(self._high, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=128)
        return as_bytes(np.clip(luma + (high - np.float32(128)) * shown + np.float32(0.5), 0, 255))


def _around(first: float, extent: int, scale: float, side: int) -> slice:
    """The rows or columns of a generated face, ``side`` pixels wide, under a span of its box, with a margin."""
    start, stop = first / scale - MARGIN_PX, (first + extent) / scale + MARGIN_PX
    return slice(max(0, int(start)), min(side, int(np.ceil(stop))))


def _motion(made: ByteArray, own: ByteArray) -> FloatArray:
    """Where each pixel of ``made`` comes from in ``own``, (h, w, 2), relative to itself."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow.setFinestScale(1)
    found = flow.calc(made, own, np.zeros((*made.shape, 2), np.float32))
    return np.asarray(cv2.GaussianBlur(found, (0, 0), NEAR_PX), np.float32)


def _likeness(made: ByteArray, own: ByteArray, flow: FloatArray) -> FloatArray:
    """How much alike both are along the motion, 0 … 1, (h, w)."""
    height, width = made.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(own, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.GaussianBlur(cv2.absdiff(made, moved).astype(np.float32), (0, 0), NEAR_PX)
    alike = np.exp2(-((np.asarray(difference) / np.float32(ALIKE_LEVELS)) ** 2))
    alike[np.hypot(flow[..., 0], flow[..., 1]) > MOST_MOTION_PX] = 0
    return np.asarray(alike, np.float32)
