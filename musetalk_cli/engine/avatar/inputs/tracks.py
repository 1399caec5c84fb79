"""What ffmpeg prints of a file's tracks, one line each and their metadata below."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from musetalk_cli.engine.runtime.ffmpeg import run_ffmpeg
from musetalk_cli.engine.types.formats import WHITELIST

QUIET = ["-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info"]

_TRACK = re.compile(r"Stream #0:(\d+).*?: (Video|Audio): (\w+)(.*)")
# "yuv420p10le(tv, bt2020nc/bt2020/smpte2084, top first)", of which each part may be missing.
_PIXELS = re.compile(r", (\w+)(?:\(([^()]*(?:\([^()]*\))?[^()]*)\))?, (\d+)x(\d+)")
_COLOUR = re.compile(r"bt|smpte|gamma|fcc|ycgco|gbr|rgb")
_DURATION = re.compile(r"^(?:\[info\])? *Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_CONTAINERS = re.compile(r"^(?:\[info\])? *Input #0, (\S+), from ")
_CHANNELS = re.compile(r"(\d+) channels")
_LAYOUTS = {"mono": 1, "stereo": 2, "2.1": 3, "quad": 4, "4.0": 4, "5.0": 5, "5.1": 6, "6.1": 7, "7.1": 8}


class ColourTags(NamedTuple):
    """ffmpeg's names of what a track says of its colours; empty for what it does not say."""

    range: str = ""
    matrix: str = ""
    primaries: str = ""
    transfer: str = ""


NO_TAGS = ColourTags()


class Pixels(NamedTuple):
    """A video track's frames as they are stored. ``is_progressive``: it says that they hold no fields."""

    format: str
    width: int
    height: int
    tags: ColourTags
    is_progressive: bool


@dataclass(frozen=True)
class Track:
    """A track: ffmpeg's ``index`` of it, its ``codec``, the rest of its line, and the lines of its metadata."""

    index: int
    is_video: bool
    codec: str
    about: str
    metadata: tuple[str, ...] = ()

    @property
    def is_default(self) -> bool:
        return "(default)" in self.about

    @property
    def is_attached_image(self) -> bool:
        return "(attached pic)" in self.about

    @property
    def num_channels(self) -> int:
        """Of an audio track; 1 where ffmpeg has another name for them."""
        if found := _CHANNELS.search(self.about):
            return int(found[1])
        parts = (part.strip().split("(")[0] for part in self.about.split(","))
        return next((_LAYOUTS[part] for part in parts if part in _LAYOUTS), 1)

    @property
    def pixels(self) -> Pixels | None:
        """Of a video track; None where ffmpeg does not know its codec."""
        if not (found := _PIXELS.search(self.about)):
            return None
        details = (found[2] or "").split(", ")
        return Pixels(found[1], int(found[3]), int(found[4]), _read_tags(found[1], details), "progressive" in details)


def describe_file(path: Path, ffmpeg: str, *options: str) -> tuple[list[str], int]:
    """The lines that ffmpeg prints of a file, opened with ``options``, and its exit code."""
    done = run_ffmpeg([ffmpeg, *QUIET, *options, *WHITELIST, "-i", f"file:{path}"])
    return done.stderr.decode("utf-8", "replace").splitlines(), done.returncode


def read_tracks(log: Iterable[str]) -> list[Track]:
    """Its video and audio tracks, from these lines."""
    tracks: list[Track] = []
    is_inside = False
    for line in log:
        if "Stream #" in line:
            found = _TRACK.search(line)
            is_inside = found is not None
            if found:
                tracks.append(Track(int(found[1]), found[2] == "Video", found[3], found[4]))
        elif is_inside:
            tracks[-1] = replace(tracks[-1], metadata=(*tracks[-1].metadata, line))
    return tracks


def choose_video(log: Iterable[str]) -> Track | None:
    """The default video track, else the first; attached images are none."""
    tracks = [track for track in read_tracks(log) if track.is_video and not track.is_attached_image]
    return max(tracks, key=lambda track: track.is_default, default=None)


def choose_audio(log: Iterable[str]) -> Track | None:
    """The audio track that ffmpeg takes by itself: of those that are marked as the default, or of all where none is,
    the one of most channels, and the first of several."""
    tracks = [track for track in read_tracks(log) if not track.is_video]
    return max(tracks, key=lambda track: (track.is_default, track.num_channels), default=None)


def find_containers(log: Iterable[str]) -> list[str]:
    """ffmpeg's names of the file's container; empty where it is none."""
    return next((found[1].split(",") for found in map(_CONTAINERS.search, log) if found), [])


def find_duration(log: Iterable[str]) -> float | None:
    """The file's duration, seconds; None where it does not say."""
    found = next((found for found in map(_DURATION.search, log) if found), None)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _read_tags(pixel_format: str, details: list[str]) -> ColourTags:
    """From ``tv``, ``bt2020nc/bt2020/smpte2084``; one name alone stands for matrix, primaries and transfer."""
    range_ = next((part for part in details if part in ("tv", "pc")), "pc" if pixel_format.startswith("yuvj") else "")
    names = next((part.split("/") for part in details if part.count("/") == 2 or _COLOUR.match(part)), [""])
    each = names if len(names) == 3 else names[:1] * 3
    return ColourTags(range_, *("" if name == "unknown" else name for name in each))
