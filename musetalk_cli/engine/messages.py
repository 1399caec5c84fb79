"""What travels through the engine, one frozen message per hop.

Sound rides with the frames it belongs to, so that picture and voice never have to be matched again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.colour import Planes

FloatArray = NDArray[np.float32]
SoundArray = NDArray[np.int16]
ByteArray = NDArray[np.uint8]

MODEL_RATE_HZ = 16_000  # what the models hear
SOUND_RATE_HZ = 48_000  # what the viewer hears


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
    without context and, in the last block, without padding; it begins with the stream's sample ``sound_start``.
    ``frames``: the output frames that belong to the block. ``sound_end``: how many 48 kHz samples the stream has, where
    that is known when the block is cut; None says that it goes on behind the last of ``samples``.
    """

    index: int
    samples: FloatArray
    start_s: float
    sound: SoundArray
    sound_start: int
    frames: range
    sound_end: int | None = None


@dataclass(frozen=True)
class FeatureBatch:
    """``features`` float32 (len(frames), d) for the frames that share one call of the model, and their ``sound``."""

    features: FloatArray
    frames: range
    sound: SoundArray


@dataclass(frozen=True)
class FaceBatch:
    """One finished face per frame: the planes that replace the avatar frame's ``region``."""

    faces: tuple[Planes, ...]
    region: Region
    frames: range
    sound: SoundArray


@dataclass(frozen=True)
class FrameBatch:
    """``pictures``: one uint8 (height · 3/2, width) per frame, planar I420; ``sound`` int16 (n, channels), 48 kHz."""

    pictures: tuple[ByteArray, ...]
    sound: SoundArray
