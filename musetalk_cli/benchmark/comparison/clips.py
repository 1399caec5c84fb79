"""Block by block through files: a WAV and a PNG per frame, a silent video of these, then a pass for the audio."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from musetalk_cli.benchmark.comparison.feed import ArrivalSink
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status
from musetalk_cli.engine.runtime.stage import Aborted, Channel, RunState, Stage
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, ByteArray, FrameBatch
from musetalk_cli.engine.video.encoder import DEPTH_BATCHES, EncoderSettings, video_options
from musetalk_cli.engine.video.output import OnLeft, ignore_left
from musetalk_cli.errors import EncoderError

# The silent video of upstream's scripts; the pass behind it, which names no codec, encodes with ffmpeg's own settings.
PLAIN_OPTIONS = {"vcodec": "libx264", "crf": 18, "pix_fmt": "yuv420p"}


@dataclass(frozen=True)
class ClipOutput:
    """FrameOutput that makes one MP4 of every block, in ``folder``, which must be empty; nothing is left in it.

    ``block_ends`` in frames, ascending. ``is_quick`` encodes both passes with the encoder's settings, otherwise as
    upstream does: x264 medium at crf 18, then again as ffmpeg does by itself. ``has_thread``: whether clips are made
    beside the run, or within ``write``.
    """

    ffmpeg: str
    settings: EncoderSettings
    folder: Path
    arrivals: ArrivalSink
    block_ends: Sequence[int]
    is_quick: bool
    has_thread: bool

    def attach(self, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore_left) -> ClipWriter:
        return ClipWriter(self, state)


class ClipWriter:
    """FrameWriter of clips."""

    first_byte_at: float | None = None
    first_fragment_at: float | None = None
    is_reader_gone = is_complete = False

    def __init__(self, output: ClipOutput, state: RunState) -> None:
        self.num_bytes = 0
        self.num_frames = 0
        self._output = output
        self._state = state
        self._ends = list(output.block_ends)
        self._clip = _Clip()
        self._child: FfmpegProcess | None = None
        self._frames: Channel[FrameBatch] = Channel("frames", DEPTH_BATCHES, state)
        self.stages = [Stage("clips", self._take_all, state)] if output.has_thread else []
        state.on_abort(self._kill)

    def start(self) -> None:
        for stage in self.stages:
            stage.start()

    def write(self, batch: FrameBatch) -> None:
        if self.stages:
            self._frames.put(batch)
        else:
            self._take(batch)

    def drop(self) -> None:
        pass

    def finish(self) -> None:
        self._frames.finish()

    def cut(self) -> None:
        self._frames.cut()

    def close(self) -> None:
        self._kill()
        for stage in self.stages:
            stage.join()

    def _take_all(self) -> None:
        for batch in self._frames:
            self._take(batch)

    def _take(self, batch: FrameBatch) -> None:
        """Write a batch's frames; with the block's last one, make its clip."""
        for image in batch.images:
            self._clip.num_written += 1
            write_png(self._output.folder / f"{self._clip.num_written:08d}.png", image)
        self._clip.audio_blocks.append(batch.audio)
        self.num_frames += len(batch.images)
        if self._ends and self.num_frames >= self._ends[0]:
            self._ends.pop(0)
            self._make_clip()

    def _make_clip(self) -> None:
        folder, clip = self._output.folder, self._clip
        audio, silent, whole = folder / "audio.wav", folder / "silent.mp4", folder / "clip.mp4"
        write_wav(audio, np.concatenate(clip.audio_blocks))
        self._run(build_silent_args(self._output, silent))
        self._run(build_mux_args(self._output, silent, audio, whole))
        data = whole.read_bytes()
        self._output.arrivals.take_clip(data, clip.num_written)
        self.num_bytes += len(data)
        for path in folder.iterdir():
            path.unlink()
        self._clip = _Clip()

    def _run(self, argv: list[str]) -> None:
        self._child = child = FfmpegProcess(argv, stdin=subprocess.DEVNULL)
        try:
            if self._state.is_aborted:  # between two children nobody could be killed
                raise Aborted("clips")
            status = child.wait()
        finally:
            child.close()
        if self._state.is_aborted:
            raise Aborted("clips")
        if status:
            reason = f": {child.error}" if child.error else ""
            raise EncoderError(f"ffmpeg {describe_status(status)} while it made a clip{reason}")

    def _kill(self) -> None:
        if self._child:
            self._child.kill()


@dataclass
class _Clip:
    """What the folder holds of the clip that is being made."""

    num_written: int = 0
    audio_blocks: list[AudioArray] = field(default_factory=list)


def write_png(path: Path, image: ByteArray) -> None:
    """A planar I420 frame as a PNG, as fast as OpenCV does it. Raises EncoderError."""
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_YUV2BGR_I420)):
        raise EncoderError(f"cannot write {path}", hint="is the disk full?")


def write_wav(path: Path, audio: AudioArray) -> None:
    """int16 (n, channels) at 48 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(audio.shape[1])
        file.setsampwidth(audio.itemsize)
        file.setframerate(AUDIO_RATE_HZ)
        file.writeframes(np.ascontiguousarray(audio).tobytes())


def build_silent_args(output: ClipOutput, silent: Path) -> list[str]:
    """The first pass: frames → a silent video."""
    import ffmpeg as builder

    rate = output.settings.frame_rate
    images = builder.input(
        str(output.folder / "%08d.png"), f="image2", framerate=f"{rate.numerator}/{rate.denominator}"
    )
    options = video_options(output.settings) if output.is_quick else PLAIN_OPTIONS
    return _compile(output, builder.output(images, str(silent), **options))


def build_mux_args(output: ClipOutput, silent: Path, audio: Path, whole: Path) -> list[str]:
    """The second pass: silent video and audio → the clip, its video encoded once more."""
    import ffmpeg as builder

    video, voice = builder.input(str(silent)), builder.input(str(audio))
    options = video_options(output.settings) if output.is_quick else {}
    return _compile(output, builder.output(video.video, voice.audio, str(whole), **options))


def _compile(output: ClipOutput, stream: Any) -> list[str]:
    import ffmpeg as builder

    quiet = stream.global_args("-hide_banner", "-loglevel", "level+error", "-nostdin", "-y")
    return list(builder.compile(quiet, cmd=output.ffmpeg))
