"""The face nets are found where they are, downloaded once where they are not, and never taken unchecked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from musetalk_cli.engine.avatar.preparation import face_models
from musetalk_cli.engine.avatar.preparation.face_models import VARIABLE, PinnedFile, find_face_models, find_segmenter
from musetalk_cli.errors import AvatarError
from musetalk_cli.system.locks import lock_folder

DETECTOR, MESH, SEGMENTER = b"a detector", b"a mesh net", b"a segmenter"

# Stands in for pip: copies the wheel that it is given as its first argument to where pip was told to put it.
FAKE_PIP = """
import shutil, sys
wheel, arguments = sys.argv[1], sys.argv[2:]
assert arguments[0] == "download" and "--no-deps" in arguments, arguments
target = arguments[arguments.index("--dest") + 1]
import os; os.makedirs(target)
shutil.copy(wheel, target)
"""


@pytest.fixture(autouse=True)
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files in place of the real ones; no pip and no mediapipe but what a test brings."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(face_models, "DETECTOR", pin("modules/face/detector.tflite", DETECTOR))
    monkeypatch.setattr(face_models, "MESH", pin("modules/face/mesh.tflite", MESH))
    monkeypatch.setattr(face_models, "SEGMENTER", pin("modules/selfie/segmenter.tflite", SEGMENTER))
    monkeypatch.setattr(face_models, "_mediapipe_folder", lambda: None)
    monkeypatch.setattr(face_models, "_pip", lambda: pytest.fail("pip must not be asked"))


def pin(path: str, data: bytes) -> PinnedFile:
    return PinnedFile(path, hashlib.sha256(data).hexdigest())


def folder_with(folder: Path, detector: bytes = DETECTOR, mesh: bytes = MESH) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "detector.tflite").write_bytes(detector)
    (folder / "mesh.tflite").write_bytes(mesh)
    return folder


def bring_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str = FAKE_PIP, mesh: bytes = MESH) -> Path:
    wheel = tmp_path / "package.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mediapipe/modules/face/detector.tflite", DETECTOR)
        archive.writestr("mediapipe/modules/face/mesh.tflite", mesh)
        archive.writestr("mediapipe/modules/selfie/segmenter.tflite", SEGMENTER)
    (tmp_path / "fake_pip.py").write_text(script)
    monkeypatch.setattr(face_models, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(face_models, "_pip", lambda: [sys.executable, str(tmp_path / "fake_pip.py"), str(wheel)])
    return wheel


def test_a_named_folder_is_used_and_nothing_else(tmp_path: Path) -> None:
    given = folder_with(tmp_path / "given")
    models = find_face_models(given, tmp_path / "cache", pytest.fail)
    assert (models.detector, models.mesh) == (given / "detector.tflite", given / "mesh.tflite")
    assert not (tmp_path / "cache").exists()


def test_the_environment_names_a_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(folder_with(tmp_path / "named")))
    assert find_face_models(None, tmp_path / "cache", pytest.fail).mesh == tmp_path / "named" / "mesh.tflite"


def test_a_named_folder_without_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"^there is no detector\.tflite in ") as raised:
        find_face_models(tmp_path, tmp_path / "cache", pytest.fail)
    assert "detector.tflite and mesh.tflite" in raised.value.hint


def test_another_file_of_that_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(folder_with(tmp_path / "named", mesh=b"something else")))
    with pytest.raises(AvatarError, match=rf"{VARIABLE}: .*mesh\.tflite is not the file"):
        find_face_models(None, tmp_path / "cache", pytest.fail)


def test_the_cache_is_used_without_a_word(tmp_path: Path) -> None:
    cache = folder_with(tmp_path / "cache")
    assert find_face_models(None, cache, pytest.fail).detector == cache / "detector.tflite"


def test_an_installed_mediapipe_is_used_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv(VARIABLE, raising=False)
    package = tmp_path / "site" / "mediapipe"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for pinned, data in ((face_models.DETECTOR, DETECTOR), (face_models.MESH, MESH)):
        (package / pinned.path).parent.mkdir(parents=True)
        (package / pinned.path).write_bytes(data)
    monkeypatch.setattr(face_models, "DETECTOR", pin(face_models.DETECTOR.path, DETECTOR))
    monkeypatch.setattr(face_models, "MESH", pin(face_models.MESH.path, MESH))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    found = find_face_models(None, tmp_path / "cache", pytest.fail)
    assert found.mesh == package / face_models.MESH.path
    assert "mediapipe" not in sys.modules


def test_they_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_pip(monkeypatch, tmp_path)
    said: list[str] = []
    cache = tmp_path / "cache" / "deep"
    models = find_face_models(None, cache, said.append)
    assert (models.detector.read_bytes(), models.mesh.read_bytes()) == (DETECTOR, MESH)
    assert "36 MB" in said[0]
    assert str(cache) in said[-1]
    assert sorted(path.name for path in cache.iterdir()) == ["detector.tflite", "mesh.tflite", "segmenter.tflite"]
    monkeypatch.setattr(face_models, "_pip", lambda: pytest.fail("pip must not be asked again"))
    find_face_models(None, cache, pytest.fail)
    assert find_segmenter(None, cache, pytest.fail).read_bytes() == SEGMENTER


def test_what_cuts_out_a_person_is_found_or_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, cache = folder_with(tmp_path / "given"), folder_with(tmp_path / "cache")
    bring_pip(monkeypatch, tmp_path)
    assert find_segmenter(given, cache, lambda line: None) == cache / "segmenter.tflite"
    (given / "segmenter.tflite").write_bytes(b"something else")
    monkeypatch.setattr(face_models, "_pip", lambda: pytest.fail("pip must not be asked again"))
    assert find_segmenter(given, cache, pytest.fail) == cache / "segmenter.tflite"
    (given / "segmenter.tflite").write_bytes(SEGMENTER)
    assert find_segmenter(given, cache, pytest.fail) == given / "segmenter.tflite"


def test_a_damaged_file_in_the_cache_is_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder_with(tmp_path / "cache", mesh=MESH[:-1])
    bring_pip(monkeypatch, tmp_path)
    assert find_face_models(None, cache, lambda line: None).mesh.read_bytes() == MESH


def test_progress_is_reported_while_it_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_pip(monkeypatch, tmp_path, FAKE_PIP + "\nimport time; time.sleep(0.5)")
    monkeypatch.setattr(face_models, "REPORT_EVERY_S", 0.05)
    said: list[str] = []
    find_face_models(None, tmp_path / "cache", said.append)
    assert any(" of 36 MB" in line for line in said[1:-1])


def test_another_wheel_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_pip(monkeypatch, tmp_path)
    monkeypatch.setattr(face_models, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(AvatarError, match="sha256 differs"):
        find_face_models(None, tmp_path / "cache", lambda line: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_with_another_net_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_pip(monkeypatch, tmp_path, mesh=b"another net")
    with pytest.raises(AvatarError, match=r"mesh\.tflite from package\.whl is damaged"):
        find_face_models(None, tmp_path / "cache", lambda line: None)
    assert not (tmp_path / "cache" / "mesh.tflite").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [("WARNING: Retrying after NewConnectionError", "cannot reach its package index"), ("ERROR: full", ": full")],
)
def test_what_pip_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, told: str) -> None:
    bring_pip(monkeypatch, tmp_path, f"import sys; print({line!r}, file=sys.stderr); sys.exit(1)")
    with pytest.raises(AvatarError, match=told) as raised:
        find_face_models(None, tmp_path / "cache", lambda line: None)
    assert "'face_models'" in raised.value.hint


def test_a_full_disk_is_told_though_pip_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_pip(monkeypatch, tmp_path, "import sys; sys.exit(2)")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=4096))
    with pytest.raises(AvatarError, match=r"cannot be written to .*: no space left on device") as raised:
        find_face_models(None, tmp_path / "cache", lambda line: None)
    assert raised.value.hint == "free some space"
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_pip_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(face_models, "_mediapipe_folder", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(AvatarError, match="there is no pip") as raised:
        find_face_models(None, tmp_path / "cache", lambda line: None)
    assert "face_landmark.tflite" in raised.value.hint


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_pip(monkeypatch, tmp_path)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(AvatarError, match="cannot be written to"):
        find_face_models(None, tmp_path / "cache", lambda line: None)


DOWNLOADING = """
import sys
from pathlib import Path
from musetalk_cli.engine.avatar.preparation import face_models
cache = Path(sys.argv[1])
face_models._mediapipe_folder = lambda: None
face_models._pip = lambda: [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
face_models.find_face_models(None, cache, lambda line: None)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_neither_pip_nor_its_folder_outlives_a_download_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    child = subprocess.Popen([sys.executable, "-c", DOWNLOADING, str(cache)], env=environment)
    while not (logs := [log for log in cache.glob(".downloading-*/pip.log") if log.read_text().strip()]):
        assert child.poll() is None
        time.sleep(0.02)
    pip = psutil.Process(int(logs[0].read_text()))
    child.kill()
    child.wait()
    pip.wait(10)
    (cache / ".downloading-in-use").mkdir()
    bring_pip(monkeypatch, tmp_path)
    with lock_folder(cache / ".downloading-in-use", waits=True):
        find_face_models(None, cache, lambda line: None)
    assert sorted(path.name for path in cache.iterdir()) == [
        ".downloading-in-use",
        "detector.tflite",
        "mesh.tflite",
        "segmenter.tflite",
    ]
