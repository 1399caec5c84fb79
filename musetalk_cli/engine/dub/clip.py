"""A clip that is dubbed: what ffmpeg says of it, and its frames as they are, one by one, with their timestamps."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.inputs.images import MAX_PIXELS
from musetalk_cli.engine.avatar.inputs.probe import read_log
from musetalk_cli.engine.avatar.inputs.tracks import (
    NO_TAGS,
    QUIET,
    ColourTags,
    Track,
    choose_audio,
    choose_video,
    describe_file,
    find_containers,
    find_duration,
    read_tracks,
)
from musetalk_cli.engine.avatar.inputs.video import quote_in_filter
from musetalk_cli.engine.avatar.inputs.y4m import fields_in, read_frame, read_header, size_in
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.formats import WHITELIST, build_companion
from musetalk_cli.errors import AvatarError
from musetalk_cli.system.pipes import widen

DEFAULT_RATE = Fraction(25)
DEFAULT_TIMESCALE = 90_000
# Containers of which ffmpeg counts the times from the first of the tracks that it reads, not from the file's first.
LOOSE_CONTAINERS = frozenset({"mpeg", "mpegts", "ogg"})
# Of the frames in which a face is followed: more pixels make it slower and no more exact.
TRACKED_HEIGHT_PX = 720

_ASPECT = re.compile(r"SAR (\d+):(\d+)")
_RATE = re.compile(r"([\d.]+)(k?) fps")
_BASE_RATE = re.compile(r"([\d.]+)(k?) tbr")
_TIMESCALE = re.compile(r"([\d.]+)(k?) tbn")
_SUBTITLES = re.compile(r"Stream #0:\d+.*?: Subtitle: ")
_TIMECODE = re.compile(r" timecode *: \d\d:\d\d:", re.IGNORECASE)
_FRAME_TIME = re.compile(rb"pts:\s*(-?\d+)")


@dataclass(frozen=True)
class AudioTrack:
    """One of a file's audio tracks: ffmpeg's ``index`` of it and name of its ``codec``, empty where there is none.
    ``is_matroska``: its timestamps are those of a Matroska file. ``is_mono``: it has one channel."""

    index: int = 0
    codec: str = ""
    is_matroska: bool = False
    is_mono: bool = False


@dataclass(frozen=True)
class Clip:
    """A file's video: track ``index``, nominal ``frame_rate``, ticks a second (``timescale``), pixel aspect, colours.

    ``width`` and ``height`` are those of its upright frames, even. ``is_loose``: a track that ffmpeg reads alone begins
    at 0, wherever it stands in the file; see ``build_companion``. ``left_out``: what the file holds besides, and a dub
    does not. ``fields``: their order where each frame has two, see ``fields_in``.
    """

    path: Path
    index: int
    width: int
    height: int
    frame_rate: Fraction = DEFAULT_RATE
    timescale: int = DEFAULT_TIMESCALE
    pixel_format: str = "yuv420p"
    aspect: str = "1/1"
    colours: ColourTags = NO_TAGS
    audio: AudioTrack = AudioTrack()
    num_expected: int | None = None
    is_loose: bool = False
    left_out: tuple[str, ...] = ()
    fields: str = ""


def open_clip(path: Path, ffmpeg: str) -> Clip:
    """Ask ffmpeg about a clip. Raises AvatarError when it holds no video that can be decoded."""
    if not path.is_file():
        raise AvatarError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    log = read_log(path, ffmpeg)
    is_loose = bool(LOOSE_CONTAINERS & set(find_containers(log)))
    clip = _read_video(path, choose_video(log))
    clip = replace(clip, audio=_find_audio(log), is_loose=is_loose, left_out=find_left_out(log))
    if (duration_s := find_duration(log)) is not None:
        clip = replace(clip, num_expected=max(1, round(duration_s * clip.frame_rate)))
    with ClipFrames(clip, ffmpeg, num_frames=1) as frames:  # upright, and without an odd row
        return replace(clip, width=frames.width, height=frames.height, fields=frames.fields)


def find_audio(path: Path, ffmpeg: str) -> AudioTrack:
    """The audio track of a file that is decoded where none is named."""
    return _find_audio(describe_file(path, ffmpeg)[0])


def _find_audio(log: list[str]) -> AudioTrack:
    track = choose_audio(log)
    if track is None:
        return AudioTrack()
    is_mono = re.search(r", (mono|1 channels)(,|$)", track.about) is not None
    return AudioTrack(track.index, track.codec, "matroska" in find_containers(log), is_mono)


def find_left_out(log: Sequence[str]) -> tuple[str, ...]:
    """What of a file with a video a dub leaves out, in words."""
    tracks = read_tracks(log)
    found = {
        "subtitles": any(_SUBTITLES.search(line) for line in log),
        "a timecode": any(_TIMECODE.search(line) for line in log),
        "further audio tracks": sum(not track.is_video for track in tracks) > 1,
        "further video tracks": sum(track.is_video and not track.is_attached_image for track in tracks) > 1,
    }
    return tuple(name for name, is_there in found.items() if is_there)


def _read_video(path: Path, track: Track | None) -> Clip:
    pixels = track.pixels if track else None
    if not track or not pixels:
        raise AvatarError(f"{path} has a video track that ffmpeg does not know", hint="does it play elsewhere?")
    aspect = _ASPECT.search(track.about)
    shown = _number(_RATE.search(track.about)) or _number(_BASE_RATE.search(track.about)) or 0.0
    return Clip(
        path,
        track.index,
        pixels.width,
        pixels.height,
        exact_rate(shown) if 1 <= shown <= 240 else DEFAULT_RATE,
        whole_timescale(_number(_TIMESCALE.search(track.about)) or DEFAULT_TIMESCALE),
        pixels.format,
        f"{aspect[1]}/{aspect[2]}" if aspect and int(aspect[1]) and int(aspect[2]) else "1/1",
        # As YUV, an RGB clip has another matrix than its file says.
        ColourTags(pixels.tags.range) if pixels.tags.matrix == "gbr" else pixels.tags,
    )


def exact_rate(rate: float) -> Fraction:
    """What a rate that ffmpeg rounds to two digits is: 23.98 is 24000/1001."""
    ntsc = Fraction(round(rate) * 1000, 1001)
    exact = Fraction(rate).limit_denominator(1000)
    return ntsc if exact.denominator > 1 and abs(rate - ntsc) < 0.006 else exact


def whole_timescale(ticks_a_second: float) -> int:
    """A timescale that divides a container's: an AVI's of 29.97 ticks a second is 30000, 1001 of them for each."""
    return exact_rate(ticks_a_second).numerator


def _number(found: re.Match[str] | None) -> float | None:
    return float(found[1]) * (1000 if found[2] else 1) if found else None


class Skip(NamedTuple):
    """What is left out in front: ffmpeg seeks to ``seek_s``, and behind that place skips ``skip_s`` and
    ``num_frames``."""

    seek_s: float = 0.0
    skip_s: float = 0.0
    num_frames: int = 0


NOTHING = Skip()


class ClipFrames:
    """Every frame of a clip, none left out and none repeated: planar I420, uint8 (height · 3/2, width); iterate once.

    ``width``, ``height`` and ``fields`` are of these frames. ``ticks`` are the timestamps of those that were decoded so
    far, int64 (n,), in the clip's timescale, from the file's start or from ``seek_s`` on. After the last,
    ``decode_error`` says why a damaged clip ended.
    """

    def __init__(
        self,
        clip: Clip,
        ffmpeg: str,
        *,
        height_px: int | None = None,
        skip: Skip = NOTHING,
        num_frames: int | None = None,
    ) -> None:
        """Start ffmpeg.

        Args:
            clip: what is decoded.
            ffmpeg: path of the executable.
            height_px: frames are scaled down to this height; None leaves them as they are.
            skip: what is left out in front.
            num_frames: how many are decoded; None for all.

        Raises:
            AvatarError: there is no frame.
        """
        self._clip = clip
        self._folder = tempfile.TemporaryDirectory(prefix="musetalk-")
        self._times = Path(self._folder.name) / "times"
        self.decode_error = ""
        try:
            self._process = FfmpegProcess(
                build_args(clip, ffmpeg, self._times, height_px, skip, num_frames), stdin=subprocess.DEVNULL
            )
        except BaseException:
            self._folder.cleanup()
            raise
        try:
            widen(self._process.stdout)
            header = self._read_header()
            self.width, self.height = size_in(header) or (0, 0)
            self.fields = fields_in(header)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[ByteArray]:
        while (image := read_frame(self._process.stdout, self.width, self.height)) is not None:
            yield image
        self._process.wait()
        self.decode_error = self._process.error

    @property
    def ticks(self) -> NDArray[np.int64]:
        found = _FRAME_TIME.findall(self._times.read_bytes()) if self._times.exists() else []
        return np.array([int(each) for each in found], np.int64)

    def close(self) -> None:
        self._process.close()
        self._folder.cleanup()

    def __enter__(self) -> ClipFrames:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read_header(self) -> bytes:
        header = read_header(self._process.stdout)
        if not header.endswith(b"\n"):
            self._process.wait()
            raise AvatarError(f"{self._clip.path} cannot be decoded: {self._process.error or 'it holds no frame'}")
        if size_in(header) is None:
            raise AvatarError(f"{self._clip.path}: ffmpeg decoded no frames")
        return header


def build_args(
    clip: Clip, ffmpeg: str, times: Path, height_px: int | None, skip: Skip, num_frames: int | None
) -> list[str]:
    """ffmpeg's arguments: each frame of the clip's video once, upright, as Y4M on stdout; its timestamps to a file.

    Args:
        clip: the clip.
        ffmpeg: path of the executable.
        times: the file for timestamps.
        height_px: as for ClipFrames.
        skip: as for ClipFrames.
        num_frames: as for ClipFrames.
    """
    start = ["-ss", f"{skip.seek_s:.6f}"] if skip.seek_s > 0 else []
    count = [] if num_frames is None else ["-frames:v", str(num_frames)]
    # The place of the first frame is asked for before the last has come: hence direct.
    mark = "metadata=mode=add:key=frame:value=1,metadata=mode=print:direct=1:file=" + quote_in_filter(times)
    # Only an odd row or column changes; full range stays full range.
    layout = "yuvj420p" if clip.colours.range == "pc" else "yuv420p"
    parts = [f"select='gte(t,{skip.skip_s:.6f})*gte(n,{skip.num_frames})'"] if any(skip[1:]) else []
    parts += [f"settb=1/{clip.timescale}", mark, "crop='2*trunc(iw/2)':'2*trunc(ih/2)':0:0"]
    if height_px is not None:
        parts.append(f"scale=w='2*max(1,round(iw*min(1,{height_px}/ih)/2))':h='2*round(min(ih,{height_px})/2)'")
    if clip.fields and not clip.pixel_format.startswith(("yuv420", "yuvj420")):
        parts.append("scale=interl=1")  # each field keeps its own colours
    parts.append(f"format={layout}")
    source = ["-max_pixels", str(MAX_PIXELS), *start, *WHITELIST, "-i", f"file:{clip.path}", "-map", f"0:{clip.index}"]
    output = ["-fps_mode", "passthrough", *count, "-f", "yuv4mpegpipe", "-strict", "-1", "pipe:1"]
    companion = build_companion(clip.audio.index) if clip.is_loose and clip.audio.codec else []
    return [ffmpeg, *QUIET, *source, "-vf", ",".join(parts), *output, *companion]
