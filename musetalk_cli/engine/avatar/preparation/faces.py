"""Faces in an image: where they are, and the 468 points of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import NUM_MESH_POINTS, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.preparation.checks.coverings import unsteadiness
from musetalk_cli.engine.avatar.preparation.checks.medians import median
from musetalk_cli.engine.avatar.preparation.checks.plausibility import LEAST_PRESENCE
from musetalk_cli.engine.avatar.preparation.detection import (
    INPUT_PX,
    FaceBox,
    Tile,
    decode,
    is_cut_by_tile,
    merge,
    needed_scale,
    tiles,
)
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.engine.avatar.preparation.nets.face_net import Range, open_net
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.planar_frame import Plane, SearchedImage, sample_bgr, whole_bgr

MESH_INPUT_PX = 192
REGION_SCALE = 1.5
LEAST_SCORE = 0.5
# The first pass is centred on a rough box, each further one on the mesh of the pass before.
NUM_PASSES = 3
# The net's answer depends on how the face is framed by about 0.8 % of the eyes' distance; the mean over these framings
# (scale, shift across and down in sides, turn in radians) by half of that.
FRAMINGS = (
    (1.0, 0.0, 0.0, 0.0),
    (0.94, 0.02, 0.0, 0.05),
    (1.06, -0.02, 0.0, -0.05),
    (0.97, 0.0, 0.02, -0.08),
    (1.03, 0.0, -0.02, 0.08),
)
CHECK_FRAMINGS = FRAMINGS[1:3]
# The detector is surest of upright faces; below this it is asked about the other quarter turns too.
SURELY_UPRIGHT = 0.9
UPRIGHT_CROP_SCALE = 2.2
QUARTER_TURNS = (0.0, np.pi, np.pi / 2, -np.pi / 2)
# A crop that is to become much smaller is shrunk by a whole number first, which is quick, and by this at the end.
LEAST_SHRINKING = 1.5


@dataclass(frozen=True)
class FaceRegion:
    """The square that the mesh net is given: centre, ``side`` in pixels, ``angle`` in radians, clockwise on screen."""

    x: float
    y: float
    side: float
    angle: float

    def reframed(self, scale: float, across: float, down: float, turn: float) -> FaceRegion:
        """The same square made larger, shifted by shares of its side, and turned."""
        x, y = self.x + across * self.side, self.y + down * self.side
        return FaceRegion(x, y, self.side * scale, self.angle + turn)


@dataclass(frozen=True)
class Mesh:
    """``points`` float32 (468, 3): x, y in pixels of the image, z in pixels away from the viewer.

    ``presence``: 0..1, how sure the net is that the region holds a face. ``unsteadiness``: as in ``coverings``, 0 where
    it has not been measured.
    """

    points: FloatArray
    presence: float
    unsteadiness: float = 0.0

    @cached_property
    def region(self) -> FaceRegion:
        """The square around it, see ``region_of_points``."""
        return region_of_points(self.points)


class FaceFinder:
    """Both nets, loaded. For one thread at a time. Raises AvatarError when a file cannot be read as a net."""

    def __init__(self, models: FaceModels) -> None:
        self._detector = open_net(models.detector, ("classificators", "regressors"), Range(1 / 127.5, -1.0), INPUT_PX)
        self._mesh = open_net(models.mesh, ("conv2d_31", "conv2d_21"), Range(1 / 255, 0.0), MESH_INPUT_PX)

    def detect(self, image: SearchedImage, *, thoroughly: bool = True) -> list[FaceBox]:
        """Likely faces of an image, largest first; ``find`` keeps those that are some.

        ``thoroughly`` also searches tiles, down to faces of 5 % of the image's width.
        """
        scale = needed_scale(image.shape[1]) if thoroughly else 1.0
        whole = whole_bgr(image)
        small = whole if scale == 1 else _shrink(whole, scale)
        height, width = small.shape[:2]
        found: list[FaceBox] = []
        for squares in islice(tiles(width, height), None if thoroughly else 1):
            for tile in squares:
                boxes = self._detect_in(_resize_tile(small, tile), tile)
                found += [box for box in boxes if not is_cut_by_tile(box, tile, width, height)]
        return [box.scaled(image.shape[1] / width) for box in merge(found)]

    def mesh(self, image: SearchedImage, region: FaceRegion) -> Mesh:
        """The 468 points of the face in one region of an image."""
        to_image = _crop_to_image(region, MESH_INPUT_PX)
        presence, values = self._mesh.run(_cut_out(image, to_image, MESH_INPUT_PX))
        points = values.reshape(NUM_MESH_POINTS, 3).astype(np.float64)
        plane = points[:, :2] @ to_image[:, :2].T + to_image[:, 2]
        depth = points[:, 2:] * region.side / MESH_INPUT_PX
        score = 1 / (1 + float(np.exp(-presence[0])))
        return Mesh(np.concatenate([plane, depth], axis=1).astype(np.float32), score)

    def find(self, image: SearchedImage, *, thoroughly: bool = True) -> list[Mesh]:
        """Every face of an image, largest first: those that both nets agree on, each refined until stable."""
        boxes = (self._upright(image, box) for box in self.detect(image, thoroughly=thoroughly))
        meshes = (self._refine(image, region_of_box(box)) for box in boxes if box is not None)
        found: list[Mesh] = []
        for mesh in meshes:
            is_new = not any(_is_same_face(mesh, other) for other in found)
            if mesh.presence >= LEAST_PRESENCE and is_new:
                found.append(mesh)
        return found

    def measure_unsteadiness(self, image: SearchedImage, mesh: Mesh) -> float:
        """How far the lips of a mesh that has been followed move with the framing, see ``coverings``."""
        region = mesh.region
        others = [self.mesh(image, region.reframed(*framing)).points for framing in CHECK_FRAMINGS]
        return unsteadiness([mesh.points, *others])

    def _refine(self, image: SearchedImage, region: FaceRegion) -> Mesh:
        """Run the net again where the last pass found the face, then on slightly different framings, for their mean."""
        mesh = self.mesh(image, region)
        for _ in range(NUM_PASSES - 1):
            if mesh.presence < LEAST_PRESENCE:
                return mesh
            mesh = self.mesh(image, mesh.region)
        stable = mesh.region
        meshes = [self.mesh(image, stable.reframed(*framing)) for framing in FRAMINGS]
        mean = np.mean([mesh.points for mesh in meshes], axis=0)
        presence = float(median([mesh.presence for mesh in meshes]))
        return Mesh(mean.astype(np.float32), presence, unsteadiness([mesh.points for mesh in meshes]))

    def _upright(self, image: SearchedImage, face: FaceBox) -> FaceBox | None:
        """The face as found with its eyes level, whichever way up it is; None when its crop does not confirm it.

        The detector finds upside-down faces but mistakes chins for foreheads, and the mesh net believes it.
        """
        left, top, width, height = face.box
        best: FaceBox | None = None
        for turn in QUARTER_TURNS:
            angle = _angle(*face.key_points[:2]) + turn
            region = FaceRegion(left + width / 2, top + height / 2, UPRIGHT_CROP_SCALE * max(width, height), angle)
            to_image = _crop_to_image(region, INPUT_PX)
            boxes = merge(self._detect_in(_cut_out(image, to_image, INPUT_PX), Tile(0, 0, INPUT_PX)))
            seen = max(boxes, key=lambda box: box.score, default=None)
            if seen is not None and (best is None or seen.score > best.score):
                best = seen.moved(to_image)
            if best is not None and best.score >= SURELY_UPRIGHT:
                break
        return best

    def _detect_in(self, shown: ByteArray, tile: Tile) -> list[FaceBox]:
        """Boxes in a tile, given the 128 × 128 pixels that show it."""
        scores, offsets = self._detector.run(shown)
        return decode(scores, offsets.reshape(len(scores), -1), tile, LEAST_SCORE)


def region_of_box(face: FaceBox) -> FaceRegion:
    """The square of 1.5 boxes around a detected face, turned so that its eyes are level."""
    left, top, width, height = face.box
    side = REGION_SCALE * max(width, height)
    return FaceRegion(left + width / 2, top + height / 2, side, _angle(*face.key_points[:2]))


def region_of_points(points: NDArray[np.floating]) -> FaceRegion:
    """The same around a known mesh (468, 2 or 3): for the next frame, or for a second pass."""
    across, down = points[:, 0], points[:, 1]  # each by itself: numpy is slow along a long first axis
    low, high = np.array([across.min(), down.min()]), np.array([across.max(), down.max()])
    x, y = (low + high) / 2
    left_eye, right_eye = (points[index, :2] for index in OUTER_EYE_CORNERS)
    return FaceRegion(float(x), float(y), REGION_SCALE * float((high - low).max()), _angle(left_eye, right_eye))


def _is_same_face(one: Mesh, other: Mesh) -> bool:
    """Whether two boxes have led to one face: the middles are nearer than the larger mesh's half width."""
    regions = [one.region, other.region]
    away = np.hypot(regions[0].x - regions[1].x, regions[0].y - regions[1].y)
    return bool(away < max(region.side for region in regions) / REGION_SCALE / 2)


def _angle(left_eye: NDArray[np.floating], right_eye: NDArray[np.floating]) -> float:
    across, down = right_eye - left_eye
    return float(np.arctan2(down, across))


def _resize_tile(image: ByteArray, tile: Tile) -> ByteArray:
    """The tile at the detector's size; what lies outside the image is black."""
    height, width = image.shape[:2]
    left, top = max(tile.left, 0), max(tile.top, 0)
    right, bottom = min(tile.left + tile.side, width), min(tile.top + tile.side, height)
    scale = INPUT_PX / tile.side
    x, y = (round((start - corner) * scale) for start, corner in ((left, tile.left), (top, tile.top)))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    shown = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    small = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    shown[y : y + size[1], x : x + size[0]] = small
    return shown


def _shrink(image: ByteArray, scale: float) -> ByteArray:
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _crop_to_image(region: FaceRegion, crop_px: int) -> NDArray[np.float64]:
    """2 × 3 map from a region's crop, ``crop_px`` a side, to the image; pixel centres are at integers in both.

    MediaPipe reads the mesh net so too, and an image and its mirror image agree with it to a quarter of such a pixel.
    """
    cos, sin = np.cos(region.angle), np.sin(region.angle)
    turn = np.array([[cos, -sin], [sin, cos]]) * region.side / crop_px
    first = np.array([region.x, region.y]) - turn @ np.full(2, (crop_px - 1) / 2)
    return np.column_stack([turn, first])


def _cut_out(image: SearchedImage, to_image: NDArray[np.float64], crop_px: int) -> ByteArray:
    """A region's crop, BGR, averaged where it shrinks: aliasing would make the points jitter."""
    return sample_bgr(image, lambda plane: _cut_out_plane(plane, plane.map(to_image), crop_px))


def _cut_out_plane(plane: Plane, to_image: NDArray[np.float64], crop_px: int) -> ByteArray:
    image = plane.pixels
    times = int(np.hypot(*to_image[:, 0]) / LEAST_SHRINKING)
    if times > 1:
        image, to_image = _shrink_part(image, to_image, crop_px, times)
    width = max(1, round(float(np.hypot(*to_image[:, 0]))))
    if width > 1:
        image, to_image = _blur_part(image, to_image, crop_px, width)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, to_image, (crop_px, crop_px), flags=flags, borderValue=(plane.black,) * 3)
    return np.asarray(crop, np.uint8)


def _blur_part(
    image: ByteArray, to_image: NDArray[np.float64], crop_px: int, width: int
) -> tuple[ByteArray, NDArray[np.float64]]:
    """What lies around a crop, each pixel the mean of ``width`` × ``width``, and the crop's map to it."""
    part, low = _surroundings(image, to_image, crop_px, width)
    blurred = cv2.blur(part, (width, width), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    to_part = np.column_stack([to_image[:, :2], to_image[:, 2] - low - (width - 1) / 2])
    return np.asarray(blurred, np.uint8), to_part


def _shrink_part(
    image: ByteArray, to_image: NDArray[np.float64], crop_px: int, times: int
) -> tuple[ByteArray, NDArray[np.float64]]:
    """What lies around a crop, a whole number of times smaller, and the crop's map to it."""
    part, low = _surroundings(image, to_image, crop_px, times)
    size = np.array(part.shape[1::-1])
    whole = np.maximum(size // times, 1) * times
    # Rows and columns that are left over are repeated, for the smaller image to have whole pixels.
    right, bottom = (int(side) for side in np.maximum(whole - size, 0))
    if right or bottom:
        part = np.asarray(cv2.copyMakeBorder(part, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    part = part[: whole[1], : whole[0]]
    small = cv2.resize(part, tuple(int(side) for side in whole // times), interpolation=cv2.INTER_AREA)
    to_small = np.column_stack([to_image[:, :2], to_image[:, 2] - low + 0.5]) / times
    to_small[:, 2] -= 0.5
    return np.asarray(small, np.uint8), to_small


def _surroundings(
    image: ByteArray, to_image: NDArray[np.float64], crop_px: int, margin_px: int
) -> tuple[ByteArray, NDArray[np.int_]]:
    """The part of an image that a crop is taken from, with a margin, and its left and top."""
    corners = np.array([[x, y] for x in (-1, crop_px) for y in (-1, crop_px)]) @ to_image[:, :2].T + to_image[:, 2]
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0)) - margin_px, 0, size - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + margin_px, low + 1, size).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low
