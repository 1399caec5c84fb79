"""What a session gives: frames with their audio, and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musetalk_cli.engine.types.messages import AudioArray, ByteArray

PixelFormat = Literal["i420", "rgb"]


@dataclass(frozen=True)
class Frame:
    """One frame of a session and the audio that is played while it is shown.

    ``number`` counts from 0; ``time_s`` is when it is shown, from the session's first. ``image`` in the session's pixel
    format: ``i420`` is uint8 (height · 3/2, width), first Y, then U, then V, BT.709 in video range; ``rgb`` is uint8
    (height, width, 3). ``audio`` int16 (n, channels) at 48 kHz. ``utterance`` is the number of the utterance that
    speaks, None between utterances, and ``position_s`` how far into it this frame begins.
    """

    number: int
    time_s: float
    image: ByteArray
    audio: AudioArray
    utterance: int | None
    position_s: float


@dataclass(frozen=True)
class UtteranceStarted:
    """The next frame is the first of an utterance; ``time_s`` is its time."""

    utterance: int
    time_s: float


@dataclass(frozen=True)
class UtteranceFinished:
    """Nothing more of an utterance will come: ``position_s`` seconds of it were handed out, all of it unless
    ``is_interrupted``."""

    utterance: int
    position_s: float
    is_interrupted: bool


@dataclass(frozen=True)
class Late:
    """Frames repeat the one before because the model was too slow for ``num_held`` of them since the last such event,
    or a voice came too late and ``silence_s`` seconds of silence took its place."""

    num_held: int
    silence_s: float


@dataclass(frozen=True)
class Interruption:
    """What ``clear`` stopped: an utterance after ``position_s`` seconds of it, or nothing that had begun (None, 0)."""

    utterance: int | None
    position_s: float


Event = UtteranceStarted | UtteranceFinished | Late
