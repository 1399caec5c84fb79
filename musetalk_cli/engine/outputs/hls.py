"""A folder that a stream is written into as HLS: options for ffmpeg, and whether what it wrote is complete."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from musetalk_cli.engine.outputs.mp4.boxes import is_whole_file
from musetalk_cli.errors import SinkError, system_words
from musetalk_cli.hints import quote
from musetalk_cli.option_names import option

PLAYLIST = "index.m3u8"
END_MARK = b"#EXT-X-ENDLIST"
SEGMENT_S, NUM_SEGMENTS = 2, 6
# Once the disk has been full, this much must be free before it is tried again.
ROOM_BYTES = 8_000_000


@dataclass(frozen=True)
class HlsFolder:
    """A stream's playlist and the segments beside it, which are called after it."""

    playlist: Path

    @property
    def url(self) -> str:
        # Absolute and with its scheme: a name that begins with a dash is no option, and one with a colon no protocol.
        return f"file:{self._folder}/{self.playlist.name}"

    @property
    def options(self) -> tuple[str, ...]:
        """ffmpeg's, for its writer of HLS."""
        lengths = ("-hls_time", str(SEGMENT_S), "-hls_list_size", str(NUM_SEGMENTS))
        flags = ("-hls_flags", "delete_segments+append_list+independent_segments+temp_file")
        files = ("-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", self._header)
        # Absolute, but without its scheme: ffmpeg would not find it again when it is to be deleted.
        names = ("-hls_segment_filename", f"{self._folder}/{self.playlist.stem}.%05d.m4s")
        return ("-f", "hls", *lengths, *flags, *files, *names)

    def create(self) -> bool:
        """Make the folder; whether it was not there. Raises OSError."""
        if self._folder.is_dir():
            return False
        self._folder.mkdir()
        return True

    def list_own(self) -> list[Path]:
        """The files of an older stream of that name, by name: ffmpeg would append to them, and follow links."""
        kinds = r"(\.m3u8|\.init\.mp4|\.\d+\.m4s)(\.tmp)?"
        own = re.compile(re.escape(self.playlist.stem) + kinds)
        return sorted(path for path in self._folder.glob("*") if own.fullmatch(path.name))

    def clear(self) -> None:
        """Remove an older stream of that name. Raises OSError."""
        for old in self.list_own():
            old.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove a stream, and the folder if nothing else is in it. Raises OSError."""
        self.clear()
        with suppress(OSError):
            self._folder.rmdir()

    def tidy(self) -> tuple[str, ...]:
        """Remove what a writer left that did not end well; options for the next one. Raises OSError.

        A playlist that lists nothing, as after a full disk, would have it count from 0 again, which players refuse.
        """
        listed = self.list_segments() or []
        left = [path for path in self.list_own() if path.name.endswith((".m4s", ".m4s.tmp"))]
        numbers = [int(path.name.removeprefix(f"{self.playlist.stem}.").partition(".")[0]) for path in left]
        for path in left:
            if path.name not in listed:
                path.unlink(missing_ok=True)
        return () if listed or not numbers else ("-start_number", str(max(numbers) + 1))

    def drop_remains(self) -> None:
        """Remove what a writer left that failed and does not play: segments, an empty playlist. Raises OSError."""
        listed = self.list_segments() or []
        if any((self._folder / name).exists() for name in listed):
            self.tidy()
        else:
            self.clear()

    def end(self) -> None:
        """Mark the end of the stream where a writer that was killed has not: players would wait. Raises OSError."""
        if self.list_segments() and END_MARK not in self.playlist.read_bytes():
            with self.playlist.open("ab") as file:
                file.write(END_MARK + b"\n")

    def has_space(self) -> bool:
        return shutil.disk_usage(self._folder).free >= ROOM_BYTES

    def list_segments(self) -> list[str] | None:
        """The names of its own segments in the playlist; None while there is none. Raises OSError."""
        if not self.playlist.exists():
            return None
        own = re.compile(rf"{re.escape(self.playlist.stem)}\.\d+\.m4s")
        lines = os.fsdecode(self.playlist.read_bytes()).splitlines()
        return [line for line in lines if own.fullmatch(line)]

    def find_torn(self, segments: Iterable[str]) -> str | None:
        """What is wrong with a file that a player of ``segments`` needs, if anything is. Raises OSError."""
        for name in (self._header, *segments):
            try:
                if not is_whole_file(self._folder / name):
                    return f"{name} was cut short, as on a full disk"
            except FileNotFoundError:
                # One that is old enough may have been deleted meanwhile.
                if name == self._header or name in (self.list_segments() or ()):
                    return f"{name} is missing"
        return None

    @property
    def _folder(self) -> Path:
        return self.playlist.parent.resolve()

    @property
    def _header(self) -> str:
        return f"{self.playlist.stem}.init.mp4"


class SegmentCheck:
    """Checks each new segment once, since ffmpeg goes on in silence when the disk is full."""

    def __init__(self, folder: HlsFolder) -> None:
        self._folder = folder
        self._seen: list[str] | None = None

    def find_damage(self, *, is_end: bool = False) -> str | None:
        """What is wrong with a file that is new, if anything is. ``is_end``: ffmpeg has ended, and left a playlist."""
        try:
            listed = self._folder.list_segments()
            if listed is None and is_end:
                return f"{self._folder.playlist.name} is missing"
            if listed is None or listed == self._seen:
                return None
            new = [name for name in listed if name not in (self._seen or ())]
            self._seen = listed
            if not listed:
                return f"{self._folder.playlist.name} was cut short, as on a full disk"
            return self._folder.find_torn(new)
        except OSError as error:
            return f"{error.filename or self._folder.playlist}: {system_words(error)}"


def find_hls_folder(text: str, *, overwrite: bool) -> HlsFolder | None:
    """The folder or playlist that ``-o`` names, or None when it names neither.

    Raises SinkError where it cannot be written, or holds another stream.
    """
    is_folder = text.endswith(("/", os.sep)) or (text not in ("", "-") and Path(text).is_dir())
    if not is_folder and not text.lower().endswith(".m3u8"):
        return None
    playlist = Path(text) / PLAYLIST if is_folder else Path(text)
    folder = playlist.parent
    own = HlsFolder(playlist).list_own()
    if own and not overwrite:
        first = playlist if playlist in own else own[0]
        raise SinkError(
            f"{first} exists already", hint=f"give another folder with {option('-o')}, or {option('--overwrite')}"
        )
    if not folder.is_dir() and not folder.parent.is_dir():
        raise SinkError(f"there is no folder {quote(folder.parent)}", hint="create it first, or choose another")
    if folder.exists() and (not folder.is_dir() or not os.access(folder, os.W_OK)):
        raise SinkError(f"cannot write into {folder}", hint=f"choose another folder with {option('-o')}")
    if "%" in str(folder.resolve()) + playlist.stem:
        raise SinkError(f"cannot write HLS to {text}: ffmpeg takes its % for a number", hint="choose a name without %")
    return HlsFolder(playlist)
