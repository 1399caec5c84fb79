"""Shared by all tests: no test leaves a thread or a child process behind, and system programs are asked for by name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import native_build
from fixtures.fakes import tone
from fixtures.media import write_wav
from fixtures.programs import find_ffmpeg
from musetalk_cli import ending
from musetalk_cli.app.settings.folders import cache_folder
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels, find_face_models, find_segmenter
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.errors import AvatarError

# The settings of whoever runs the tests must not change them; commands that a test starts inherit this.
os.environ["MUSETALK_CONFIG"] = ""
# Nor must how the tests were started: in the background of a script, or by nohup, where some signals are ignored.
for _number in ending.SIGNALS:
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the native kernel beside its sources, if they changed, before any worker of xdist starts.

    Without a compiler, and with ``MUSETALK_NATIVE=0``, the tests run with numpy; in CI there is a compiler.
    """
    if hasattr(config, "workerinput") or native_build.is_switched_off():
        return
    try:
        native_build.build_in_place()
    except native_build.NoCompilerError as error:
        if os.environ.get("CI"):
            raise pytest.UsageError(f"the native kernel cannot be compiled: {error}\n{error.said}") from error


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip where a system program is missing, with its name; in CI, which installs them all, fail."""
    for marker in item.iter_markers("needs"):
        missing = [name for name in marker.args if shutil.which(name) is None]
        if missing:
            reason = f"needs {', '.join(missing)} on PATH"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Every thread and child process that a test started has ended when it ends."""
    threads, children = set(threading.enumerate()), _children()
    yield
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and (set(threading.enumerate()) - threads or _children() - children):
        time.sleep(0.01)
    assert not set(threading.enumerate()) - threads
    assert not _children() - children


def _children() -> set[str]:
    children = set()
    for task in Path("/proc/self/task").glob("*/children") if sys.platform == "linux" else ():
        try:
            children |= set(task.read_text().split())
        except OSError:
            continue  # the thread has ended meanwhile
    return children


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    return find_ffmpeg()


@pytest.fixture(scope="session")
def face_models() -> FaceModels:
    """The two face nets: what is in the cache, else fetched once. Without them and a network, skip; in CI, fail."""
    try:
        return find_face_models(None, cache_folder() / "face-models", lambda line: None)
    except AvatarError as error:
        reason = f"needs the face models: {error}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def segmenter(face_models: FaceModels) -> Path:
    """The net that cuts out a person, from where the face nets are."""
    return find_segmenter(face_models.mesh.parent, cache_folder() / "face-models", lambda line: None)


@pytest.fixture(scope="session")
def finder(face_models: FaceModels) -> FaceFinder:
    return FaceFinder(face_models)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """2.5 s that a net may take for a voice: a buzz with a syllable rhythm, then silence."""
    times = np.arange(int(2.5 * 16_000)) / 16_000
    buzz = np.sign(np.sin(2 * np.pi * 120 * times)) * np.clip(np.sin(2 * np.pi * 4 * times), 0, 1) * (times < 2)
    return write_wav(tmp_path / "speech.wav", (8_000 * buzz).astype(np.int16)[:, None], 16_000)


@pytest.fixture
def run_cli() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the real command line as a user would; output is bytes."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "musetalk_cli", *map(str, args)]
        return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload]

    return run


@pytest.fixture
def tone_wav(tmp_path: Path) -> Callable[..., Path]:
    """Write a tone of some seconds: ``tone_wav(2.0, num_channels=2)``."""

    def write(duration_s: float, num_channels: int = 1) -> Path:
        return write_wav(tmp_path / f"tone-{duration_s}-{num_channels}.wav", tone(duration_s, num_channels))

    return write
