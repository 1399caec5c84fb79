"""The display of a batch, and the table at its end."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.ui.batch_view import MAX_ROWS, BatchProgress, BatchView, FileResult, Tally, draw_progress

GOOD = FileResult("a.wav", "out/a.mp4", 125, 5.0, 2.0, 2.5)
BAD = FileResult("b.wav", "out/b.mp4", 0, 0.0, 0.1, 0.0, "b.wav does not exist")


def describe(results: list[FileResult], num_total: int | None = None, num_skipped: int = 0) -> list[str]:
    tally = Tally()
    for each in results:
        tally.add(each)
    return tally.describe(4.0, num_total, num_skipped)


def test_the_table_has_a_line_for_each_file_and_a_sum() -> None:
    assert describe([GOOD, BAD], 3, 7) == [
        "file   frames  seconds  speed  result",
        "a.wav     125      5.0   2.5×  out/a.mp4",
        "b.wav                          error: b.wav does not exist",
        "1 of 3 files, 125 frames, 5.0 s in 4.0 s (1.2× real time), 1 failed, 7 were whole already",
    ]


def test_of_very_many_files_only_those_that_failed_are_shown() -> None:
    lines = describe([GOOD] * MAX_ROWS + [BAD])
    assert len(lines) == 3
    assert "b.wav does not exist" in lines[1]
    assert lines[2].startswith(f"{MAX_ROWS} of {MAX_ROWS + 1} files")


def test_nothing_to_do_is_said() -> None:
    assert describe([], 0, 12) == ["nothing to do: 12 files were whole already"]


def test_the_live_table_shows_what_runs() -> None:
    running = [(f"{'long/' * 20}name.wav", Snapshot(elapsed_s=2, media_s=5, total_s=10, speed=2.5))]
    progress = BatchProgress(running, num_done=11, num_failed=1, num_total=24, elapsed_s=12.0)
    text = StringIO()
    Console(file=text, width=100).print(draw_progress(progress, {running[0][0]: 7.0}))
    assert "12 of 24 files · 1 failed · 12 s left" in text.getvalue()
    assert "long/name.wav" in text.getvalue()
    assert "5.0 of 10.0 s · 2.5× · 7 s left" in text.getvalue()


@pytest.mark.parametrize(("is_quiet", "lines"), [(False, 2), (True, 1)])
def test_plain_lines_where_nothing_can_be_drawn(capsys: pytest.CaptureFixture[str], is_quiet: bool, lines: int) -> None:
    view = BatchView(is_quiet=is_quiet)
    view.note(GOOD, 2)
    view.note(BAD, 2)
    view.close()
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "[2/2] b.wav: error: b.wav does not exist"
    assert len(said) == lines
