"""The live display: what it says, and that it fits."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fixtures.fakes import tone
from fixtures.media import write_wav
from musetalk_cli.engine.runtime.stats import (
    LatencyStats,
    LiveStats,
    OverloadCounts,
    Snapshot,
    StageTiming,
    TargetHealth,
)
from musetalk_cli.engine.runtime.usage import Usage, UsageMeter
from musetalk_cli.ui.dashboard import LiveDashboard
from musetalk_cli.ui.stream_view import build_view, describe_line, find_bottleneck, sparkline

USAGE = Usage(cpu_percent=132, rss_mb=210.5, num_threads=14, num_files=21, gpu_mb=None)
STEPS = {"capture": (1000.0, 1900.0), "features": (8.0, 9.0), "model": (90.0, 110.0), "composite": (1.0, 2.0)}


def snapshot(*, num_held: int = 0, lead_s: float = 0.4) -> Snapshot:
    live = LiveStats(
        latency=LatencyStats(1.23, 2.34, 1.25, 2.36, {**STEPS, "encode": (51.0, 90.0)}),
        delivered_fps=25.04,
        buffer_s=2.1,
        lead_s=lead_s,
        counts=OverloadCounts(num_held=num_held),
        silence_share=0.25,
        skew_ms=-0.4,
        num_overruns=2,
        num_filled_s=3.0,
        is_muted=False,
        targets=(
            TargetHealth("standard output", "live", 1_500_000, 0, 0),
            TargetHealth("rtmp://a-host-with-a-very-long-name.example.org/live/…", "retrying", 900_000, 75, 2),
        ),
    )
    stages = {"features": StageTiming(0.5, 1, 1), "model": StageTiming(17, 20, 3), "encode": StageTiming(2, 3, 1)}
    return Snapshot(
        elapsed_s=65, num_frames=1525, media_s=61, num_bytes=3_000_000, time_to_first_byte_s=4, stages=stages, live=live
    )


def drawn(width: int, shown: Snapshot) -> list[str]:
    console = Console(file=StringIO(), width=width, height=40)
    console.print(build_view(shown, USAGE, [1.0, 1.2, 2.0] * 60, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_the_terminal(width: int) -> None:
    lines = drawn(width, snapshot(num_held=12))
    assert max(len(line) for line in lines) <= width
    assert len(lines) <= 11, "nothing is folded into a second line"


def test_it_says_what_one_needs_to_know() -> None:
    text = "\n".join(drawn(80, snapshot()))
    for words in (
        "1:01",
        "25.0 fps",
        "model 59 fps",
        "132 %",
        "1.23 s",
        "p95 2.34",
        "buffer 2.1 s",
        "silence 25 %",
        "2 overruns",
    ):
        assert words in text
    assert "retrying" in text
    assert "features  model" in text


def test_the_slowest_stage_is_named_only_when_time_is_short() -> None:
    assert find_bottleneck(snapshot()) is None
    assert find_bottleneck(snapshot(num_held=12)) is None, "it was short once, and is not now"
    assert find_bottleneck(snapshot(num_held=12, lead_s=-0.6)) == "model"


def test_the_plain_line_has_the_same_figures() -> None:
    line = describe_line(snapshot(num_held=12), USAGE)
    for words in ("61.0 s", "latency 1.23 s (p95 2.34)", "12 held", "skew", "75 dropped", "210 MB"):
        assert words in line


def test_the_sparkline_is_as_long_as_it_may_be() -> None:
    assert sparkline([0.0, 1.0, 2.0], 10) == "▁▅█"
    assert len(sparkline([1.0] * 100, 10)) == 10
    assert sparkline([], 10) == ""


def test_a_sentence_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    dashboard = LiveDashboard()
    try:
        dashboard.tell("take[/1].mp4 is gone: [red] it is full")
    finally:
        dashboard.close()
    assert "take[/1].mp4 is gone: [red] it is full" in capsys.readouterr().err


def test_usage_is_measured() -> None:
    usage = UsageMeter().read()
    assert usage.rss_mb > 20
    assert usage.num_threads >= 1 or sys.platform != "linux"


def test_keys_mute_interrupt_and_stop(tmp_path: Path) -> None:
    """In a real terminal: m mutes, c interrupts, q ends it cleanly."""
    voice = write_wav(tmp_path / "long.wav", tone(40.0))  # after the interruption, there is more to say
    command = [sys.executable, "-m", "musetalk_cli", "stream", "-i", str(voice), "--size", "96", "--block", "0.4"]
    keys = [(b"live", b"m"), (b"muted", b"c"), (b"interrupted after", b"q")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*command, "-o", str(tmp_path / "take.mp4")])  # noqa: S606 - a list, no shell
    text, pressed, deadline = b"", 0, time.monotonic() + 40
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                text += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            for number, (awaited, key) in enumerate(keys):
                if pressed == number and awaited in text:
                    os.write(terminal, key)
                    pressed += 1
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, text.decode()
    assert pressed == 3
    assert b"stopping" in text
