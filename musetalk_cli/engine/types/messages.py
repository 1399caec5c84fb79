"""What travels through the engine, one frozen message per hop.

Sound rides with the frames it belongs to, so that picture and voice never have to be matched again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.rates import MODEL_RATE_HZ as MODEL_RATE_HZ
from musetalk_cli.engine.types.rates import SOUND_RATE_HZ as SOUND_RATE_HZ

FloatArray = NDArray[np.float32]
SoundArray = NDArray[np.int16]
ByteArray = NDArray[np.uint8]


class Region(NamedTuple):
    """A rectangle of the frame in pixels, all four even so that it covers whole chroma samples."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class AudioBlock:
    """The unit of work: a fixed length of sound with the context that the model asks for.

    ``samples`` float32 (before + block + after,), 16 kHz mono in ±1, zero outside the stream; its first sample stands
    ``start_s`` seconds after the stream's first (negative in front of it). ``sound`` int16 (n, channels), 48 kHz,
    without padding: it begins with the stream's sample ``sound_start`` and ends ``sound_lead`` samples behind the
    block's own end, so that sound reaches the encoder ahead of its pictures. ``frames``: the output frames that belong
    to the block. ``sound_end``: how many 48 kHz samples the stream has, where that is known when the block is cut; None
    says that it goes on behind the last of ``samples``.
    """

    index: int
    samples: FloatArray
    start_s: float
    sound: SoundArray
    sound_start: int
    frames: range
    sound_end: int | None = None
    sound_lead: int = 0


@dataclass(frozen=True)
class FeatureBatch:
    """What a model needs for the frames that share one call.

    ``features`` float32 (len(frames), d); ``sound`` as in AudioBlock. ``avatar_frames``: which frame of the avatar each
    output frame shows, and ``pictures``: that frame, planar I420, uint8 (height · 3/2, width), for each a fresh array
    that only the compositing writes into. Both are empty until the avatar's frames have been read.
    """

    features: FloatArray
    frames: range
    sound: SoundArray
    avatar_frames: tuple[int, ...] = ()
    pictures: tuple[ByteArray, ...] = ()


@dataclass(frozen=True)
class Face:
    """What a model changes in one avatar frame: ``planes`` that take the place of its ``region``.

    ``mask`` uint8 (region.height, region.width): how much of every pixel is the face's, 255 for all of it; None where
    that is so everywhere.
    """

    region: Region
    planes: Planes
    mask: ByteArray | None = None


@dataclass(frozen=True)
class FaceBatch:
    """One finished face per frame, and the avatar's ``pictures`` that they go into, as in FeatureBatch.

    Without any faces, the pictures are shown as they are.
    """

    faces: tuple[Face, ...]
    pictures: tuple[ByteArray, ...]
    frames: range
    sound: SoundArray


@dataclass(frozen=True)
class HeldBatch:
    """Frames for which no face is made: they repeat the picture before them, or, where a stream begins so, show the
    avatar's own ``pictures``. Their ``sound`` goes out as it is."""

    pictures: tuple[ByteArray, ...]
    frames: range
    sound: SoundArray


@dataclass(frozen=True)
class FrameBatch:
    """``pictures``: one uint8 (height · 3/2, width) per frame, planar I420; ``sound`` int16 (n, channels), 48 kHz."""

    pictures: tuple[ByteArray, ...]
    sound: SoundArray
