"""docs/python.md: its examples run, one after the other, and it names every function."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import musetalk_cli
from fixtures.clips import portrait_image
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(
    number: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = EXAMPLES[number]
    if "prepare_avatar" in code:
        face_models: FaceModels = request.getfixturevalue("face_models")
        monkeypatch.setenv("MUSETALK_FACE_MODELS", str(face_models.mesh.parent))
        assert cv2.imwrite(str(tmp_path / "me.png"), portrait_image(256))
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    shutil.copyfile(ROOT / "examples" / "hello.wav", tmp_path / "hello.wav")
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_every_function_is_described() -> None:
    functions = {name for name in musetalk_cli.__all__ if name.islower() and not name.startswith("_")}
    assert {name for name in functions if f"`{name}(" not in DOCUMENT} == set()
