"""Calls video.c: the frames of a video are prepared one by one, and their faces drawn, in a call of C each."""

from __future__ import annotations

import ctypes
import struct
from ctypes import POINTER, addressof, byref, c_float, c_int32, c_size_t, c_void_p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.native.face import NativeFace
from musetalk_cli.engine.models.warp.native.interior import NativeInterior
from musetalk_cli.engine.native.arrays import address, declare, pointer, scratch, structure
from musetalk_cli.engine.types.colour import ByteArray, Planes
from musetalk_cli.engine.types.messages import FloatArray, Region

NUM_LANDMARKS, NUM_COMPONENTS, NUM_PARTS = 131, 8, 4  # as in video.h
_FLOAT, _INT = np.dtype(np.float32), np.dtype(np.int32)
_NUM_AXES, _NUM_PLACES = 7, 16  # numbers of FrameAxes and MouthPlace
_MOVE = struct.Struct(f"@{NUM_COMPONENTS}f7f")  # MouthMove

_VideoTrack = structure(
    "VideoTrack",
    **dict.fromkeys(("shown", "rest", "axes", "places", "interior"), c_void_p),
    cell_px=c_int32,
    edge_px=c_float,
    most_tucked=c_float,
    upper_edge=c_float * 3,
    reach=c_float * 4,
    fade=c_float * 2,
    parts=c_float * (2 * NUM_COMPONENTS * NUM_PARTS),
)
_PARAMETERS: dict[str, list[Any]] = {
    "prepare_frame": [POINTER(_VideoTrack), c_int32, *[c_void_p] * 3],
    "draw_video_face": [*[c_void_p] * 4, c_int32, c_int32, *[c_void_p] * 3],
}
_SIZES: dict[str, list[Any]] = {
    "video_frame_size": [c_void_p],
    "prepare_scratch": [c_void_p],
    "video_scratch": [c_void_p, c_void_p],
}


class VideoMouths(NamedTuple):
    """The mouths of a video's n frames.

    ``shown`` and ``rest`` float32 (n, 131, 2): landmarks, as of ``MouthTrack``. ``axes`` float32 (n, 7): the mouths',
    and the first pixel of the region that each changes; pixels of the frame. ``places`` int32 (n, 16): the region, the
    nodes that a mouth moves, those around its lips' box, and the region's pixels there; top, left, height, width each.
    """

    shown: FloatArray
    rest: FloatArray
    axes: FloatArray
    places: NDArray[np.int32]


class MouthBounds(NamedTuple):
    """What is the same in all frames.

    ``most_tucked``: of the lower lip. ``upper_edge``: of the teeth; share of a smile, least and most. ``reach``: left,
    right, top, bottom of all motion, and ``fade``, the distances from there between which it fades in. All in mouth
    units. ``parts`` float32 (16, 4): which of the four parts x and y of each component belong to.
    """

    most_tucked: float
    upper_edge: tuple[float, float, float]
    reach: tuple[float, float, float, float]
    fade: tuple[float, float]
    parts: FloatArray


class MouthMove(NamedTuple):
    """What a mouth does.

    ``weights`` (8,): of the components. ``gap``, ``purse``, ``closing``: what opens the lips of an image of an open
    mouth, mouth units. ``jaw``, ``width``: of the mouth shape. ``tip_rise``, ``tip_out``: of the tongue's tip.
    """

    weights: list[float]
    gap: float
    purse: float
    closing: float
    jaw: float
    width: float
    tip_rise: float
    tip_out: float


class NativeVideo:
    """Prepares and draws the frames of one video; immutable and thread-safe."""

    def __init__(
        self,
        library: ctypes.CDLL,
        mouths: VideoMouths,
        bounds: MouthBounds,
        cell_px: int,
        interior: NativeInterior,
        edge_px: float,
    ) -> None:
        """Prepare it.

        Args:
            library: The native kernel.
            mouths: Of its frames.
            bounds: Of their motion.
            cell_px: Distance of the nodes.
            interior: What is between the lips.
            edge_px: Width of the lips' edges.
        """
        declare(library, _PARAMETERS)
        declare(library, _SIZES, c_size_t)
        count = len(mouths.shown)
        self._library, self._places = library, mouths.places
        self._kept = (mouths, interior)
        self._track = _VideoTrack(
            pointer(mouths.shown, _FLOAT, (count, NUM_LANDMARKS, 2)),
            pointer(mouths.rest, _FLOAT, (count, NUM_LANDMARKS, 2)),
            pointer(mouths.axes, _FLOAT, (count, _NUM_AXES)),
            pointer(mouths.places, _INT, (count, _NUM_PLACES)),
            *(addressof(interior.structure), cell_px, edge_px, bounds.most_tucked),
            *((c_float * 3)(*bounds.upper_edge), (c_float * 4)(*bounds.reach), (c_float * 2)(*bounds.fade)),
            (c_float * (2 * NUM_COMPONENTS * NUM_PARTS))(*bounds.parts.ravel().tolist()),
        )

    def prepare(self, index: int, mask: ByteArray) -> ByteArray:
        """A prepared frame, which :meth:`draw` takes. ``mask`` uint8 (h, w): 1 for the nodes that the mouth moves which
        lie within the face's outline."""
        place = address(self._places) + self._places.strides[0] * index
        rows, columns = self._places[index, 6:8].tolist()
        frame = np.empty(int(self._library.video_frame_size(place)), np.uint8)
        memory = scratch(int(self._library.prepare_scratch(place)))
        shares = pointer(mask, np.uint8, (rows, columns))
        self._library.prepare_frame(byref(self._track), index, shares, memory, address(frame))
        return frame

    def draw(self, face: NativeFace, frame: ByteArray, move: MouthMove, shown: ByteArray, region: Region) -> Planes:
        """The planes of the region of a frame.

        Args:
            face: Of the region's size.
            frame: As from :meth:`prepare`.
            move: What the mouth does.
            shown: The frame, planar I420, uint8 (height · 3/2, width).
            region: Of it, as in ``places``.
        """
        height, width = shown.shape[0] // 3 * 2, shown.shape[1]
        if region.left + region.width > width or region.top + region.height > height:
            raise ValueError(f"{region} is not within {width} × {height} pixels")
        first = pointer(shown, np.uint8, (height // 2 * 3, width // 2 * 2))
        luma = np.empty((region.height, region.width), np.uint8)
        chroma = np.empty((region.height // 2, region.width // 2, 2), np.uint8)
        grid, prepared = addressof(face.grid), address(frame)
        memory = scratch(int(self._library.video_scratch(grid, prepared)))
        packed = _MOVE.pack(*move.weights, *move[1:])
        self._library.draw_video_face(
            *(grid, prepared, packed, first, height, width, memory, address(luma), address(chroma))
        )
        return Planes(luma, chroma)
