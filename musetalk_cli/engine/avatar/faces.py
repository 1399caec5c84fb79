"""Faces in a picture: where they are, and the 468 points of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.face_models import FaceModels
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.colour import ByteArray


@dataclass(frozen=True)
class FaceBox:
    """A detected face: ``score`` 0..1, ``box`` left, top, width, height in pixels, ``key_points`` float32 (6, 2).

    The key points are the picture's left eye, right eye, nose tip, mouth, left ear, right ear. The box may reach
    beyond the picture.
    """

    score: float
    box: tuple[float, float, float, float]
    key_points: FloatArray


@dataclass(frozen=True)
class FaceRegion:
    """The square that the mesh net looks at: centre, ``side`` in pixels, ``angle`` in radians, clockwise on screen."""

    x: float
    y: float
    side: float
    angle: float


@dataclass(frozen=True)
class Mesh:
    """``points`` float32 (468, 3): x, y in pixels of the picture, z in pixels towards the viewer's back.

    ``presence``: 0..1, how sure the net is that the region holds a face.
    """

    points: FloatArray
    presence: float


class FaceFinder:
    """Both nets, loaded. For one thread at a time. Raises AvatarError when a file cannot be read as a net."""

    def __init__(self, models: FaceModels) -> None:
        raise NotImplementedError

    def detect(self, picture: ByteArray, *, thoroughly: bool = True) -> list[FaceBox]:
        """Faces of a BGR picture uint8 (h, w, 3), largest first.

        ``thoroughly`` also searches tiles, down to faces of 5 % of the picture's width.
        """
        raise NotImplementedError

    def mesh(self, picture: ByteArray, region: FaceRegion) -> Mesh:
        """The 468 points of the face in one region of a BGR picture."""
        raise NotImplementedError

    def find(self, picture: ByteArray) -> list[Mesh]:
        """Every face of a still picture, largest first, each mesh settled by looking again where it was found."""
        raise NotImplementedError


def region_of_box(face: FaceBox) -> FaceRegion:
    """The square of 1.5 boxes around a detected face, turned so that its eyes are level."""
    raise NotImplementedError


def region_of_points(points: NDArray[np.floating]) -> FaceRegion:
    """The same around a known mesh (468, 2 or 3): for the next frame, or for a second look."""
    raise NotImplementedError
