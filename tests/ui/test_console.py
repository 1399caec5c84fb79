from __future__ import annotations

import pytest

from musetalk_cli.ui.console import printable, say


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
