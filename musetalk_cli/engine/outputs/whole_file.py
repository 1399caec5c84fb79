"""Files that an encoder writes by itself, under another name until they are whole."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.sinks import FileSink, Sink, as_sink_error
from musetalk_cli.engine.runtime.files import remove_abandoned, staged_name
from musetalk_cli.errors import SinkError
from musetalk_cli.option_names import option

# Containers that are written so: with any avatar, and only with one that is transparent.
SUFFIXES, ALPHA_SUFFIXES = (".webm", ".png"), (".mov",)
_NUMBER = re.compile(r"%0?(\d*)d")


@runtime_checkable
class WrittenBy(Sink, Protocol):
    """A sink that no bytes come to: ``create`` says where ffmpeg writes. ``suffix``: which format."""

    suffix: str
    num_bytes: int

    def create(self) -> str:
        """What ffmpeg is to write: a file, or the pattern of several. Raises SinkError."""


class WholeFileSink(FileSink):
    """A file of one container, under a name of ours until ffmpeg has ended it: no part of it plays before."""

    def __init__(self, destination: str, path: Path, *, is_staged: bool = False) -> None:
        super().__init__(destination, path, is_staged=is_staged)
        self.suffix = path.suffix.lower()
        self.num_bytes = 0

    def create(self) -> str:
        with as_sink_error(self.name):
            remove_abandoned(self._path)
            self._working = staged_name(self._path)
            self._fd = self._create_as(self._working)
            os.close(self._fd)
        return str(self._working)

    def begin(self, init_segment: InitSegment) -> None:
        """Nothing comes here."""

    def write(self, fragment: Fragment) -> None:
        """Nothing comes here."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        if self._fd is None:
            return
        self._fd = None
        with as_sink_error(self.name):
            self.num_bytes = self._working.stat().st_size
            self._has_fragments = is_whole and self.num_bytes > 0
            if self._has_fragments and not is_final and not self._is_staged:
                place = next(path for path in self._names() if not path.exists())
                self._working.replace(place)
                self._working = place
            self._settle(is_final)


class ImageSequenceSink:
    """Numbered images, ``talk-%05d.png``, the first of them number 1. They have their names at once, and stay.

    ``older``: images that have such names. Each stays until a new one takes its name; what an earlier run has made
    beyond the last goes when all are made.
    """

    def __init__(self, destination: str, path: Path, older: Iterable[Path] = ()) -> None:
        self.name, self.suffix = destination, path.suffix.lower()
        self.where: str | None = None
        self.num_bytes = 0
        self._path = path
        self._older = {image: _stamp(image) for image in older}

    def create(self) -> str:
        folder = str(self._path.parent).replace("%", "%%")  # of the whole pattern, ffmpeg reads a number's place
        return str(Path(folder) / self._path.name)

    def begin(self, init_segment: InitSegment) -> None:
        """Nothing comes here."""

    def write(self, fragment: Fragment) -> None:
        """Nothing comes here."""

    def cancel(self) -> None:
        """Nothing waits."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        if self.where is not None:
            return
        with as_sink_error(self.name):
            images = find_images(self._path)
            left = {image for image, stamp in self._older.items() if image in images and _stamp(image) == stamp}
            made = [image for image in images if image not in left]
            self.num_bytes = sum(image.stat().st_size for image in made) or self.num_bytes
            self.where = self.name if made else None
            if made and is_final:
                self._remove(left)

    def _remove(self, left: set[Path]) -> None:
        """Of the images that are left, those that an earlier run has numbered; others' have gaps before them."""
        for number in itertools.count(1):
            image = self._path.with_name(self._path.name % number)
            if image not in self._older:
                break
            if image in left:
                image.unlink(missing_ok=True)


def open_image_sequence(destination: str, path: Path, *, overwrite: bool) -> ImageSequenceSink:
    """The sink of numbered images. Raises SinkError when the name has no number, or there are such images already."""
    if len(_NUMBER.findall(path.name)) != 1 or path.name.count("%") != 1:
        hint = f"{option('-o')} {path.stem.replace('%', '')}-%05d.png makes numbered images"
        raise SinkError(f"cannot write {destination}: one image holds no video", hint=hint)
    images = find_images(path)
    if images and not overwrite:
        raise SinkError(
            f"{images[0]} exists already", hint=f"give another name with {option('-o')}, or {option('--overwrite')}"
        )
    return ImageSequenceSink(destination, path, images)


def find_images(path: Path) -> list[Path]:
    """All images that a pattern may name, those of an earlier run included."""
    before, _, after = _NUMBER.split(path.name)
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after), re.ASCII)
    found = ((each, pattern.fullmatch(each.name)) for each in path.parent.iterdir())
    # A number of more or fewer digits is that of another image: holiday-2024.png is none of holiday-%05d.png.
    return sorted(each for each, match in found if match and path.name % int(match[1]) == each.name)


def _stamp(image: Path) -> tuple[int, int]:
    """What tells an image from one that takes its name."""
    status = image.stat()
    return status.st_ino, status.st_mtime_ns
