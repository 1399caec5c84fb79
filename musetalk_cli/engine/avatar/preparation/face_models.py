"""Finds the two small face nets: in a folder, the cache or an installed mediapipe, or by one pinned download.

Both are MediaPipe's (Apache-2.0). They travel inside its wheel, which is downloaded for them alone: nothing of
it is installed.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from musetalk_cli.engine.runtime.files import hash_file, replace_file
from musetalk_cli.engine.runtime.reaper import reaper
from musetalk_cli.errors import AvatarError, system_words
from musetalk_cli.option_names import option
from musetalk_cli.system.locks import lock_folder, new_locked_folder

VARIABLE = "MUSETALK_FACE_MODELS"
OPTION = "--face-models"


@dataclass(frozen=True)
class PinnedFile:
    """A file that must be exactly this one: where it lies in mediapipe's folder, and its sha256."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[1]


DETECTOR = PinnedFile(
    "modules/face_detection/face_detection_short_range.tflite",
    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
)
MESH = PinnedFile(
    "modules/face_landmark/face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)
SEGMENTER = PinnedFile(
    "modules/selfie_segmentation/selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
)
# The last release that carries the files. They are the same in its wheels for every platform, so one is named.
RELEASE = "mediapipe==0.10.21"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
WHEEL_BYTES = 35_600_000
WHEEL_OPTIONS = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--abi", "cp311"]
PIP_OPTIONS = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"]
# Unanswered connections end the attempt; a slow one may take its time.
PIP_PATIENCE = ["--timeout", "15", "--retries", "1"]
REPORT_EVERY_S = 3.0
DOWNLOADING = ".downloading-"


@dataclass(frozen=True)
class FaceModels:
    """The two TFLite files: the short-range face ``detector`` and the 468-point ``mesh``."""

    detector: Path
    mesh: Path


def find_face_models(given: Path | None, cache: Path, say: Callable[[str], None]) -> FaceModels:
    """Find the two files, or download them once into ``cache`` (a folder, made when missing).

    Searches ``given`` (a folder that holds both), then the folder named by MUSETALK_FACE_MODELS, the cache and an
    installed mediapipe; then downloads with pip, telling ``say`` in whole lines. Every file is checked by its sha256.
    Raises AvatarError when a given folder lacks a file, a file is not the expected one, or nothing could be downloaded.
    """
    if (located := locate_face_models(given, cache)) is not None:
        return located
    _download(cache, say, (DETECTOR, MESH), (SEGMENTER,))
    return FaceModels(cache / DETECTOR.name, cache / MESH.name)


def find_segmenter(given: Path | None, cache: Path, say: Callable[[str], None]) -> Path:
    """Find the net that cuts a person out, in the places of ``find_face_models``, or download it likewise; a folder
    that is named need not hold it. Raises AvatarError when it could not be downloaded."""
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    installed = _mediapipe_folder()
    places = [folder / SEGMENTER.name for folder in (named, cache) if folder is not None]
    places += [installed / SEGMENTER.path] if installed else []
    found = next((path for path in places if path.is_file() and _is_it(path, SEGMENTER)), None)
    if found is None:
        _download(cache, say, (SEGMENTER,))
    return found or cache / SEGMENTER.name


def locate_face_models(given: Path | None, cache: Path) -> FaceModels | None:
    """The two files where they are on this computer, in the order of ``find_face_models``; None where they are not.

    Raises AvatarError when a given folder lacks a file, or a file in it is not the expected one.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        return _take_named(named, "" if given else f"{VARIABLE}: ")
    return _installed(cache, in_mediapipe=False) or _installed(_mediapipe_folder(), in_mediapipe=True)


def _take_named(folder: Path, where: str) -> FaceModels:
    for file in (DETECTOR, MESH):
        path = folder / file.name
        if not path.is_file():
            raise AvatarError(f"{where}there is no {file.name} in {folder}", hint=_by_hand())
        if not _is_it(path, file):
            raise AvatarError(f"{where}{path} is not the file of {RELEASE}: its sha256 differs", hint=_by_hand())
    return FaceModels(folder / DETECTOR.name, folder / MESH.name)


def _installed(folder: Path | None, *, in_mediapipe: bool) -> FaceModels | None:
    """The two files of a folder when both are there and whole; a damaged one counts as missing."""
    if folder is None:
        return None
    paths = [folder / (file.path if in_mediapipe else file.name) for file in (DETECTOR, MESH)]
    is_whole = all(path.is_file() and _is_it(path, file) for path, file in zip(paths, (DETECTOR, MESH), strict=True))
    return FaceModels(*paths) if is_whole else None


def _mediapipe_folder() -> Path | None:
    """Where mediapipe is installed, without importing it."""
    spec = importlib.util.find_spec("mediapipe")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _is_it(path: Path, file: PinnedFile) -> bool:
    try:
        return hash_file(path) == file.sha256
    except OSError:
        return False


def _download(
    cache: Path, say: Callable[[str], None], files: Sequence[PinnedFile], others: Sequence[PinnedFile] = ()
) -> None:
    """Put ``files`` into the cache; ``others`` too, as they may be wanted later and are in the same wheel."""
    try:
        with _download_folder(cache) as folder:
            say(f"downloading the face models, once: {WHEEL_BYTES / 1e6:.0f} MB")
            wheel = _download_wheel(folder, say)
            for file in files:
                _unpack(wheel, file, cache / file.name)
            for file in others:
                with suppress(AvatarError):
                    _unpack(wheel, file, cache / file.name)
    except OSError as error:
        problem = system_words(error)
        hint = "free some space" if error.errno == errno.ENOSPC else _by_hand()
        raise AvatarError(f"the face models cannot be written to {cache}: {problem}", hint=hint) from error
    say(f"the face models are in {cache}")


@contextmanager
def _download_folder(cache: Path) -> Iterator[Path]:
    """A folder that is gone afterwards; those of processes that were killed go, too. A running one locks its own."""
    cache.mkdir(parents=True, exist_ok=True)
    for remains in cache.glob(f"{DOWNLOADING}*"):
        with suppress(OSError), lock_folder(remains, waits=False):
            shutil.rmtree(remains, ignore_errors=True)
    with new_locked_folder(lambda: Path(tempfile.mkdtemp(prefix=DOWNLOADING, dir=cache))) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _download_wheel(folder: Path, say: Callable[[str], None]) -> Path:
    """Let pip download the wheel into a folder; pip knows the user's index, proxy and certificates."""
    target = folder / "wheel"
    command = [*_pip(), "download", *PIP_OPTIONS, *PIP_PATIENCE, *WHEEL_OPTIONS, "--dest", str(target), RELEASE]
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_NO_CACHE_DIR": "1"}
    with (
        (folder / "pip.log").open("w+", encoding="utf-8") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment) as pip,
    ):
        reaper.add(pip.pid)
        try:
            _watch(pip, folder, say)
        finally:
            pip.kill()
            pip.wait()
            reaper.remove(pip.pid)
        log.seek(0)
        said = log.read().strip()
    wheels = list(target.glob("*.whl"))
    if pip.returncode or not wheels:
        if not said and shutil.disk_usage(folder).free < WHEEL_BYTES:  # the log is on the disk that is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise AvatarError(f"the face models could not be downloaded: {_reason(said)}", hint=_by_hand())
    if hash_file(wheels[0]) != WHEEL_SHA256:
        raise AvatarError(f"what was downloaded as {RELEASE} is not that: its sha256 differs", hint=_by_hand())
    return wheels[0]


def _reason(log: str) -> str:
    if "Retrying" in log:
        return "pip cannot reach its package index"
    return (log.splitlines() or ["pip gave no reason"])[-1].removeprefix("ERROR: ")


def _watch(pip: subprocess.Popen[bytes], folder: Path, say: Callable[[str], None]) -> None:
    while True:
        try:
            pip.wait(REPORT_EVERY_S)
            return
        except subprocess.TimeoutExpired:
            num_bytes = sum(path.stat().st_size for path in folder.rglob("*.whl") if path.is_file())
            say(f"downloading the face models: {num_bytes / 1e6:.0f} of {WHEEL_BYTES / 1e6:.0f} MB")


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise AvatarError("the face models cannot be downloaded: there is no pip", hint=_by_hand())
    return [found]


def _unpack(wheel: Path, file: PinnedFile, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(f"mediapipe/{file.path}")
    except (KeyError, zipfile.BadZipFile) as error:
        raise AvatarError(f"{wheel.name} does not hold {file.name}: {error}", hint=_by_hand()) from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise AvatarError(f"{file.name} from {wheel.name} is damaged: its sha256 differs", hint=_by_hand())
    with replace_file(target) as staged:
        staged.write_bytes(data)


def _by_hand() -> str:
    return (
        f"{DETECTOR.name} and {MESH.name} are wanted; both are in the wheel of {RELEASE} on PyPI, under "
        f"mediapipe/modules: put them into one folder and name it with {option(OPTION)} or {VARIABLE}; what cuts out a "
        f"person, {SEGMENTER.name}, goes there too"
    )
