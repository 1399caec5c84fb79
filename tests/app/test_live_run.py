"""What a stream says of its targets at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from musetalk_cli.app.live_run import _describe_loss, _describe_places
from musetalk_cli.engine.outputs.fan_out import FanOut
from musetalk_cli.engine.runtime.stats import TargetHealth


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (TargetHealth("take.mp4", "ended", 9, 0, 0), ""),
        (TargetHealth("rtmp://a/…", "ended", 9, 203, 1), "rtmp://a/…: 203 frames lost and restarted 1 ×"),
        (TargetHealth("rtmp://a/…", "retrying", 9, 7, 0), "rtmp://a/…: 7 frames lost"),
        (TargetHealth("rtmp://a/…", "retrying", 0, 7, 0), "rtmp://a/… was never reached"),
    ],
)
def test_what_a_target_has_not_got_is_in_the_last_line(health: TargetHealth, words: str) -> None:
    assert _describe_loss(health) == words


def test_after_an_error_whole_targets_are_told_from_torn_ones() -> None:
    targets = [
        SimpleNamespace(where="a.mp4", is_complete=False),
        SimpleNamespace(where="b.mp4", is_complete=True),
        SimpleNamespace(where=None, is_complete=False),
    ]
    told = _describe_places(cast("FanOut", SimpleNamespace(targets=targets)))
    assert told == ["b.mp4 is complete", "what was made so far went to a.mp4"]
