"""Faces in a picture: where they are, and the 468 points of each. OpenCV runs both nets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.detection import INPUT_PX, FaceBox, Tile, decode, is_cut_by_tile, merge, tiles
from musetalk_cli.engine.avatar.face_models import FaceModels
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import NUM_MESH_POINTS, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.plausibility import LEAST_PRESENCE
from musetalk_cli.engine.colour import ByteArray
from musetalk_cli.errors import AvatarError

MESH_INPUT_PX = 192
REGION_SCALE = 1.5
LEAST_SCORE = 0.5
# A tile shows much that looks a little like a face.
LEAST_TILE_SCORE = 0.6
# The first look is centred on a rough box; each further one on the last mesh.
NUM_LOOKS = 3


@dataclass(frozen=True)
class FaceRegion:
    """The square that the mesh net looks at: centre, ``side`` in pixels, ``angle`` in radians, clockwise on screen."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True)
class Mesh:
    """``points`` float32 (468, 3): x, y in pixels of the picture, z in pixels away from the viewer.

    ``presence``: 0..1, how sure the net is that the region holds a face.
    """

    points: FloatArray
    presence: float


class FaceFinder:
    """Both nets, loaded. For one thread at a time. Raises AvatarError when a file cannot be read as a net."""

    def __init__(self, models: FaceModels) -> None:
        self._detector = _load(models.detector, ("classificators", "regressors"))
        self._mesh = _load(models.mesh, ("conv2d_31", "conv2d_21"))

    def detect(self, picture: ByteArray, *, thoroughly: bool = True) -> list[FaceBox]:
        """Faces of a BGR picture uint8 (h, w, 3), largest first.

        ``thoroughly`` also searches tiles, down to faces of 5 % of the picture's width.
        """
        height, width = picture.shape[:2]
        found: list[FaceBox] = []
        for level, squares in enumerate(tiles(width, height)):
            for tile in squares:
                boxes = self._detect_in(picture, tile, LEAST_TILE_SCORE if level else LEAST_SCORE)
                found += [box for box in boxes if not is_cut_by_tile(box, tile, width, height)]
            if not thoroughly:
                break
        return merge(found)

    def mesh(self, picture: ByteArray, region: FaceRegion) -> Mesh:
        """The 468 points of the face in one region of a BGR picture."""
        to_picture = _crop_to_picture(region)
        blob = cv2.dnn.blobFromImage(_cut_out(picture, region, to_picture), 1 / 255, swapRB=True)
        self._mesh.setInput(blob)
        presence, values = self._mesh.forward(("conv2d_31", "conv2d_21"))
        points = values.reshape(NUM_MESH_POINTS, 3).astype(np.float64)
        plane = points[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        depth = points[:, 2:] * region.side / MESH_INPUT_PX
        score = 1 / (1 + float(np.exp(-presence.ravel()[0])))
        return Mesh(np.concatenate([plane, depth], axis=1).astype(np.float32), score)

    def settle(self, picture: ByteArray, region: FaceRegion) -> Mesh:
        """A mesh whose region has become its own: looks again where the last look found the face."""
        mesh = self.mesh(picture, region)
        for _ in range(NUM_LOOKS - 1):
            if mesh.presence < LEAST_PRESENCE:
                break
            mesh = self.mesh(picture, region_of_points(mesh.points))
        return mesh

    def find(self, picture: ByteArray, *, thoroughly: bool = True) -> list[Mesh]:
        """Every face of a picture, largest first, each mesh settled; none that the mesh net does not confirm."""
        boxes = self.detect(picture, thoroughly=thoroughly)
        meshes = [self.settle(picture, region_of_box(box)) for box in boxes]
        return [mesh for mesh in meshes if mesh.presence >= LEAST_PRESENCE]

    def _detect_in(self, picture: ByteArray, tile: Tile, least_score: float) -> list[FaceBox]:
        self._detector.setInput(cv2.dnn.blobFromImage(_show(picture, tile), 1 / 127.5, mean=(127.5,) * 3, swapRB=True))
        scores, offsets = self._detector.forward(("classificators", "regressors"))
        flat = np.asarray(scores, np.float32).ravel()
        return decode(flat, np.asarray(offsets, np.float32).reshape(len(flat), -1), tile, least_score)


def region_of_box(face: FaceBox) -> FaceRegion:
    """The square of 1.5 boxes around a detected face, turned so that its eyes are level."""
    left, top, width, height = face.box
    side = REGION_SCALE * max(width, height)
    return FaceRegion(left + width / 2, top + height / 2, side, _angle(*face.key_points[:2]))


def region_of_points(points: NDArray[np.floating]) -> FaceRegion:
    """The same around a known mesh (468, 2 or 3): for the next frame, or for a second look."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    x, y = (low + high) / 2
    left_eye, right_eye = (points[index, :2] for index in OUTER_EYE_CORNERS)
    return FaceRegion(float(x), float(y), REGION_SCALE * float((high - low).max()), _angle(left_eye, right_eye))


def _angle(left_eye: NDArray[np.floating], right_eye: NDArray[np.floating]) -> float:
    across, down = right_eye - left_eye
    return float(np.arctan2(down, across))


def _load(path: Path, outputs: tuple[str, ...]) -> cv2.dnn.Net:
    try:
        # OpenCV 5's new engine drops one of two outputs.
        classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        extra = {} if classic is None else {"engine": classic}
        net = cv2.dnn.readNetFromTFLite(str(path), **extra)
    except cv2.error as error:
        raise AvatarError(f"{path} cannot be read as a net: {error.err}") from error
    if not set(outputs) <= set(net.getUnconnectedOutLayersNames()):
        raise AvatarError(f"{path} is another net than the one expected")
    return net


def _show(picture: ByteArray, tile: Tile) -> ByteArray:
    """The tile at the detector's size; what lies outside the picture is black."""
    height, width = picture.shape[:2]
    left, top = max(tile.left, 0), max(tile.top, 0)
    right, bottom = min(tile.left + tile.side, width), min(tile.top + tile.side, height)
    scale = INPUT_PX / tile.side
    x, y = (round((start - corner) * scale) for start, corner in ((left, tile.left), (top, tile.top)))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    shown = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    small = cv2.resize(picture[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    shown[y : y + size[1], x : x + size[0]] = small
    return shown


def _crop_to_picture(region: FaceRegion) -> NDArray[np.float64]:
    """2 × 3 map from the mesh net's coordinates to the picture's; pixel centres are at integers in both.

    MediaPipe reads the net so too, and a picture and its mirror image agree with it to a quarter of the net's pixel.
    """
    cos, sin = np.cos(region.angle), np.sin(region.angle)
    turn = np.array([[cos, -sin], [sin, cos]]) * region.side / MESH_INPUT_PX
    centre = np.array([region.x, region.y]) - turn @ np.full(2, (MESH_INPUT_PX - 1) / 2)
    return np.column_stack([turn, centre])


def _cut_out(picture: ByteArray, region: FaceRegion, to_picture: NDArray[np.float64]) -> ByteArray:
    """The region at the mesh net's size, averaged where it shrinks: aliasing would make the points jitter."""
    factor = max(1, round(region.side / MESH_INPUT_PX))
    turn = to_picture[:, :2] / factor
    first = to_picture[:, 2] - turn @ np.full(2, (factor - 1) / 2)
    side = MESH_INPUT_PX * factor
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        picture, np.column_stack([turn, first]), (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT
    )
    if factor > 1:
        crop = cv2.resize(crop, (MESH_INPUT_PX, MESH_INPUT_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)
