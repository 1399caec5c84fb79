from __future__ import annotations

from musetalk_cli.app.running.slow_machine import SlowMachine
from musetalk_cli.engine.runtime.stats import LatencyStats, LiveStats, OverloadCounts, Snapshot

LIVE = LiveStats(LatencyStats(), 25.0, 0.0, 0.0, OverloadCounts(), 0.0, 0.0, 0, 0.0, is_muted=False)


def after(seconds: float, **left_out: int) -> Snapshot:
    live = LIVE._replace(counts=OverloadCounts(**left_out))
    return Snapshot(num_frames=round(25 * seconds), media_s=seconds, live=live)


def test_a_stream_without_time_for_its_faces_is_told_once() -> None:
    slow = SlowMachine()
    assert slow.describe(after(2.0, num_held=15)) is None, "not before a second of them"
    told = slow.describe(after(4.0, num_held=40))
    assert told is not None
    assert "40 frames without time for a face" in told
    assert slow.describe(after(8.0, num_held=120)) is None


def test_every_policy_counts() -> None:
    assert SlowMachine().describe(after(4.0, num_idle=40))
    assert SlowMachine().describe(after(4.0, num_skipped=40))


def test_a_short_overload_of_a_long_stream_and_a_file_are_not_told() -> None:
    assert SlowMachine().describe(after(60.0, num_held=40)) is None
    assert SlowMachine().describe(Snapshot(num_frames=100, media_s=4.0)) is None
    assert SlowMachine().describe(Snapshot(live=LIVE)) is None
