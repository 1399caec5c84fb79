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


def test_a_run_that_was_stopped_is_not_too_slow() -> None:
    slow = SlowMachine()
    for tenth in range(200):
        elapsed_s = tenth / 10 + (6 if tenth >= 40 else 0)  # Ctrl-Z after 4 s, and fg 6 s later
        num_held = 150 if tenth >= 45 else 0
        snapshot = after(elapsed_s + 0.1, num_held=num_held)._replace(elapsed_s=elapsed_s)
        assert slow.describe(snapshot) is None
    assert slow.describe(after(26.0, num_held=250)._replace(elapsed_s=26.0)), "it is too slow since"


def test_a_short_overload_of_a_long_stream_and_a_file_are_not_told() -> None:
    assert SlowMachine().describe(after(60.0, num_held=40)) is None
    assert SlowMachine().describe(Snapshot(num_frames=100, media_s=4.0)) is None
    assert SlowMachine().describe(Snapshot(live=LIVE)) is None
