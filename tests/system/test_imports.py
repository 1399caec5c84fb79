from __future__ import annotations

import sys
from pathlib import Path

import pytest

from musetalk_cli.system.imports import load_apart


def test_the_module_finds_an_empty_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far_down.py").write_text("import traceback\ndepth = len(traceback.extract_stack())\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def load_below(depth: int) -> None:
        load_below(depth - 1) if depth else load_apart("far_down")

    load_below(100)
    assert sys.modules.pop("far_down").depth < 30


def test_what_cannot_be_loaded_is_said_where_it_was_wanted() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_apart("no_such_library")


@pytest.mark.skipif(sys.platform == "win32", reason="no signals for a thread")
def test_an_interruption_does_not_wait_for_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_load.py").write_text(
        "import signal, threading\n"
        "may_end = threading.Event()\n"
        "signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
        "may_end.wait()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        load_apart("slow_to_load")
    module = sys.modules["slow_to_load"]
    assert module.__spec__ and module.__spec__._initializing  # type: ignore[attr-defined]
    module.may_end.set()
