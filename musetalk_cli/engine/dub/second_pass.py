"""The second pass: every frame of the clip once more, with a new mouth where somebody speaks, to the encoder."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar, MeshLandmarks
from musetalk_cli.engine.dub.clip import Clip
from musetalk_cli.engine.dub.first_pass import Part, TrackedClip
from musetalk_cli.engine.dub.raw_matroska import frame_header, header
from musetalk_cli.engine.dub.seeking import read_from
from musetalk_cli.engine.dub.speech import Speech
from musetalk_cli.engine.dub.timeline import DubTimeline
from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status
from musetalk_cli.engine.types.colour import ByteArray, i420_to_bgr
from musetalk_cli.engine.types.messages import Face
from musetalk_cli.engine.video.compositing import write_face
from musetalk_cli.errors import EncoderError
from musetalk_cli.system.pipes import widen, write_all

# A ping-pong goes back in steps that are decoded forward and held in memory.
STEP_BYTES = 128 << 20
NUM_OPEN_PARTS = 2  # those on both sides of a boundary


@dataclass(frozen=True)
class Speaker:
    """One face and what it says: a clip's first pass, and the voice at each frame of the output."""

    tracked: TrackedClip
    speech: Speech


class ClipMouths:
    """New mouths for the frames of one face. Safe to share between threads; a part's data are read when needed."""

    def __init__(self, clip: Clip, speaker: Speaker, ffmpeg: str) -> None:
        self._clip, self._tracked, self._speech, self._ffmpeg = clip, speaker.tracked, speaker.speech, ffmpeg
        self._firsts = np.array([part.first for part in self._tracked.parts])
        self._lock = Lock()
        self._open = lru_cache(maxsize=NUM_OPEN_PARTS)(self._open_part)

    def write(self, image: ByteArray, number: int, source: int) -> bool:
        """Write the mouth of the output's frame ``number``, which shows the clip's frame ``source``, into its I420
        image. Returns whether anything was changed."""
        weight = float(self._speech.weights[number])
        part = self._tracked.parts[int(np.searchsorted(self._firsts, source, side="right")) - 1]
        if not weight or part.is_empty:
            return False
        with self._lock:
            renderer = self._open(part)
        if renderer is None:
            return False
        face = renderer.render(self._speech.shapes[number], source - part.first, image)
        write_face(image, faded(face, weight))
        return True

    def _open_part(self, part: Part) -> VideoAvatarRenderer | None:
        points, visibility = self._tracked.read(part)
        if not visibility.opacity.any():
            return None
        frames = _PartFrames(self._clip, self._tracked, part, self._ffmpeg)
        return VideoAvatarRenderer(
            Avatar(
                self._clip.path.name,
                frames,
                self._tracked.frame_rate,
                MeshLandmarks(points),
                points=points,
                visibility=visibility,
            )
        )


def faded(face: Face, weight: float) -> Face:
    """A face of which only a share shows, 0..1."""
    if weight >= 1:
        return face
    mask = np.full((face.region.height, face.region.width), 255, np.uint8) if face.mask is None else face.mask
    return face._replace(mask=np.asarray(np.rint(mask * weight), np.uint8))


class _PartFrames:
    """AvatarFrames of a part of a clip, each found in the file again: for the few that a renderer measures."""

    def __init__(self, clip: Clip, tracked: TrackedClip, part: Part, ffmpeg: str) -> None:
        self.width, self.height, self.num_frames = clip.width, clip.height, part.num_frames
        self._clip, self._tracked, self._part, self._ffmpeg = clip, tracked, part, ffmpeg

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        return [
            next(read_from(self._clip, self._tracked.ticks, self._part.first + index, 1, self._ffmpeg))
            for index in indices
        ]

    def image(self, index: int = 0) -> ByteArray:
        return i420_to_bgr(self.read([index])[0])

    def close(self) -> None:
        """Nothing stays open."""


def read_timeline(
    clip: Clip, ticks: NDArray[np.int64], timeline: DubTimeline, ffmpeg: str
) -> Generator[ByteArray, None, None]:
    """The clip's frame for each frame of the output, each a fresh array. Raises AvatarError."""
    last: ByteArray | None = None
    step_frames = max(1, STEP_BYTES // (clip.width * clip.height * 3 // 2))
    for first, step, count in timeline.runs():
        if step == 0:
            image = next(read_from(clip, ticks, first, 1, ffmpeg)) if last is None else last
            yield from (image.copy() for _ in range(count))
        elif step == 1:
            for image in read_from(clip, ticks, first, count, ffmpeg):
                last = image.copy()
                yield image
        else:
            for stop in range(first + 1, first + 1 - count, -step_frames):
                begin = max(first + 1 - count, stop - step_frames)
                yield from reversed(list(read_from(clip, ticks, begin, stop - begin, ffmpeg)))


def dub_frames(
    clip: Clip,
    timeline: DubTimeline,
    speakers: Sequence[Speaker],
    mux_args: Sequence[str],
    num_workers: int,
    report: Callable[[int], None],
) -> int:
    """Make the file that ``mux_args`` name. Returns how many frames were changed.

    Args:
        clip: the clip.
        timeline: its frames in the output.
        speakers: one or more; they have the clip's frames in common.
        mux_args: what encodes, see ``build_mux_args``.
        num_workers: frames that are computed at the same time.
        report: called with the number of frames so far.

    Raises:
        AvatarError: the clip cannot be decoded as before.
        EncoderError: the file cannot be made.
    """
    ffmpeg = mux_args[0]
    ticks = speakers[0].tracked.ticks
    mouths = [ClipMouths(clip, speaker, ffmpeg) for speaker in speakers]
    first = int(timeline.ticks[0])
    times_us = ((timeline.ticks - first) * 1_000_000 + clip.timescale // 2) // clip.timescale

    def work(number: int, image: ByteArray) -> tuple[ByteArray, bool]:
        source = int(timeline.sources[number])
        changes = [mouth.write(image, number, source) for mouth in mouths]
        return image, any(changes)

    num_changed = 0
    with ExitStack() as cleanup:
        encoder = cleanup.enter_context(closing(FfmpegProcess(mux_args, stdin=subprocess.PIPE)))
        widen(encoder.stdin)
        pool = cleanup.enter_context(ThreadPoolExecutor(num_workers, thread_name_prefix="musetalk-dub"))
        images = cleanup.enter_context(closing(read_timeline(clip, ticks, timeline, ffmpeg)))
        waiting: deque[Future[tuple[ByteArray, bool]]] = deque()
        try:
            write_all(encoder.stdin.fileno(), memoryview(header(clip.width, clip.height)))
            numbered = enumerate(images)
            num_done = 0
            while num_done < len(timeline.sources):
                while len(waiting) <= num_workers and (read := next(numbered, None)) is not None:
                    waiting.append(pool.submit(work, *read))
                image, is_changed = waiting.popleft().result()
                write_all(encoder.stdin.fileno(), memoryview(frame_header(image, int(times_us[num_done]))))
                write_all(encoder.stdin.fileno(), image.data.cast("B"))
                num_changed += is_changed
                num_done += 1
                report(num_done)
            encoder.stdin.close()
        except BrokenPipeError:
            pass  # why, its log says
        if status := encoder.wait():
            raise EncoderError(f"ffmpeg {describe_status(status)}: {encoder.error or 'the file cannot be made'}")
    return num_changed
