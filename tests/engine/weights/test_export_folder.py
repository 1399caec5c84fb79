"""The folder of an export, in which others may write while the graphs are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from musetalk_cli.engine.weights.onnx_export import MANIFEST, _new_folder
from musetalk_cli.errors import ModelError


@pytest.mark.parametrize(("is_replacing", "words"), [(False, "exists already"), (True, "is no export")])
def test_what_comes_into_the_folder_meanwhile_is_not_lost(tmp_path: Path, is_replacing: bool, words: str) -> None:
    target = tmp_path / "out"
    target.mkdir()

    def export() -> None:
        with _new_folder(target, is_replacing=is_replacing) as folder:
            (folder / MANIFEST).write_text("{}")
            (target / "notes.txt").write_text("mine")

    with pytest.raises(ModelError, match=words):
        export()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/notes.txt"]


def test_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for number in range(2):
        with _new_folder(target, is_replacing=True) as folder:
            (folder / MANIFEST).write_text(json.dumps({"graphs": [], "number": number}))
    assert json.loads((target / MANIFEST).read_text())["number"] == 1
    assert len(list(tmp_path.rglob("*"))) == 2
