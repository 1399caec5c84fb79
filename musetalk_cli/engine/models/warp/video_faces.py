"""The faces of a video in C: a frame's number, its image and a mouth shape (6,) → planes.

It does what :class:`MouthWarp` does for a still and for numpy. But a frame is rendered once or twice, so that it is
prepared in little time, and only the displacement of one mouth shape is computed at a time.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import cv2
import numpy as np

from musetalk_cli.engine.models.warp.face.control_points import TUCK
from musetalk_cli.engine.models.warp.face.displacement_fields import FADE, REACH, component_parts
from musetalk_cli.engine.models.warp.face.geometry import FloatArray
from musetalk_cli.engine.models.warp.face.mouth_interior import UPPER_EDGE, Articulation, MouthInterior
from musetalk_cli.engine.models.warp.face.mouth_warp import component_weights, wanted_opening
from musetalk_cli.engine.models.warp.face.sampling import PAD, Grid
from musetalk_cli.engine.models.warp.mouth_places import Integers, MouthPlaces
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.models.warp.native.face import NativeFace
from musetalk_cli.engine.models.warp.native.mouth import MIN_NODES
from musetalk_cli.engine.models.warp.native.pixels.sampling import can_sample_size
from musetalk_cli.engine.models.warp.native.video.video import MouthBounds, MouthMove, NativeVideo, VideoMouths
from musetalk_cli.engine.types.colour import ByteArray, Planes
from musetalk_cli.engine.types.messages import Region

# Prepared frames that are kept, of some 20 kB each: short videos stay there as a whole. Regions differ in few sizes.
CACHE_SIZE, _NUM_SIZES = 256, 32

_OVAL = slice(95, 131)  # of all landmarks
_SUBPIXEL_BITS = 4  # of a polygon's corners


class VideoFaces:
    """Draws the faces of one video; immutable and thread-safe."""

    def __init__(self, library: ctypes.CDLL, track: MouthTrack, places: MouthPlaces, interior: MouthInterior) -> None:
        """Prepare them.

        Args:
            library: The native kernel.
            track: Of the video's mouths.
            places: Where they are in their frames.
            interior: The inside of the mouth, in C.
        """
        if interior.native is None:
            raise ValueError("the inside of the mouth is numpy's")
        self._library, self._places = library, places
        extents = places.regions[:, 2:].min(axis=1)
        self._can_draw = (places.moved[:, 2:].min(axis=1) >= MIN_NODES) & [
            can_sample_size(extent, extent, places.cell_px) for extent in extents.tolist()
        ]
        corners = places.regions[:, :2].astype(np.float32)
        self._outlines = _outlines(track.shown[:, _OVAL] - corners[:, None], places)
        axes = np.concatenate([track.axes.astype(np.float32), corners], axis=1)
        boxes = [places.regions[:, [1, 0, 3, 2]], places.moved, places.lips, places.lips_px]
        mouths = VideoMouths(track.shown, track.rest, axes, np.concatenate(boxes, axis=1))
        bounds = MouthBounds(TUCK, UPPER_EDGE, REACH, FADE, component_parts())
        self._video = NativeVideo(library, mouths, bounds, places.cell_px, interior.native, interior.edge_px)
        self._prepare = lru_cache(maxsize=CACHE_SIZE)(self._prepare_frame)
        self._face = lru_cache(maxsize=_NUM_SIZES)(self._face_of_size)

    def can_draw(self, index: int) -> bool:
        """Whether C takes a frame: numpy draws those that are tiny."""
        return bool(self._can_draw[index])

    def draw(self, shape: FloatArray, index: int, image: ByteArray) -> Planes:
        """The planes of the region of a frame.

        Args:
            shape: Mouth shape O, J, W, P, F, T, float32 (6,), within its ranges.
            index: The frame's number.
            image: The frame, I420, uint8 (height · 3/2, width).
        """
        region = self._places.region(index)
        face = self._face(region.width, region.height)
        return self._video.draw(face, self._prepare(index), move_of(shape), image, region)

    def _prepare_frame(self, index: int) -> ByteArray:
        mask = np.zeros(self._places.moved[index, 2:], np.uint8)
        cv2.fillPoly(mask, [self._outlines[index]], 1, cv2.LINE_8, _SUBPIXEL_BITS)
        return self._video.prepare(index, mask)

    def _face_of_size(self, width: int, height: int) -> NativeFace:
        region = Region(0, 0, width, height)
        return NativeFace(self._library, Grid(region, self._places.cell_px).nodes, self._places.cell_px, region)


def move_of(shape: FloatArray) -> MouthMove:
    """What a mouth does for a shape O, J, W, P, F, T, float32 (6,), within its ranges."""
    weights, pose = component_weights(shape), Articulation.of(shape)
    gap, purse, closing, _ = wanted_opening(weights, 0.0)
    return MouthMove(weights.tolist(), gap, purse, closing, pose.jaw, pose.width, pose.tip_rise, pose.tip_out)


def _outlines(ovals_px: FloatArray, places: MouthPlaces) -> Integers:
    """Polygons (n, 36, 2) on the nodes that mouths move, for OpenCV; ``ovals_px`` (n, 36, 2), pixels of the regions."""
    first = (places.moved[:, None, 1::-1] - PAD) * places.cell_px + 0.5 * (places.cell_px - 1)
    per_cell = np.float32((1 << _SUBPIXEL_BITS) / places.cell_px)
    outlines: FloatArray = np.rint((ovals_px - first.astype(np.float32)) * per_cell)
    return outlines.astype(np.int32)
