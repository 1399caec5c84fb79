"""Video frames from anything ffmpeg reads, one by one: upright, at the avatar's rate and size, as BT.709 planes."""

from __future__ import annotations

import re
import subprocess
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from musetalk_cli.engine.avatar.preparation.images import MAX_HEIGHT_PX, MAX_PIXELS, MAX_WIDTH_PX
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status, find_error, run_ffmpeg, widen_pipe
from musetalk_cli.engine.runtime.ffmpeg_choice import explain_failure
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import AvatarError

# Frames decoded ahead: they even out ffmpeg's pace (a keyframe takes longer) and are all that is in memory.
MAX_FRAMES_AHEAD = 3
# Untagged video of this height and above is BT.709 in practice, below it BT.601, which is also what ffmpeg assumes.
HD_HEIGHT_PX = 720

_WANTED = "an avatar is made from an image or a video of a face"
_FRAME = b"FRAME\n"
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SIZE = re.compile(r", (\d+)x(\d+)")
_MATRIX = re.compile(r"bt709|bt470|smpte|bt2020|fcc|ycgco|gbr|rgb")


@dataclass(frozen=True)
class ClipSettings:
    """Which part of a video is wanted, at what rate and height: from ``start_s``, at most ``max_seconds``, at most
    ``height_px`` high (None: as it is)."""

    frame_rate: Fraction
    start_s: float = 0.0
    max_seconds: float | None = None
    height_px: int | None = None


class VideoFile:
    """A video's frames as planar I420, uint8 (height · 3/2, width), BT.709, limited range; iterate once, then close.

    ``width`` and ``height`` are of the frames, even; ``num_frames`` is how many are expected, None where the file
    does not say its length. Raises AvatarError when there is no image in it; one that breaks off ends early, and
    then ``decode_error`` says why.
    """

    width: int
    height: int
    decode_error: str = ""

    def __init__(self, path: Path, ffmpeg: str, clip: ClipSettings) -> None:
        log = probe(path, ffmpeg)
        self._path, self._clip = path, clip
        self.num_frames = _expected_frames(log, clip)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="musetalk-video")
        self._process = FfmpegProcess(build_frames_args(ffmpeg, path, clip, log), stdin=subprocess.DEVNULL)
        try:
            widen_pipe(self._process.stdout)
            self.width, self.height = self._read_size()
            self._first = self._read_frame()
            if self._first is None:
                raise self._explain_no_frames()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[ByteArray]:
        waiting: deque[Future[ByteArray | None]] = deque()
        if self._first is not None:
            yield self._first
            self._first = None
        while True:
            while len(waiting) < MAX_FRAMES_AHEAD:
                waiting.append(self._executor.submit(self._read_frame))
            image = waiting.popleft().result()
            if image is None:
                break
            yield image
        self.decode_error = self._process.error

    def close(self) -> None:
        self._process.kill()  # a read that waits comes free
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._process.close()

    def _read_size(self) -> tuple[int, int]:
        header = bytearray()
        while not header.endswith(b"\n"):
            byte = self._process.stdout.read(1)
            if not byte:
                self._process.wait()
                raise self._explain_no_frames()
            header += byte
        found = re.search(rb" W(\d+) H(\d+) ", header)
        if not header.startswith(b"YUV4MPEG2 ") or not found:
            raise AvatarError(f"{self._path}: ffmpeg decoded no frames")
        return int(found[1]), int(found[2])

    def _read_frame(self) -> ByteArray | None:
        header = bytearray(len(_FRAME))
        image = np.empty((self.height * 3 // 2, self.width), dtype=np.uint8)
        if self._fill(memoryview(header)) and header == _FRAME and self._fill(memoryview(image.data).cast("B")):
            return image
        self._process.wait()
        return None

    def _fill(self, rest: memoryview) -> bool:
        """Read as many bytes as there is room for; False where the stream ends before."""
        while len(rest):
            count = self._process.stdout.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                return False
            rest = rest[count:]
        return True

    def _explain_no_frames(self) -> AvatarError:
        if self._clip.start_s and not self._process.error:
            return AvatarError(
                f"{self._path} has no frame after {self._clip.start_s:g} s", hint="give a smaller --start"
            )
        reason = self._process.error or "it holds no frame"
        return AvatarError(f"{self._path} cannot be decoded: {reason}", hint="does it play elsewhere?")


def probe(path: Path, ffmpeg: str) -> list[str]:
    """What ffmpeg says of a video file, in lines.

    Raises AvatarError when it is none, or its images are too large; EncoderError when ffmpeg does not work.
    """
    argv = [ffmpeg, *_QUIET, "-max_pixels", str(MAX_PIXELS), "-i", f"file:{path}"]
    done = run_ffmpeg(argv)
    log = done.stderr.decode("utf-8", "replace").splitlines()
    is_recognised = any("Input #0" in line for line in log)
    if not is_recognised and (broken := explain_failure(ffmpeg)):
        raise broken
    if done.returncode < 0:
        raise AvatarError(f"{path} cannot be read: ffmpeg {describe_status(done.returncode)}")
    # ffmpeg would draw a text file's letters.
    if not any("Input #0" in line and "Input #0, tty" not in line for line in log):
        reason = find_error(log).removeprefix(f"file:{path}: ")
        why = f": {reason}" if reason else ""
        raise AvatarError(f"{path} is neither an image nor a video that ffmpeg reads{why}", hint=_WANTED)
    videos = [line for line in log if ": Video:" in line and "(attached pic)" not in line]
    if not videos:
        raise AvatarError(f"{path} has no video track", hint=_WANTED)
    if any("Invalid image size" in line or "Image size" in line for line in log):
        raise AvatarError(f"{path} has frames of more than {MAX_PIXELS // 1_000_000} million pixels")
    return log


def build_frames_args(ffmpeg: str, path: Path, clip: ClipSettings, log: list[str]) -> list[str]:
    """ffmpeg's arguments that turn a file's first video track into Y4M at the wanted rate and size."""
    start = ["-ss", f"{clip.start_s:.6f}"] if clip.start_s else []
    length = ["-t", f"{clip.max_seconds:.6f}"] if clip.max_seconds else []
    source = ["-max_pixels", str(MAX_PIXELS), *start, "-i", f"file:{path}", *length, "-map", "0:V:0"]
    return [ffmpeg, *_QUIET, *source, "-vf", _filters(clip, log), "-f", "yuv4mpegpipe", "pipe:1"]


_QUIET = ["-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info"]


def _filters(clip: ClipSettings, log: list[str]) -> str:
    height_px = min(clip.height_px or MAX_HEIGHT_PX, MAX_HEIGHT_PX)
    # Square pixels, no larger than wanted; an odd row or column is cut off rather than everything resampled by a hair.
    factor = f"min(1,min({height_px}/ih,{MAX_WIDTH_PX}/(iw*sar)))"
    size = f"w='2*max(1,round(iw*sar*{factor}/2))':h='2*max(1,round(ih*{factor}/2))'"
    matrix = ":in_color_matrix=bt709" if _is_untagged_hd(log) else ""
    return (
        f"fps={clip.frame_rate},crop='max(2,2*trunc(iw/2))':'max(2,2*trunc(ih/2))':0:0,"
        f"scale={size}:flags=bicubic+accurate_rnd{matrix}:out_color_matrix=bt709:out_range=tv,setsar=1,format=yuv420p"
    )


def _is_untagged_hd(log: list[str]) -> bool:
    line = next((line.split(": Video:", 1)[1] for line in log if ": Video:" in line), "")
    size = _SIZE.search(line)
    return size is not None and not _MATRIX.search(line) and min(int(size[1]), int(size[2])) >= HD_HEIGHT_PX


def _expected_frames(log: list[str], clip: ClipSettings) -> int | None:
    found = next((found for found in map(_DURATION.search, log) if found), None)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    rest_s = max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - clip.start_s)
    return max(1, round(min(rest_s, clip.max_seconds or rest_s) * clip.frame_rate))
