"""A prepared avatar on disk: the files in its folder, and their checks when it is opened.

docs/formats.md describes the format for others.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar, MeshLandmarks
from musetalk_cli.engine.avatar.avatar_schema import find_problem
from musetalk_cli.engine.avatar.frame_store import PNG_HEAD, StoredAlphas, StoredFrames, read_image_size
from musetalk_cli.engine.avatar.frames import (
    AvatarAlphas,
    AvatarFrames,
    FramesOnBackground,
    StillAlpha,
    StillFrames,
)
from musetalk_cli.engine.avatar.kept_frames import keep_short
from musetalk_cli.engine.avatar.visibility import Visibility
from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.types.arrays import read_arrays as arrays_in
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError, system_words

FORMAT = 1
RECORD_FILE = "avatar.json"
FACES_FILE = "faces.npz"
FRAMES_FILE = "frames.jpegs"
IMAGE_FILE = "image.png"
OLD_IMAGE_FILE = "picture.png"  # the same in avatars of earlier versions
# How much of what is behind a transparent avatar is covered: of a video, and of a still.
ALPHAS_FILE, ALPHA_FILE = "alphas.pngs", "alpha.png"
LISTING_FILE = "faces.png"
MAX_RECORD_BYTES = 1 << 20  # avatar.json is some kilobytes; what is longer is something else

LEAST_FACE_PX = 4  # none that is smaller can be followed

Behind = Callable[[int, int], ByteArray]

_AGAIN = "prepare it again with musetalk prepare-avatar --force"


def on_white(width: int, height: int) -> ByteArray:
    """White, uint8 BGR (height, width, 3)."""
    return np.full((height, width, 3), 255, np.uint8)


@dataclass(frozen=True)
class AvatarRecord:
    """What avatar.json says.

    ``frame_rate`` is None for a still. ``source_name`` and ``source_sha256`` are of the image, video or folder it was
    made from; ``parameters`` are the settings it was made with, values as JSON has them. ``num_missing`` frames had no
    usable face of their own. ``files``: for every file its length, and its SHA-256 unless it has checksums inside.
    """

    width: int
    height: int
    num_frames: int
    frame_rate: Fraction | None
    source_name: str
    source_sha256: str
    parameters: Mapping[str, Any]
    num_missing: int
    files: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> str:
        """The text of avatar.json, its own checksum included."""
        content = {"format": FORMAT, **asdict(self)}
        content["frame_rate"] = None if self.frame_rate is None else str(self.frame_rate)
        return json.dumps({**content, "sha256": _digest(content)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> AvatarRecord:
        """The reverse. Raises AvatarError, naming the avatar, for what is damaged, changed or from a newer version."""
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise _other_format(name, content["format"])
            if content.pop("sha256") != _digest(content):
                raise AvatarError(f"avatar '{name}' is damaged: {RECORD_FILE} was changed", hint=_AGAIN)
            del content["format"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AvatarError(f"avatar '{name}' is damaged: {RECORD_FILE} cannot be read", hint=_AGAIN) from error
        if problem := find_problem(content):
            raise AvatarError(f"avatar '{name}' is damaged: {RECORD_FILE}: {problem}", hint=_AGAIN)
        rate = content.pop("frame_rate")
        return cls(**content, frame_rate=None if rate is None else Fraction(rate))


def _other_format(name: str, found: object) -> AvatarError:
    if isinstance(found, int) and found > FORMAT:
        hint = "update musetalk, or prepare the avatar again"
        return AvatarError(f"avatar '{name}' was made by a newer musetalk (format {found}, not {FORMAT})", hint=hint)
    return AvatarError(f"avatar '{name}' has the unknown format {found!r}, not {FORMAT}", hint=_AGAIN)


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_avatar_folder(folder: Path) -> bool:
    """Whether a folder holds a prepared avatar, whole or damaged."""
    return (folder / RECORD_FILE).is_file()


def read_record(folder: Path) -> AvatarRecord:
    """What an avatar's avatar.json says. Raises AvatarError."""
    path = folder / RECORD_FILE
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise AvatarError(f"avatar '{folder.name}' is damaged: {RECORD_FILE} is too long", hint=_AGAIN)
        return AvatarRecord.from_json(path.read_text(encoding="utf-8"), folder.name)
    except UnicodeDecodeError as error:
        raise AvatarError(f"avatar '{folder.name}' is damaged: {RECORD_FILE} is not text", hint=_AGAIN) from error
    except OSError as error:
        raise AvatarError(f"cannot read the avatar {folder}: {system_words(error)}") from error


def has_alpha(record: AvatarRecord) -> bool:
    """Whether an avatar is transparent around the person."""
    return ALPHAS_FILE in record.files or ALPHA_FILE in record.files


def open_avatar_folder(folder: Path, behind: Behind | None = on_white) -> Avatar:
    """Open a prepared avatar; its frames are read when asked for. One that is transparent is put on what ``behind``
    makes of a width and a height, uint8 BGR (h, w, 3), or, where that is None, has its ``alphas``.

    Raises AvatarError when a file is missing, has another length or checksum than avatar.json says, or does not fit.
    """
    record = read_record(folder)
    while True:
        try:
            return _open_as(record, folder, behind)
        except AvatarError:  # of files that do not fit, since the folder was replaced after its record had been read?
            before, record = record, read_record(folder)
            if record == before:
                raise


def _open_as(record: AvatarRecord, folder: Path, behind: Behind | None) -> Avatar:
    arrays = read_arrays(folder, record, FACES_FILE)
    try:
        points, size = _check_points(arrays["points"], record), (record.width, record.height)
        visibility = Visibility.of_arrays(arrays, size, None if record.frame_rate is None else float(record.frame_rate))
        frames: AvatarFrames
        if record.frame_rate is None:
            frames = _read_still(folder, record)
        else:
            frames = StoredFrames(folder / FRAMES_FILE, *size, *_check_index(arrays, record.num_frames))
        with _closed_by_errors(frames):
            alphas = _open_alphas(folder, record, arrays) if has_alpha(record) else None
            if frames.num_frames != record.num_frames or (frames.width, frames.height) != size:
                raise AvatarError(
                    f"avatar '{folder.name}' is damaged: its images do not fit {RECORD_FILE}", hint=_AGAIN
                )
    except (KeyError, ValueError) as error:
        raise AvatarError(f"avatar '{folder.name}' is damaged: {FACES_FILE} does not fit", hint=_AGAIN) from error
    if alphas is not None and behind is not None:
        frames, alphas = FramesOnBackground(frames, alphas, behind(*size)), None
    landmarks, rate = MeshLandmarks(points), record.frame_rate
    if rate is not None:
        frames = keep_short(frames)
    return Avatar(folder.name, frames, rate, landmarks, points=points, visibility=visibility, alphas=alphas)


@contextmanager
def _closed_by_errors(frames: AvatarFrames) -> Iterator[None]:
    try:
        yield
    except BaseException:
        frames.close()
        raise


def _open_alphas(folder: Path, record: AvatarRecord, arrays: Mapping[str, NDArray[Any]]) -> AvatarAlphas:
    """How much each frame covers. Raises AvatarError, KeyError or ValueError."""
    if record.frame_rate is None:
        return StillAlpha(_read_image(folder / ALPHA_FILE, record, cv2.IMREAD_GRAYSCALE))
    index = {name: arrays[f"alpha_{name}"] for name in ("offsets", "checksums")}
    return StoredAlphas(folder / ALPHAS_FILE, record.width, record.height, *_check_index(index, record.num_frames))


def _check_points(points: NDArray[Any], record: AvatarRecord) -> NDArray[np.float32]:
    """Raises ValueError for faces that no image of this size can have: work and memory grow with a face."""
    if points.dtype != np.float32 or points.shape != (record.num_frames, 468, 2):
        raise ValueError("points")
    low, high, side = points.min(axis=1), points.max(axis=1), max(record.width, record.height)
    if not ((low >= -side) & (high <= 2 * side) & (high - low >= LEAST_FACE_PX)).all():  # nor where it is not a number
        raise ValueError("points")
    middle = (low + high) / 2
    if record.frame_rate is None and not ((middle >= 0) & (middle < (record.width, record.height))).all():
        raise ValueError("points")
    return points


def _check_index(arrays: Mapping[str, NDArray[Any]], num_frames: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Offsets and checksums of a video's frames. Raises KeyError or ValueError."""
    offsets, checksums = arrays["offsets"], arrays["checksums"]
    if offsets.dtype.kind not in "iu" or checksums.dtype.kind not in "iu":
        raise ValueError("offsets and checksums are whole numbers")
    if offsets.shape != (num_frames + 1,) or checksums.shape != (num_frames,):
        raise ValueError("offsets and checksums are one for each frame")
    if offsets[0] or (offsets[1:] <= offsets[:-1]).any():
        raise ValueError("offsets must rise")
    return offsets, checksums


def read_arrays(folder: Path, record: AvatarRecord, file_name: str) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file of an avatar, after its checksum was compared. Raises AvatarError."""
    path = folder / file_name
    data = _read_checked(path, record)
    return unpack_arrays(path, data, _AGAIN)


def unpack_arrays(path: Path, data: bytes, hint: str) -> dict[str, NDArray[Any]]:
    """The arrays of the npz file ``path`` that holds ``data``. Raises AvatarError with ``hint``."""
    try:
        return arrays_in(io.BytesIO(data))
    except (OSError, ValueError) as error:
        raise AvatarError(f"{path} is damaged: {system_words(error)}", hint=hint) from error


def _read_checked(path: Path, record: AvatarRecord) -> bytes:
    known = record.files.get(path.name)
    if known is None:
        raise AvatarError(f"avatar '{path.parent.name}' is damaged: {RECORD_FILE} lacks {path.name}", hint=_AGAIN)
    try:
        # Of another length it is not read: it may be a device, or a pipe that nobody writes to.
        data = path.read_bytes() if path.stat().st_size == known["bytes"] and path.is_file() else b""
    except OSError as error:
        raise AvatarError(f"cannot read {path}: {system_words(error)}", hint=_AGAIN) from error
    if len(data) != known["bytes"] or hashlib.sha256(data).hexdigest() != known.get("sha256"):
        raise AvatarError(f"{path} is damaged: it is not what was written", hint=_AGAIN)
    return data


def _read_still(folder: Path, record: AvatarRecord) -> StillFrames:
    path = folder / (IMAGE_FILE if IMAGE_FILE in record.files else OLD_IMAGE_FILE)
    return StillFrames(_read_image(path, record, cv2.IMREAD_COLOR))


def _read_image(path: Path, record: AvatarRecord, kind: int) -> ByteArray:
    data = _read_checked(path, record)
    # An image of another size is not decoded: it might want gigabytes.
    if not data.startswith(PNG_HEAD) or read_image_size(data) != (record.height, record.width):
        raise AvatarError(f"{path} is not the image that {RECORD_FILE} describes", hint=_AGAIN)
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), kind)
    if image is None:
        raise AvatarError(f"{path} is not an image", hint=_AGAIN)
    return as_bytes(image)


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Length of every file in a new avatar, and the SHA-256 of those without checksums inside."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.iterdir()):
        files[path.name] = {"bytes": path.stat().st_size}
        if path.name not in (FRAMES_FILE, ALPHAS_FILE):
            files[path.name]["sha256"] = hash_file(path)
    return files
