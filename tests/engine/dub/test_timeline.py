"""Which frame is shown when, where voice and clip differ in length."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.dub.timeline import Fill, Length, plan_timeline

TICKS = np.array([2, 10, 21, 30], np.int64)  # of a clip with a variable rate, whose last frame ends at 40


@pytest.mark.parametrize(
    ("voice_ticks", "length", "fill", "sources", "ticks"),
    [
        (None, "longest", "hold", [0, 1, 2, 3], [2, 10, 21, 30, 40]),
        (75, "clip", "loop", [0, 1, 2, 3], [2, 10, 21, 30, 40]),
        (15, "longest", "loop", [0, 1, 2, 3], [2, 10, 21, 30, 40]),
        (15, "voice", "hold", [0, 1], [2, 10, 15]),
        (1, "voice", "hold", [0, 1], [2, 10, 12]),  # a frame at least
        (11, "voice", "hold", [0, 1], [2, 10, 12]),
        (65, "voice", "hold", [0, 1, 2, 3, 3, 3, 3], [2, 10, 21, 30, 40, 50, 60, 65]),
        (65, "longest", "loop", [0, 1, 2, 3, 0, 1, 2], [2, 10, 21, 30, 40, 48, 59, 65]),
        (90, "voice", "ping-pong", [0, 1, 2, 3, 2, 1, 0, 1, 2, 3], [2, 10, 21, 30, 40, 49, 60, 68, 79, 88, 90]),
    ],
)
def test_the_output_has_the_wanted_length(
    voice_ticks: int | None, length: Length, fill: Fill, sources: list[int], ticks: list[int]
) -> None:
    planned = plan_timeline(TICKS, 10, voice_ticks, length, fill)
    assert planned.sources.tolist() == sources
    assert planned.ticks.tolist() == ticks


def test_a_single_frame_can_be_held() -> None:
    for fill in ("hold", "loop", "ping-pong"):
        planned = plan_timeline(TICKS[:1], 10, 30, "voice", fill)  # type: ignore[arg-type]
        assert planned.sources.tolist() == [0, 0, 0]


def test_runs_say_how_the_clip_is_read() -> None:
    planned = plan_timeline(np.arange(4) * 10, 10, 110, "voice", "ping-pong")
    assert planned.sources.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert list(planned.runs()) == [(0, 1, 4), (2, -1, 3), (1, 1, 3), (2, 1, 1)]
    held = plan_timeline(np.arange(3) * 10, 10, 50, "voice", "hold")
    assert list(held.runs()) == [(0, 1, 3), (2, 0, 2)]
    looped = plan_timeline(np.arange(3) * 10, 10, 50, "voice", "loop")
    assert list(looped.runs()) == [(0, 1, 3), (0, 1, 2)]
