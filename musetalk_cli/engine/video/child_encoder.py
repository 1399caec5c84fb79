"""Fragments of a session's frames from an ffmpeg: for encoders in hardware, and where PyAV is not installed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.runtime.stage import Aborted, RunState
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import AudioArray, ByteArray, FrameBatch
from musetalk_cli.engine.video.encoder import Encoder, EncoderProcess, EncoderSettings
from musetalk_cli.errors import EncoderError


class ChildEncoder:
    """A FragmentEncoder around the encoder of files and streams, whose threads feed ffmpeg and read it.

    A frame's fragment comes three frames later than from the encoder in this process: ffmpeg gives out no frame before
    it has the audio beside it and the frame behind it, and what it gives out is returned with the next frame. Keyframes
    come every ``keyframe_interval_s`` and not on demand, as nothing reaches an encoder through ffmpeg's pipes but
    frames.
    """

    init_segment = None  # ffmpeg writes it with the first frame

    def __init__(self, ffmpeg: str, settings: EncoderSettings) -> None:
        """Start ffmpeg. Raises EncoderError when that cannot be."""
        self._state = RunState()
        self._parts = _PartsSink()
        self._encoder = Encoder(EncoderProcess(ffmpeg, settings), self._parts, self._state, StageTimer())
        self._is_finished = False
        self._encoder.start()

    def encode(
        self, images: Sequence[ByteArray], audio: AudioArray, *, keyframe: bool = False
    ) -> Sequence[InitSegment | Fragment]:
        """Queue frames for ffmpeg, waiting while it is too slow, and return what has come from it.

        Args:
            images: I420, uint8 (height · 3/2, width) each, which are ffmpeg's from now on.
            audio: int16 (n, channels) at 48 kHz.
            keyframe: has no effect, see above.

        Raises:
            EncoderError: ffmpeg has ended, or this encoder was cancelled, finished or closed.
        """
        if self._is_finished:
            raise EncoderError("the encoder has been finished or closed")
        try:
            self._encoder.write(FrameBatch(tuple(images), audio))
        except Aborted:
            raise self._find_error() from None
        self._check()
        return self._parts.take()

    def finish(self) -> Sequence[InitSegment | Fragment]:
        """Wait until ffmpeg has encoded everything, and return the rest. Raises EncoderError as ``encode``."""
        if self._is_finished:
            raise EncoderError("the encoder has been finished or closed")
        self._is_finished = True
        self._encoder.finish()
        for stage in self._encoder.stages:
            stage.join()
        self._check()
        return self._parts.take()

    def cancel(self) -> None:
        self._state.abort()

    def close(self) -> None:
        self._is_finished = True
        self._state.abort()
        self._encoder.close()

    def _check(self) -> None:
        if self._state.is_aborted:
            raise self._find_error()

    def _find_error(self) -> BaseException:
        return self._state.error or EncoderError("the encoder has been cancelled or closed")


class _PartsSink:
    """A sink that keeps what ffmpeg has made until it is taken."""

    name = "session"
    where = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[InitSegment | Fragment] = []

    def take(self) -> Sequence[InitSegment | Fragment]:
        with self._lock:
            parts, self._parts = self._parts, []
            return parts

    def begin(self, init_segment: InitSegment) -> None:
        self._keep(init_segment)

    def write(self, fragment: Fragment) -> None:
        self._keep(fragment)

    def cancel(self) -> None:
        """Nothing waits in here."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        """What was made may still be taken."""

    def _keep(self, part: InitSegment | Fragment) -> None:
        with self._lock:
            self._parts.append(part)
