"""Files that an encoder writes by itself, under another name until they are whole."""

from __future__ import annotations

import os
import re
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
    """Numbered images, ``talk-%05d.png``, the first of them number 1. They have their names at once, and stay."""

    def __init__(self, destination: str, path: Path) -> None:
        self.name, self.suffix = destination, path.suffix.lower()
        self.where: str | None = None
        self.num_bytes = 0
        self._path = path

    def create(self) -> str:
        return str(self._path)

    def begin(self, init_segment: InitSegment) -> None:
        """Nothing comes here."""

    def write(self, fragment: Fragment) -> None:
        """Nothing comes here."""

    def cancel(self) -> None:
        """Nothing waits."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        images = find_images(self._path) if self.where is None else []
        self.num_bytes = sum(path.stat().st_size for path in images) or self.num_bytes
        self.where = self.where or (self.name if images and is_whole else None)


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
    for image in images:
        image.unlink()
    return ImageSequenceSink(destination, path)


def find_images(path: Path) -> list[Path]:
    """The images that a pattern names, those of an earlier run included."""
    before, _, after = _NUMBER.split(path.name)
    pattern = re.compile(re.escape(before) + r"\d+" + re.escape(after))
    return sorted(each for each in path.parent.iterdir() if pattern.fullmatch(each.name))
