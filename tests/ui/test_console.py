from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from musetalk_cli.engine.avatar.preparation.settings import Progress
from musetalk_cli.ui.console import OutputMode, own_stderr, printable, say
from musetalk_cli.ui.dashboard import LiveDashboard
from musetalk_cli.ui.downloads import TransferDisplay
from musetalk_cli.ui.progress import ProgressDisplay


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ×, ü 你好 🙂 👩\u200d🚀", "plain – ×, ü 你好 🙂 👩\u200d🚀"),
        ("two\nlines\r\nor three", "two lines or three"),
        ("\x1b[2Jgone.wav", "\\x1b[2Jgone.wav"),
        ("bell\x07 back\x08 \x9b31m", "bell\\x07 back\\x08 \\x9b31m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("not text \udcff", "not text \\udcff"),
    ],
)
def test_what_a_name_does_to_a_terminal_is_shown_and_not_done(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[A\nb")
    assert capsys.readouterr().err == "a\\x1b[A b\n"


def test_without_a_descriptor_to_spare_it_is_told_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", refuse)
    with own_stderr():
        say("told")
    assert capsys.readouterr().err == "told\n"


@pytest.mark.parametrize(
    "open_display",
    [LiveDashboard, lambda: ProgressDisplay(is_quiet=False), lambda: TransferDisplay(is_quiet=False)],
    ids=["dashboard", "progress", "transfer"],
)
def test_a_display_that_is_drawn_shows_a_line_as_any_other(
    open_display: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("musetalk_cli.ui.progress.output_mode", lambda is_quiet: OutputMode.TERMINAL)
    monkeypatch.setattr("musetalk_cli.ui.downloads.output_mode", lambda is_quiet: OutputMode.TERMINAL)
    logged: list[str] = []
    monkeypatch.setattr("musetalk_cli.ui.console.also_told", [logged.append])
    display = open_display()
    with closing(display) if hasattr(display, "close") else display:
        if isinstance(display, ProgressDisplay):
            display(Progress("hash", 1, 2))
        (display.say if isinstance(display, TransferDisplay) else display.tell)("\x1b]0;x\x07 gnp.\u202eexe")
    assert "\\x1b]0;x\\x07 gnp.\\u202eexe" in capsys.readouterr().err
    assert logged == ["\\x1b]0;x\\x07 gnp.\\u202eexe"]
