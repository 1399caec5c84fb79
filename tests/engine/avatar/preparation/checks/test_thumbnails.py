"""Dissolves and fades are told from cuts and motion."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.clips import moved_portrait, portrait_image
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.checks.thumbnails import faded_frames, likeness, thumbnail
from musetalk_cli.engine.types.colour import bgr_to_planes, planes_to_i420
from musetalk_cli.engine.types.planar_frame import PlanarFrame

SIDE = 128


def seen(frame: int = 0, share: float = 1.0, name: str = "nora") -> FloatArray:
    """The face of a portrait, mixed with a white image."""
    image = moved_portrait(frame, SIDE, name) * share + 255 * (1 - share)
    return thumbnail(image.astype(np.uint8), (SIDE / 2, 0.47 * SIDE), SIDE / 3)


def faded(thumbnails: list[FloatArray | None], cuts: tuple[int, ...] = ()) -> list[int]:
    is_cut = np.isin(np.arange(len(thumbnails)), (0, *cuts))
    return [int(frame) for frame in np.flatnonzero(faded_frames(thumbnails, is_cut))]


def test_a_face_is_like_itself_and_not_like_another() -> None:
    assert likeness(seen(0), seen(1)) > 0.9
    assert likeness(seen(0), seen(0, share=0.5)) > 0.99
    assert likeness(seen(0), seen(0, name="theo")) < 0.8


def test_a_face_that_stays_does_not_fade() -> None:
    assert faded([seen(frame) for frame in range(30)]) == []
    assert (
        faded([seen(frame) for frame in range(15)] + [None] * 5 + [seen(frame) for frame in range(15)], (15, 20)) == []
    )


def test_a_dissolve_and_a_fade_are_found() -> None:
    out = [seen(share=share) for share in (0.8, 0.6, 0.4)]
    assert faded([*[seen()] * 20, *out, *[None] * 5]) == [20, 21, 22]
    assert faded([*out[::-1], *[seen()] * 20]) == [0, 1, 2]


def test_a_face_that_stays_dim_is_no_fade() -> None:
    assert faded([*[seen(share=0.5)] * 70, *[seen()] * 10]) == []


@pytest.mark.parametrize("place", [(-50.0, -50.0), (500.0, 64.0), (0.0, 127.0)])
def test_a_square_outside_the_image_does_no_harm(place: tuple[float, float]) -> None:
    assert np.isfinite(thumbnail(portrait_image(SIDE), place, 40)).all()


def test_a_planar_frame_has_the_thumbnail_of_its_image() -> None:
    planar = PlanarFrame(planes_to_i420(bgr_to_planes(portrait_image(SIDE))))
    for centre, side_px in (((64.0, 60.0), 50.0), ((3.0, 125.0), 30.0)):
        ours, other = thumbnail(planar, centre, side_px), thumbnail(portrait_image(SIDE), centre, side_px)
        assert likeness(ours, other) > 0.97
