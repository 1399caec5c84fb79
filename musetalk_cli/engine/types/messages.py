"""What travels through the engine, one frozen message per hop.

Audio travels with the frames it belongs to, so that the two never have to be matched again. What holds arrays, which
are not equal or unequal as a whole, is equal to itself alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.audio import AUDIO_RATE_HZ as AUDIO_RATE_HZ
from musetalk_cli.engine.types.audio import MODEL_RATE_HZ as MODEL_RATE_HZ
from musetalk_cli.engine.types.audio import LowPass as LowPass
from musetalk_cli.engine.types.colour import ByteArray as ByteArray
from musetalk_cli.engine.types.colour import Planes

FloatArray = NDArray[np.float32]
AudioArray = NDArray[np.int16]
Tell = Callable[[str], None]  # takes one line for the user; the engine itself draws nothing


class Region(NamedTuple):
    """A rectangle of the frame in pixels, all four even so that it covers whole chroma samples."""

    left: int
    top: int
    width: int
    height: int


class Cue(NamedTuple):
    """Which part of the voice some frames show, and whether they still count.

    ``epoch``: how often the run had been interrupted when they were planned; frames of an older epoch are dropped.
    ``utterance``: its number, None for idle frames. ``first_frame``: the utterance's own number of the first of them.
    ``audio_start``: the output's 48 kHz sample with which their audio begins. ``features`` float32 (n, d): what the
    mouth shows in them, None where it is shut.
    """

    epoch: int = 0
    utterance: int | None = 0
    first_frame: int = 0
    audio_start: int = 0
    features: FloatArray | None = None


FROM_THE_START = Cue()


class Deadline(NamedTuple):
    """When the faces of a batch are due, in seconds of ``time.monotonic``, and whether anybody still waits for them."""

    due_at: float
    is_wanted: Callable[[], bool]


class WholeVoice(NamedTuple):
    """A voice that is known to its end beforehand: ``samples`` float32 (n,), 16 kHz mono, as a model is to get them
    instead of those that are decimated from 48 kHz, and the ``num_frames`` that its video has."""

    samples: FloatArray
    num_frames: int


@dataclass(frozen=True, eq=False)
class AudioBlock:
    """The unit of work: a fixed length of audio with the context that the model asks for.

    ``samples`` float32 (before + block + after,), 16 kHz mono in ±1, zero outside the stream; its first sample stands
    ``start_s`` seconds after the stream's first (negative in front of it). ``audio`` int16 (n, channels), 48 kHz,
    without padding: it begins with the stream's sample ``audio_start`` and ends ``audio_lead`` samples behind the
    block's own end, so that audio reaches the encoder ahead of its frames. ``frames``: the output frames that belong
    to the block. ``audio_end``: how many 48 kHz samples the stream has, where that is known when the block is cut; None
    says that it goes on behind the last of ``samples``. ``num_samples``: likewise, how many at 16 kHz; None also where
    these follow from ``audio_end``.

    A stream that is one utterance of several begins with the output's frame ``frame_offset`` and sample
    ``audio_offset``; ``epoch`` and ``utterance`` are those of Cue.
    """

    index: int
    samples: FloatArray
    start_s: float
    audio: AudioArray
    audio_start: int
    frames: range
    audio_end: int | None = None
    audio_lead: int = 0
    num_samples: int | None = None
    frame_offset: int = 0
    audio_offset: int = 0
    epoch: int = 0
    utterance: int | None = 0


@dataclass(frozen=True, eq=False)
class IdleBlock:
    """Frames between utterances: the avatar lives on and says nothing.

    ``frames`` of the output; ``audio`` int16 (n, channels), 48 kHz, from the output's sample ``audio_start`` on.
    ``features`` float32 (len(frames), d) are those of a mouth that closes after an interruption, None where it is shut.
    """

    frames: range
    audio: AudioArray
    audio_start: int
    epoch: int
    features: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """What a model needs for the frames that share one call.

    ``features`` float32 (len(frames), d); ``frames`` of the output; ``audio`` as in AudioBlock. ``is_idle``: nobody
    speaks in them. ``avatar_frames``: which frame of the avatar each output frame shows, and ``images``: that frame,
    planar I420, uint8 (height · 3/2, width), as of ``AvatarFrames.read``. Both are empty until the avatar's frames have
    been read. ``deadline``: None where there is no hurry.
    """

    features: FloatArray
    frames: range
    audio: AudioArray
    avatar_frames: tuple[int, ...] = ()
    images: tuple[ByteArray, ...] = ()
    cue: Cue = FROM_THE_START
    is_idle: bool = False
    deadline: Deadline | None = None


class Face(NamedTuple):
    """What a model changes in one avatar frame: ``planes`` that take the place of its ``region``.

    ``mask`` uint8 (region.height, region.width): how much of every pixel is the face's, 255 for all of it; None where
    that is so everywhere.
    """

    region: Region
    planes: Planes
    mask: ByteArray | None = None


NO_REGION = Region(0, 0, 2, 2)


def unchanged_face() -> Face:
    """What leaves the avatar's frame as it is."""
    black = Planes(np.zeros((2, 2), np.uint8), np.zeros((1, 1, 2), np.uint8))
    return Face(NO_REGION, black, np.zeros((2, 2), np.uint8))


@dataclass(frozen=True, eq=False)
class FaceBatch:
    """One finished face per frame, and the avatar's ``images`` that they go into, as in FeatureBatch.

    Without any faces, the images are shown as they are: the avatar's, or drawn by the model.
    """

    faces: tuple[Face, ...]
    images: tuple[ByteArray, ...]
    frames: range
    audio: AudioArray
    cue: Cue = FROM_THE_START


@dataclass(frozen=True, eq=False)
class HeldBatch:
    """Frames for which no face is made: they repeat the frame before them, or, where a stream begins so, show the
    avatar's own ``images``. Their ``audio`` goes out as it is."""

    images: tuple[ByteArray, ...]
    frames: range
    audio: AudioArray
    cue: Cue = FROM_THE_START


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """``images``: one uint8 (height · 3/2, width) per frame, planar I420; ``audio`` int16 (n, channels), 48 kHz.

    ``frames``: their numbers in the output.
    """

    images: tuple[ByteArray, ...]
    audio: AudioArray
    frames: range = range(0)
    cue: Cue = FROM_THE_START
