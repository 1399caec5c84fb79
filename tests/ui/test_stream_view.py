"""The live display: what it says, and that it fits."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
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
from musetalk_cli.ui.dashboard import LiveDashboard, TimeLeft, describe_progress
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


def test_the_plain_line_is_short_and_tells_of_what_is_wrong() -> None:
    line = describe_line(snapshot(num_held=12))
    for words in ("61.0 s", "latency 1.23 s", "12 held", "retrying (75 dropped)"):
        assert words in line
    assert "standard output" not in line
    assert len(describe_line(snapshot()._replace(live=None))) < 40


def test_nothing_is_estimated_before_there_is_a_pace() -> None:
    left = TimeLeft()
    early = Snapshot(elapsed_s=2.1, media_s=0.1, total_s=60.0, speed=0.05, time_to_first_byte_s=1.9)
    assert describe_progress(early, left.estimate(early)) == "0.1 of 60.0 s · 0.1×"  # 1140 s left, by the speed
    later = early._replace(elapsed_s=4.2, media_s=20.1, speed=5.1)
    assert describe_progress(later, left.estimate(later)) == "20.1 of 60.0 s · 5.1× · 4 s left"


def test_no_more_is_done_than_there_is() -> None:
    last = Snapshot(elapsed_s=5.0, media_s=6.96, total_s=6.94, speed=1.4, time_to_first_byte_s=1.0)
    assert describe_progress(last, 0.0) == "6.9 of 6.9 s · 1.4× · 0 s left"


def test_the_time_left_never_grows_while_a_batch_is_made() -> None:
    """One frame at first, then eight every 100 s, as a neural model on a CPU makes them."""
    left, told = TimeLeft(), []
    for elapsed_s in range(0, 500, 5):
        media_s = 0.04 * (1 + 8 * (elapsed_s // 100))
        told.append(left.estimate(Snapshot(elapsed_s=float(elapsed_s), media_s=media_s, total_s=10.0)))
    assert told[:20] == [None] * 20  # the first batch says nothing yet
    assert told[20] == pytest.approx((10.0 - 9 * 0.04) / 0.32 * 100)
    for batch in range(1, 5):
        part = told[20 * batch : 20 * batch + 20]
        assert part == sorted(part, reverse=True)
        assert part[0] == pytest.approx(told[20] - 100 * (batch - 1))


@pytest.mark.needs("tmux")
def test_a_terminal_that_becomes_narrower_keeps_no_old_rows(tmp_path: Path) -> None:
    """A view of three lines, in a terminal that wraps what has become too long."""
    script = (
        "import sys, time\n"
        "from rich.console import Group\n"
        "from rich.text import Text\n"
        "from musetalk_cli.ui.dashboard import LiveDashboard\n"
        "print('above\\n' * 9, file=sys.stderr)\n"  # the terminal scrolls it away as lines below are wrapped
        "dashboard = LiveDashboard()\n"
        "for width in iter(sys.stdin.readline, ''):\n"
        "    while dashboard.width != int(width):\n"  # tmux passes it on a little later
        "        time.sleep(0.01)\n"
        "    lines = [Text('first ' * 50, no_wrap=True, overflow='ellipsis'), Text('second'), Text(width.strip())]\n"
        "    dashboard.draw(Group(*lines))\n"
    )
    terminal = ("tmux", "-L", f"musetalk-test-{os.getpid()}")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", script]
    command = f"exec env -u COLUMNS -u LINES {shlex.join(argv)} < {shlex.quote(str(fifo))}"
    subprocess.run([*terminal, "new-session", "-d", "-x", "120", "-y", "20", command], check=True)
    try:
        with fifo.open("w", buffering=1) as draw:
            for width in ("120", "110", "60", "31"):
                subprocess.run([*terminal, "resize-window", "-x", width], check=True)
                draw.write(f"{width}\n")
                rows = wait_for_rows(terminal, width)
                assert [row.split()[0] for row in rows] == ["first", "second", width]
    finally:
        subprocess.run([*terminal, "kill-server"], check=False)


def wait_for_rows(terminal: tuple[str, ...], last: str) -> list[str]:
    """The rows on the screen and above it, once ``last`` is among them."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        shown = subprocess.run(
            [*terminal, "capture-pane", "-p", "-S", "-50"], capture_output=True, text=True, check=True
        )
        rows = [row for row in shown.stdout.splitlines() if row.strip() and row != "above"]
        if last in rows:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"{last} did not appear")


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


@pytest.mark.parametrize("width", [100, 119, 120, 130, 200])
def test_the_first_line_leaves_out_what_does_not_fit(width: int) -> None:
    head = drawn(width, snapshot()._replace(time_to_first_fragment_s=1.25))[0]
    assert "…" not in head
    assert ("first frame after 1.25 s" in head) == (width >= 120)


@pytest.mark.parametrize(("width", "has_stages"), [(80, False), (100, True), (120, True)])
def test_milliseconds_of_stages_are_for_a_wide_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, has_stages: bool
) -> None:
    shown: list[object] = []
    monkeypatch.setattr(LiveDashboard, "width", width)
    monkeypatch.setattr(LiveDashboard, "draw", lambda self, view: shown.append(view))
    LiveDashboard().show(snapshot())
    console = Console(file=StringIO(), width=width)
    console.print(shown[0])
    assert ("ms/frame" in console.file.getvalue()) == has_stages  # type: ignore[attr-defined]
