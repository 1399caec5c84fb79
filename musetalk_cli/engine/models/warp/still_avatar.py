"""A still avatar: mouth shape (6,) and a LifeState → the face's Y'CbCr planes, with mouth, blinks and head motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar, Eyelids
from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.lighting import FaceLighting
from musetalk_cli.engine.models.warp.face.mouth_interior import MouthInterior
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, cell_px, clean_shape
from musetalk_cli.engine.models.warp.face.region_map import RegionMap
from musetalk_cli.engine.models.warp.face.sampling import (
    Grid,
    UpsampledImage,
    bounds_of,
    crop_planes,
    region_around,
    without_bars,
)
from musetalk_cli.engine.models.warp.idle.eye_states import NUM_EYE_STATES, EyePatch, EyeStates
from musetalk_cli.engine.models.warp.idle.eyelids import eyes_of, shut_eyes
from musetalk_cli.engine.models.warp.idle.head_motion import HeadField, HeadMotion
from musetalk_cli.engine.models.warp.idle.life import REST, LifeState
from musetalk_cli.engine.models.warp.mouth_places import MouthPlaces, axes_row, reach_px
from musetalk_cli.engine.models.warp.native.pixels.sampling import can_sample
from musetalk_cli.engine.native import library
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes
from musetalk_cli.engine.types.messages import Face, FloatArray, Region

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.native.face import FaceState, MouthMotion, NativeFace, NativeImage


_UNMOVED = np.eye(2, 3, dtype=np.float32)


class StillAvatarRenderer:
    """Renders a still avatar's face. Immutable after construction; :meth:`render` is pure and thread-safe.

    ``region``: the rectangle of the frame that changes, aligned to even pixels.
    """

    region: Region

    def __init__(
        self, avatar: Avatar, *, height_px: int, has_idle_motion: bool, num_eye_states: int = NUM_EYE_STATES
    ) -> None:
        """Prepare a face.

        Args:
            avatar: A still in its own size. Where it brings no images of closed eyelids, they are drawn from its skin.
            height_px: Height of the output; it and the width are rounded to even.
            has_idle_motion: Whether the head moves and the eyes blink. Without, only the mouth's surroundings change.
            num_eye_states: How many states of the eyes stay drawn.
        """
        shown = avatar.resized(height_px)
        size, face = (shown.width, shown.height), shown.landmarks[0]
        area = Area.whole(*size) if shown.visibility is None else shown.visibility.area
        planes = without_bars(crop_planes(shown.frames.read([0])[0], Region(0, 0, *size)), area)
        self._image = UpsampledImage.of(planes)
        pose = MouthPose.of_still(face)
        head = HeadMotion(face, area) if has_idle_motion else None
        mouth_px = reach_px(axes_row(pose.axes)[None])[0]
        self.region = region_around([mouth_px] if head is None else [mouth_px, head.bounds_px], size, area)
        self._grid = Grid(self.region, cell_px(pose.axes.unit_px))
        lips = self._grid.cells_touching(bounds_of(np.concatenate([face.outer_upper_lip, face.outer_lower_lip])))
        self._head = head.field_on(self._grid.nodes, lips) if head else None
        self._eyes = _open_eyes(avatar, shown.frames.image(), self._image, face, num_eye_states) if head else None
        self._eye_nodes = self._grid.cells_touching(self._eyes.bounds_px) if self._eyes else (slice(0), slice(0))
        boxes = MouthPlaces.on(self._grid, pose.axes).boxes(0)
        interior = MouthInterior(pose.axes.unit_px, FaceLighting.of([(planes, face)]))
        self._mouth = MouthWarp(pose, self._grid, boxes, interior)
        self._native = self._native_face()

    def _native_face(self) -> tuple[NativeFace, NativeImage] | None:
        """What draws it in C, and the image as C takes it; None where numpy has to."""
        native = library.load()
        if native is None or self._mouth.native is None or not can_sample(self._image.luma, self._grid.cell_px):
            return None
        from musetalk_cli.engine.models.warp.native.face import EyesOnGrid, NativeFace, NativeImage  # imports ctypes

        left, top, right, bottom = self._eyes.bounds_px.tolist() if self._eyes else (0.0, 0.0, 0.0, 0.0)
        eyes = EyesOnGrid((left, top, right, bottom), self._eye_nodes) if self._eyes else None
        basis = None if self._head is None else self._head.basis
        face = NativeFace(native, self._grid.nodes, self._grid.cell_px, self.region, basis=basis, eyes=eyes)
        return face, NativeImage(self._image.luma, self._image.chroma)

    @property
    def draws_frames(self) -> bool:
        """Whether :meth:`draw` may be called: in C, whole frames take less time than faces that are put into them."""
        return self._native is not None

    def draw(
        self, mouths: NDArray[np.float32], lives: Sequence[LifeState], shown: Sequence[ByteArray]
    ) -> tuple[ByteArray, ...]:
        """Frames with the faces of :meth:`render` in them, n of them.

        ``mouths`` float32 (n, 6); ``shown``: the frames without, planar I420, uint8 (height · 3/2, width) each; they
        are not written into.
        """
        assert self._native is not None  # noqa: S101 - the caller asked
        return self._native[0].draw_frames(self._native_states(clean_shape(mouths), lives), shown)

    def render(self, mouth: NDArray[np.float32], life: LifeState = REST) -> Face:
        """The face for a mouth shape (O, J, W, P, F, T; float32 (6,)) and what else it does.

        Values of the shape outside their ranges are clipped. Values that are not finite count as zero.
        """
        shape = clean_shape(mouth)
        if self._native is not None:
            return Face(self.region, self._native[0].draw(self._native_states(shape[None], [life])[0]))
        head, eyes, moved = self._head_of(life), self._eyes_of(life), _UNMOVED
        (is_at_rest,) = self._are_at_rest(shape[None])
        if head is not None and not is_at_rest:
            moved = head.around_mouth([head.matrix_of(life)])[0]
        targets = self._grid.nodes if head is None else head.sample_positions(life)
        if is_at_rest:
            region_map = RegionMap(self._grid, targets)
            planes = region_map.sample(self._image)
        else:
            planes, region_map = self._mouth.render(shape, self._image, targets, moved)
        if eyes is not None and self._eyes is not None:
            shift = (self._grid.nodes[self._eye_nodes] - targets[self._eye_nodes]).reshape(-1, 2)
            eyes.write(planes, region_map, self._eyes.box_in(self.region, shift))
        return Face(self.region, planes)

    def _native_states(self, shapes: FloatArray, lives: Sequence[LifeState]) -> list[FaceState]:
        """What C draws for clean shapes (n, 6) and n lives."""
        from musetalk_cli.engine.models.warp.native.face import FaceState  # imports ctypes

        assert self._native is not None  # noqa: S101 - as the only callers made sure
        heads = [self._head_of(life) for life in lives]
        matrices = [None if head is None else head.matrix_of(life) for head, life in zip(heads, lives, strict=True)]
        motions = self._motions_of(shapes, matrices)
        eyes = [self._eyes_of(life) for life in lives]
        return [
            FaceState(self._native[1], motion, matrix, None if patch is None else patch.native)
            for motion, matrix, patch in zip(motions, matrices, eyes, strict=True)
        ]

    def _motions_of(self, shapes: FloatArray, matrices: Sequence[list[float] | None]) -> list[MouthMotion | None]:
        """What mouths do; None for those at rest. ``matrices``: of their heads, None where these are at rest."""
        moving = [row for row, is_at_rest in enumerate(self._are_at_rest(shapes)) if not is_at_rest]
        motions: list[MouthMotion | None] = [None] * len(shapes)
        if moving:
            head_maps = self._around_mouth([matrices[row] for row in moving])
            for row, motion in zip(moving, self._mouth.motions(shapes[moving], head_maps), strict=True):
                motions[row] = motion
        return motions

    def _around_mouth(self, matrices: Sequence[list[float] | None]) -> FloatArray:
        """The affine maps of heads around their mouths, (n, 2, 3)."""
        maps = np.tile(_UNMOVED, (len(matrices), 1, 1))
        moved = {row: matrix for row, matrix in enumerate(matrices) if matrix is not None}
        if self._head is not None and moved:
            maps[list(moved)] = self._head.around_mouth(list(moved.values()))
        return maps

    def _head_of(self, life: LifeState) -> HeadField | None:
        return self._head if life.moves_head else None

    def _eyes_of(self, life: LifeState) -> EyePatch | None:
        return self._eyes.at(life.left_lid, life.right_lid, life.gaze_x, life.gaze_y) if self._eyes else None

    def _are_at_rest(self, shapes: FloatArray) -> list[bool]:
        """Whether each of (n, 6) is the mouth as the image shows it."""
        moves = np.any(shapes[:, :-1], axis=1)  # shut lips hide the tongue
        return [self._mouth.is_at_rest and not each for each in moves.tolist()]


def _open_eyes(
    avatar: Avatar, shown: ByteArray, image: UpsampledImage, face: Landmarks, num_kept: int
) -> EyeStates | None:
    """The eyes of a still, with the lids that it brings or drawn ones; None where there is nothing to shut.

    ``shown``: the image in the output's size, uint8 BGR; ``image``: the same, upsampled, and ``face`` in its pixels.
    ``num_kept``: how many of their states stay drawn.
    """
    height, width = shown.shape[0] // 2 * 2, shown.shape[1] // 2 * 2
    lids = avatar.eyelids
    shut = shut_eyes(shown, face) if lids is None else _with_lids(avatar.frames.image(), lids, width, height)
    if shut is None:
        return None
    planes = bgr_to_planes(shut[:height, :width])
    return EyeStates(image, planes, eyes_of(face), is_drawn=lids is not None, num_kept=num_kept)


def _with_lids(image: ByteArray, lids: Eyelids, width: int, height: int) -> ByteArray:
    """An image with its drawn lids shut, resized."""
    left, top, across, down = lids.box
    shut = image.copy()
    shut[top : top + down, left : left + across] = lids.images[-1]
    return resize_image(shut, width, height)
