"""Keys of Windows' console, pretended."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from musetalk_cli.ui import keys


def test_keys_of_a_console(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = list("c\xe0Hq\0;")  # with an arrow and F1, which come in two parts
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(kbhit=lambda: bool(typed), getwch=lambda: typed.pop(0)))
    monkeypatch.setitem(sys.modules, "termios", None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(keys, "is_terminal", lambda: True)
    console = keys.Keys()
    assert console.read() == "cq"
    assert console.read() == ""
    console.close()
