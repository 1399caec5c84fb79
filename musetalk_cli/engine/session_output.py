"""What comes out of a session, in order: its frames, handed out or encoded, with events between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.audio.block_feed import Spoken
from musetalk_cli.engine.live.session_hooks import SessionHooks
from musetalk_cli.engine.live.timeline import Timeline
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.types.colour import i420_to_bgr
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ
from musetalk_cli.engine.types.session import Event, Frame, Late, PixelFormat, UtteranceFinished, UtteranceStarted
from musetalk_cli.engine.video.frame_queue import FrameQueue, QueuedFrame
from musetalk_cli.engine.video.output import FragmentEncoder

Item = Frame | InitSegment | Fragment | Event


class SessionOutput:
    """Takes frames from a session's queue when it is time for them.

    One thread takes; any thread may ``interrupt`` and ``request_keyframe``.
    """

    def __init__(
        self,
        queue: FrameQueue,
        timeline: Timeline,
        hooks: SessionHooks,
        encoder: FragmentEncoder | None,
        frame_rate: Fraction,
        pixel_format: PixelFormat,
    ) -> None:
        """Nothing is taken yet.

        Args:
            queue: has the frames.
            timeline: is told how far they were handed out, and tells which utterances have ended there.
            hooks: tell how many had no face.
            encoder: makes fragments of the frames; without, frames are handed out.
            frame_rate: of the frames, per second.
            pixel_format: of the frames that are handed out.
        """
        self._queue = queue
        self._timeline = timeline
        self._hooks = hooks
        self._encoder = encoder
        self._frame_rate = frame_rate
        self._pixel_format = pixel_format
        self._ready: deque[Item] = deque()
        if encoder and encoder.init_segment:
            self._ready.append(encoder.init_segment)
        self._is_encoded = encoder is None
        self._speaking: int | None = None
        self._telling = threading.Lock()  # of an utterance that begins, or is interrupted
        self._last_interrupted = -1
        self._wants_keyframe = False
        self._num_held, self._num_filled = 0, 0

    def take(self, timeout_s: float) -> Item | None:
        """The next one, waiting until it is time for it; None where none came in ``timeout_s``, or at the end."""
        if not self._ready and (frame := self._queue.take(timeout_s)) is not None:
            self._prepare(frame)
        return self._ready.popleft() if self._ready else None

    @property
    def is_ended(self) -> bool:
        """Whether all frames were taken; ``finish`` may have more."""
        return self._queue.is_ended

    def finish(self) -> bool:
        """Encode what the encoder still holds, behind the last frame; False where that was done."""
        if self._is_encoded or self._encoder is None:
            return False
        self._is_encoded = True
        self._ready.extend(self._encoder.finish())
        return True

    def interrupt(self, spoken: Sequence[Spoken]) -> list[UtteranceFinished]:
        """Note that these utterances were interrupted, and have the next fragment begin anew."""
        finished = [UtteranceFinished(each.utterance, self._time_s(each.num_frames), True) for each in spoken]
        with self._telling:
            self._ready.extend(finished)
            self._last_interrupted = max((self._last_interrupted, *(each.utterance for each in finished)))
        self._wants_keyframe = True
        return finished

    def request_keyframe(self) -> None:
        """Make the next fragment one at which a player can begin."""
        self._wants_keyframe = True

    def _prepare(self, frame: QueuedFrame) -> None:
        """Get a frame ready, with the events around it."""
        if frame.utterance is not None and frame.utterance != self._speaking:
            self._tell_begin(frame.utterance, frame.number)
        self._speaking = frame.utterance
        self._ready.extend(self._encode(self._encoder, frame) if self._encoder else [self._as_frame(frame)])
        for spoken in self._timeline.hand_out(frame.number + 1):
            self._ready.append(UtteranceFinished(spoken.utterance, self._time_s(spoken.num_frames), False))
        if late := self._find_late():
            self._ready.append(late)

    def _tell_begin(self, utterance: int, frame: int) -> None:
        """Unless it was interrupted while its first frame came here: then its end has been told, and is the last."""
        with self._telling:
            if utterance > self._last_interrupted:
                self._ready.append(UtteranceStarted(utterance, self._time_s(frame)))

    def _encode(self, encoder: FragmentEncoder, frame: QueuedFrame) -> Sequence[InitSegment | Fragment]:
        keyframe, self._wants_keyframe = self._wants_keyframe, False
        return encoder.encode([frame.image], frame.audio, keyframe=keyframe)

    def _as_frame(self, frame: QueuedFrame) -> Frame:
        image = frame.image
        if self._pixel_format == "rgb":
            image = np.ascontiguousarray(i420_to_bgr(image)[:, :, ::-1])
        elif not image.flags.writeable:  # the avatar's own, which every stream shares
            image = image.copy()
        position_s = 0.0 if frame.utterance is None else self._time_s(frame.utterance_frame)
        return Frame(frame.number, self._time_s(frame.number), image, frame.audio, frame.utterance, position_s)

    def _find_late(self) -> Late | None:
        num_held, num_filled = self._hooks.num_held, self._timeline.num_filled
        late = Late(num_held - self._num_held, (num_filled - self._num_filled) / AUDIO_RATE_HZ)
        self._num_held, self._num_filled = num_held, num_filled
        return late if late.num_held or late.silence_s else None

    def _time_s(self, frame: int) -> float:
        return float(frame / self._frame_rate)
