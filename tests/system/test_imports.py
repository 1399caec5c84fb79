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
