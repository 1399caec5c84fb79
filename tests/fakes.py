"""Stand-ins for the engine's parts, each as small as its interface allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.landmarks import NUM_POINTS, Landmarks
from musetalk_cli.engine.colour import Planes, planes_to_i420
from musetalk_cli.engine.encoder import EncoderProcess, EncoderSettings
from musetalk_cli.engine.messages import (
    AudioBlock,
    ByteArray,
    Face,
    FaceBatch,
    FeatureBatch,
    FloatArray,
    Region,
    SoundArray,
)
from musetalk_cli.engine.pipeline import PipelineSettings

WIDTH, HEIGHT = 64, 48


class FakeModel:
    """Paints each frame's number into its region, and takes its time in an uneven way."""

    name, num_silent = "fake", 0
    before_s, after_s = 0.2, 0.1

    def __init__(self, frame_rate: Fraction = Fraction(25), delay_s: float = 0.0, fails_at: int | None = None) -> None:
        self.frame_rate = frame_rate
        self.blocks: list[AudioBlock] = []
        self._delay_s = delay_s
        self._fails_at = fails_at

    def features(self, block: AudioBlock) -> FloatArray:
        self.blocks.append(block)
        return np.array([[frame] for frame in block.frames], dtype=np.float32).reshape(-1, 1)

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        if self._fails_at is not None and self._fails_at in batch.frames:
            raise ValueError(f"cannot make frame {self._fails_at}")
        # The later of two neighbouring batches is the quicker, so that order is put to the test.
        time.sleep(self._delay_s * (2 if (batch.frames.start // 8) % 2 == 0 else 1))
        region = Region(24, 16, 16, 8)
        faces = tuple(Face(region, solid(16, 8, 16 + int(row[0]) % 220)) for row in batch.features)
        return FaceBatch(faces, batch.pictures, batch.frames, batch.sound)

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        return FaceBatch((), batch.pictures, batch.frames, batch.sound)


class FakeFrames:
    """Grey frames, each a little brighter than the one before."""

    width, height = WIDTH, HEIGHT

    def __init__(self, num_frames: int = 1, step: int = 0) -> None:
        self.num_frames = num_frames
        self.asked: list[int] = []
        self.is_closed = False
        self._step = step

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        self.asked.extend(indices)
        return [planes_to_i420(solid(WIDTH, HEIGHT, 60 + self._step * index)) for index in indices]

    def picture(self, index: int = 0) -> ByteArray:
        return np.full((HEIGHT, WIDTH, 3), 60, dtype=np.uint8)

    def close(self) -> None:
        self.is_closed = True


def fake_avatar(frames: FakeFrames | None = None, frame_rate: Fraction | None = None) -> Avatar:
    """An avatar without a face worth the name."""
    frames = frames or FakeFrames()
    face = Landmarks(**{name: np.zeros((count, 2), dtype=np.float32) for name, count in NUM_POINTS.items()})
    return Avatar("fake", frames, frame_rate, (face,) * frames.num_frames)


class FakeSource:
    """Gives chunks of sound; ``error`` is raised at the end, and ``blocks_forever`` waits for ``stop``."""

    num_channels = 1
    duration_s = None

    def __init__(self, chunks: list[SoundArray], error: Exception | None = None, blocks_forever: bool = False) -> None:
        self._chunks = list(chunks)
        self._error = error
        self._stopped = threading.Event()
        self._blocks_forever = blocks_forever
        self.is_closed = False

    def open(self) -> None:
        pass

    def read(self) -> SoundArray | None:
        if self._chunks and not self._stopped.is_set():
            return self._chunks.pop(0)
        if self._blocks_forever:
            self._stopped.wait(30)
        if self._error:
            raise self._error
        return None

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.stop()
        self.is_closed = True


class MemorySink:
    """Keeps the bytes, or fails with ``error`` at the first."""

    name = "memory"

    def __init__(self, error: Exception | None = None) -> None:
        self.data = b""
        self.is_whole: bool | None = None
        self.is_final: bool | None = None
        self.where: str | None = None
        self._error = error

    def write(self, data: bytes) -> None:
        if self._error:
            raise self._error
        self.data += data

    def cancel(self) -> None:
        pass

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        self.is_whole, self.is_final = is_whole, is_final


def solid(width: int, height: int, luma: int) -> Planes:
    """One grey."""
    return Planes(
        np.full((height, width), luma, dtype=np.uint8), np.full((height // 2, width // 2, 2), 128, dtype=np.uint8)
    )


def tone(duration_s: float, num_channels: int = 1, frequency_hz: float = 440.0) -> SoundArray:
    """A sine at half of full scale, 48 kHz."""
    times = np.arange(round(duration_s * 48_000)) / 48_000
    wave = (16_000 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.int16)
    return np.repeat(wave[:, None], num_channels, axis=1)


def encoder_process(ffmpeg: str, rate: Fraction = Fraction(25)) -> EncoderProcess:
    """An encoder for the fake model's small picture."""
    return EncoderProcess(
        ffmpeg, EncoderSettings(WIDTH, HEIGHT, rate, 1, "ultrafast", "zerolatency", 23, None, 64, 1.0)
    )


def pipeline_settings(**changes: object) -> PipelineSettings:
    """Settings for the fake model."""
    values: dict[str, object] = {
        "block_s": 2.0,
        "buffer_blocks": 4,
        "batch_size": 8,
        "num_workers": 3,
        "frame_rate": Fraction(25),
    }
    return PipelineSettings(**{**values, **changes})  # type: ignore[arg-type]
