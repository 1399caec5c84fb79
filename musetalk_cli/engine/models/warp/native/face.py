"""Calls face.c: a whole face, from its grid's nodes to its planes, or all frames of a batch, in one call."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from ctypes import POINTER, addressof, byref, c_double, c_float, c_int32, c_size_t, c_void_p
from dataclasses import dataclass

import numpy as np

from musetalk_cli.engine.models.warp.native.interior import NUM_POSE, NativeInterior
from musetalk_cli.engine.models.warp.native.mouth import MIN_NODES, NativeSkin, lip_rims
from musetalk_cli.engine.models.warp.native.pixels.sampling import MAX_CELL_PX, Box, check_box, extent_of, source_of
from musetalk_cli.engine.native.arrays import address, pointer, scratch, structure
from musetalk_cli.engine.types.colour import ByteArray, Planes
from musetalk_cli.engine.types.messages import FloatArray, Region

MAX_COMPONENTS = 16  # as in face.c
_FLOAT = np.dtype(np.float32)

_FaceGrid = structure(
    "FaceGrid",
    **dict.fromkeys(("nodes", "basis"), c_void_p),
    **dict.fromkeys(("rows", "columns", "cell_px", "height", "width", "left", "top"), c_int32),
    **dict.fromkeys(("eye_top", "eye_left", "eye_rows", "eye_columns"), c_int32),
    eye_bounds=c_double * 4,
)
_FaceImage = structure(
    "FaceImage",
    **dict.fromkeys(("luma", "chroma"), c_void_p),
    **dict.fromkeys(("height", "width"), c_int32),
    **dict.fromkeys(("corner_x", "corner_y"), c_float),
)
_FaceMouth = structure(
    "FaceMouth",
    **dict.fromkeys(("contours", "interior"), c_void_p),
    **dict.fromkeys(("top", "left", "rows", "columns", "lips_top", "lips_left"), c_int32),
    lips_box=c_int32 * 4,
    **dict.fromkeys(("num_distances", "has_open_lips"), c_int32),
    origin=c_float * 2,
    to_units=c_float * 6,
    **dict.fromkeys(("unit_px", "own_gap", "edge_px", *("upper_px", "lower_px", "down_x", "down_y")), c_float),
)
# FaceState of face.c and Frame of stages.h: packed in a fifth of the time that setting a structure's fields takes.
_STATE = struct.Struct(f"@4Pi10f{MAX_COMPONENTS}f5f{NUM_POSE}f0P")
_FRAME = struct.Struct("@2P2i")
_AT_REST = (0.0,) * 10
_NO_GAP = (0.0,) * 4
_NO_MOTION = (0.0,) * (MAX_COMPONENTS + 5 + NUM_POSE)


@dataclass(frozen=True)
class EyesOnGrid:
    """``bounds_px``: left, top, right, bottom of a face's eyes; ``nodes``: rows and columns of those around them."""

    bounds_px: tuple[float, float, float, float]
    nodes: Box


class NativeImage:
    """An upsampled image, or a part of one, to sample from; immutable."""

    def __init__(self, luma: ByteArray, chroma: ByteArray, corner: tuple[float, float] = (0.0, 0.0)) -> None:
        """Prepare it.

        Args:
            luma: uint8 (2h, 2w).
            chroma: uint8 (h/2, w/2, 2).
            corner: Position of its first pixel in the whole image.
        """
        self._kept = (luma, chroma)
        self.structure = _FaceImage(*source_of(Planes(luma, chroma)), *corner)


class NativeMouth:
    """A mouth on a grid; immutable."""

    def __init__(
        self,
        skin: NativeSkin,
        interior: NativeInterior,
        boxes: tuple[Box, Box, Box],
        origin: FloatArray,
        rims: tuple[float, float] | None,
        own_gap: float,
        edge_px: float,
    ) -> None:
        """Prepare it.

        Args:
            skin: Its skin.
            interior: What is between its lips.
            boxes: Rows and columns of the grid's nodes that it moves; of those around the lips' box, within the former;
                and of the region's pixels in it.
            origin: Position of the first node, (2,), pixels.
            rims: For an image of an open mouth: depth of the upper and the lower lip's rim, mouth units.
            own_gap: Lip gap of the image, mouth units.
            edge_px: Width of the lips' edges, pixels.
        """
        nodes, lips, lips_px = boxes
        self._kept = (skin, interior)
        self.nodes, self.lips_px = nodes, lips_px
        top, left, rows, columns = extent_of(nodes)
        if min(rows, columns) < MIN_NODES or min(lips[0].start, lips[1].start) < 0:
            raise ValueError(f"{rows} by {columns} nodes are too few")
        self.structure = _FaceMouth(
            *(addressof(skin.contours), addressof(interior.structure)),
            *(top, left, rows, columns, lips[0].start, lips[1].start),
            (c_int32 * 4)(*extent_of(lips_px)),
            *(skin.num_distances, skin.num_distances == 6),
            (c_float * 2)(*origin.tolist()),
            (c_float * 6)(*skin.to_units.ravel().tolist()),
            *(skin.unit_px, own_gap, edge_px, *lip_rims(skin, rims)),
        )


@dataclass(frozen=True)
class MouthMotion:
    """What a mouth does in one frame.

    ``fields`` float32 (n, 2, h, w, 2), cells, and their n ``weights``; ``tuck`` 0..1 of the lower lip;
    ``wanted``: as of :meth:`NativeInterior.coverage`; ``interior``: NUM_POSE numbers, as from :func:`pose_of`.
    """

    mouth: NativeMouth
    fields: FloatArray
    weights: list[float]
    tuck: float
    wanted: tuple[float, float, float, float] | None
    interior: list[float]


@dataclass(frozen=True)
class FaceState:
    """What a face shows of an ``image``.

    ``motion``: what the mouth does; None where it rests as the image shows it. ``matrix``: what moves the head, (2, 5),
    row after row; None where it rests. ``eyes``: the part of the image around its eyes, if these are drawn anew.
    """

    image: NativeImage
    motion: MouthMotion | None
    matrix: list[float] | None = None
    eyes: NativeImage | None = None


class NativeFace:
    """Draws the faces of one grid; immutable and thread-safe.

    ``grid``: as C takes it.
    """

    grid: ctypes.Structure

    def __init__(
        self,
        library: ctypes.CDLL,
        nodes: FloatArray,
        cell_px: int,
        region: Region,
        *,
        basis: FloatArray | None = None,
        eyes: EyesOnGrid | None = None,
    ) -> None:
        """Prepare them.

        Args:
            library: The native kernel.
            nodes: Of the region's grid, float32 (rows, columns, 2), pixels of the image.
            cell_px: Their distance, even, at most MAX_CELL_PX.
            region: Of the image.
            basis: What moves them with a head, float32 (5, rows, columns).
            eyes: Where the eyes are, if they are ever drawn anew.
        """
        rows, columns = nodes.shape[:2]
        is_covered = (rows - 2) * cell_px >= region.height and (columns - 2) * cell_px >= region.width
        if not is_covered or cell_px % 2 or not 2 <= cell_px <= MAX_CELL_PX:
            raise ValueError(f"a grid {nodes.shape} of {cell_px} pixels does not cover {region}")
        if min(region) < 0 or any(number % 2 for number in region):
            raise ValueError(f"not even, or before the frame: {region}")
        box = eyes.nodes if eyes else (slice(0, 0), slice(0, 0))
        top, left, height, width = extent_of(box)
        if min(top, left, height, width) < 0 or box[0].stop > rows or box[1].stop > columns:
            raise ValueError(f"no box of {nodes.shape}: {box}")
        self._kept, self._region = (nodes, basis), region
        self.grid = _FaceGrid(
            pointer(nodes, _FLOAT, (rows, columns, 2)),
            None if basis is None else pointer(basis, _FLOAT, (5, rows, columns)),
            *(rows, columns, cell_px, region.height, region.width, region.left, region.top),
            *(top, left, height, width),
            (c_double * 4)(*(eyes.bounds_px if eyes else (0, 0, 0, 0))),
        )
        self._library = library
        if library.draw_frames.argtypes is None:
            library.face_scratch.restype = c_size_t
            library.face_scratch.argtypes = [POINTER(_FaceGrid), c_void_p]
            library.draw_face.restype = library.draw_frames.restype = None
            library.draw_face.argtypes = [POINTER(_FaceGrid), *[c_void_p] * 4]
            library.draw_frames.argtypes = [POINTER(_FaceGrid), c_void_p, c_void_p, c_int32, c_void_p, c_void_p]

    def draw(self, state: FaceState) -> Planes:
        """The region's planes."""
        height, width = self._region.height, self._region.width
        planes = Planes(np.empty((height, width), np.uint8), np.empty((height // 2, width // 2, 2), np.uint8))
        memory, _ = self._memory([state])
        packed = _pack(state)
        self._library.draw_face(byref(self.grid), packed, memory, address(planes.luma), address(planes.chroma))
        return planes

    def draw_frames(self, states: Sequence[FaceState], shown: Sequence[ByteArray]) -> tuple[ByteArray, ...]:
        """The frames with these faces in them. ``shown``: without, planar I420, uint8 (height · 3/2, width) each."""
        memory, chroma = self._memory(states)
        if len(states) != len(shown):
            raise ValueError(f"{len(states)} faces, and {len(shown)} frames")
        drawn = tuple(np.empty(image.shape, np.uint8) for image in shown)
        frames = b"".join(map(self._pack_frame, shown, drawn))
        packed = b"".join(map(_pack, states))
        self._library.draw_frames(byref(self.grid), packed, frames, len(states), memory, chroma)
        return drawn

    def _pack_frame(self, shown: ByteArray, drawn: ByteArray) -> bytes:
        """As Frame of stages.h. Raises ValueError where the region is not within it."""
        height, width = shown.shape[0] // 3 * 2, shown.shape[1]
        region = self._region
        if region.top + region.height > height or region.left + region.width > width:
            raise ValueError(f"{region} is not within {width} × {height} pixels")
        even = (height // 2 * 3, width // 2 * 2)
        return _FRAME.pack(pointer(shown, np.uint8, even), pointer(drawn, np.uint8, even), height, width)

    def _memory(self, states: Sequence[FaceState]) -> tuple[int, int]:
        """Addresses of this thread's memory: what each of the faces needs, and its chroma."""
        mouths = {state.motion.mouth for state in states if state.motion is not None}
        for mouth in mouths:
            check_box(mouth.lips_px, self._region.height, self._region.width)
        needed: Sequence[int | None] = [addressof(mouth.structure) for mouth in mouths]
        size = max(self._library.face_scratch(byref(self.grid), mouth) for mouth in needed or [None])
        whole = size + -(-self._region.height * self._region.width // (2 * _FLOAT.itemsize))
        memory = scratch(whole)
        return memory, memory + size * _FLOAT.itemsize


def _pack(state: FaceState) -> bytes:
    """As FaceState of face.c. Raises ValueError where the fields are not those of the mouth's nodes."""
    motion = state.motion
    image, eyes = addressof(state.image.structure), 0 if state.eyes is None else addressof(state.eyes.structure)
    matrix = state.matrix or _AT_REST
    if motion is None:
        return _STATE.pack(image, eyes, 0, 0, 0, *matrix, *_NO_MOTION)
    _, _, rows, columns = extent_of(motion.mouth.nodes)
    count = len(motion.weights)
    return _STATE.pack(
        *(image, eyes, addressof(motion.mouth.structure)),
        *(pointer(motion.fields, _FLOAT, (count, 2, rows, columns, 2)), count),
        *(*matrix, *motion.weights, *(0.0,) * (MAX_COMPONENTS - count)),
        *(motion.tuck, *(motion.wanted or _NO_GAP), *motion.interior),
    )
