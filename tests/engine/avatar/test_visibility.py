"""In which frames a mouth is replaced: short gaps are bridged, long ones and those at a cut are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures.meshes import portrait_mesh
from musetalk_cli.engine.avatar.visibility import Area, Visibility, mouth_opacity, runs_of, shots_of

NUM_FRAMES = 40
MESH = portrait_mesh()[:, :2]
EYES_PX = float(np.linalg.norm(MESH[263] - MESH[33]))


def flags(*spans: tuple[int, int], count: int = NUM_FRAMES) -> np.ndarray:
    """True in these frames, the last of each span included."""
    found = np.zeros(count, bool)
    for first, last in spans:
        found[first : last + 1] = True
    return found


def opacity(
    is_found: np.ndarray,
    *,
    cuts: tuple[int, ...] = (),
    is_alike: bool = True,
    step_px: float = 0.0,
    leap: tuple[int, float] | None = None,
) -> np.ndarray:
    count = len(is_found)
    shift = np.arange(count) * step_px
    if leap is not None:
        shift[leap[0] :] += leap[1]
    points = np.repeat(MESH[None], count, axis=0)
    points[..., 0] += shift[:, None]
    points[~is_found] = np.nan
    is_cut = np.isin(np.arange(count), (0, *cuts))
    return mouth_opacity(is_found, is_cut, is_found | is_alike, points, 25)


def test_a_face_in_every_frame_is_replaced_in_every_frame() -> None:
    assert (opacity(flags((0, 39))) == 1).all()


def test_a_short_gap_in_a_steady_motion_is_bridged() -> None:
    found = flags((0, 18), (22, 39))
    assert (opacity(found) == 1).all()
    assert (opacity(found, step_px=0.2 * EYES_PX) == 1).all()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"is_alike": False}, id="another image stands in between"),
        pytest.param({"cuts": (19,)}, id="a cut at the gap's start"),
        pytest.param({"cuts": (21,)}, id="a cut within the gap"),
        pytest.param({"cuts": (22,)}, id="a cut behind the gap"),
        pytest.param({"leap": (22, EYES_PX)}, id="the head is elsewhere afterwards"),
    ],
)
def test_a_short_gap_is_not_bridged_when_something_happens_in_it(options: dict[str, Any]) -> None:
    shown = opacity(flags((0, 18), (22, 39)), **options)
    assert not shown[19:22].any()
    assert (shown[[0, 10, 30, 39]] == 1).all()


def test_a_longer_gap_is_left_alone_and_faded_into_and_out_of() -> None:
    shown = opacity(flags((0, 14), (20, 39)))
    assert not shown[15:20].any()
    np.testing.assert_allclose(shown[11:15], [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(shown[20:24], [0.25, 0.5, 0.75, 1])


def test_nothing_is_faded_at_a_cut() -> None:
    shown = opacity(flags((0, 14), (20, 39)), cuts=(15, 20))
    np.testing.assert_array_equal(shown > 0, flags((0, 14), (20, 39)))
    assert set(shown.tolist()) == {0.0, 1.0}


def test_a_face_that_is_seen_for_a_moment_is_left_alone() -> None:
    assert not opacity(flags((10, 12), (20, 39)), cuts=(10, 13, 20))[:20].any()
    # Shots that follow each other and all show a face are no such moment.
    assert opacity(flags((0, 39)), cuts=tuple(range(3, 40, 3))).all()
    # The video is played forward and back, so its ends are seen for twice as long.
    assert opacity(flags((0, 4), (20, 39)), cuts=(5, 20))[:5].all()
    assert (opacity(flags((0, 2), count=3)) == 1).all()


def test_runs_and_shots() -> None:
    assert runs_of(flags((2, 4), (6, 6), count=8)) == [(2, 5), (6, 7)]
    assert shots_of(np.isin(np.arange(9), (0, 4))) == [slice(0, 4), slice(4, 9)]


def arrays(**others: np.ndarray) -> dict[str, np.ndarray]:
    own = {"points": np.repeat(MESH[None], NUM_FRAMES, axis=0), "is_found": flags((0, 14), (30, 39))}
    whole = Visibility(own["is_found"].astype(np.float32), flags((0, 0)), Area(0, 10, 64, 54))
    return {**own, **whole.as_arrays(), **others}


def test_what_is_stored_is_read_again() -> None:
    read = Visibility.of_arrays(arrays(), (64, 64), 25)
    np.testing.assert_array_equal(read.opacity > 0, arrays()["is_found"])
    assert read.area == Area(0, 10, 64, 54)
    assert read.scaled(np.array([0.5, 0.5])).area == Area(0, 5, 32, 27)


def test_frames_without_a_face_in_avatars_of_earlier_versions_are_left_alone() -> None:
    older = {name: array for name, array in arrays().items() if name in ("points", "is_found")}
    read = Visibility.of_arrays(older, (64, 64), 25)
    np.testing.assert_array_equal(read.opacity > 0, older["is_found"])
    assert read.area == Area.whole(64, 64)


@pytest.mark.parametrize(
    "others",
    [
        {"opacity": np.ones(3, np.float32)},
        {"opacity": np.full(NUM_FRAMES, 2, np.float32)},
        {"opacity": np.full(NUM_FRAMES, np.nan, np.float32)},
        {"opacity": np.ones(NUM_FRAMES)},
        {"is_cut": np.zeros(NUM_FRAMES, np.uint8)},
        {"is_found": np.zeros(2, bool)},
        {"area": np.array([0, 0, 65, 64], np.int32)},
        {"area": np.array([9, 0, 9, 64], np.int32)},
        {"area": np.array([0, 0, 9, 9, 9], np.int32)},
        {"area": np.array([0, 0, np.inf, 9])},
        {"area": np.array(9)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(others: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=next(iter(others))):
        Visibility.of_arrays(arrays(**others), (64, 64), 25)
