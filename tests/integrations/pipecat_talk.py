"""A whole Pipecat pipeline: frames that a test sends → MuseTalkVideoService → a transport that only takes notes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pipecat.frames.frames import Frame, OutputAudioRawFrame, OutputImageRawFrame, StartFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from musetalk_cli import OpenAvatar
from musetalk_cli.integrations.pipecat import MuseTalkVideoService, transport_params

PATIENCE_S = 30.0
TTS_RATE_HZ = 24_000


class Notes(FrameProcessor):  # type: ignore[misc]
    """Passes everything on, and notes what came when."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[float, Frame]] = []
        self._changed = asyncio.Condition()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        async with self._changed:
            self.frames.append((time.perf_counter(), frame))
            self._changed.notify_all()

    async def wait_for(self, is_wanted: Callable[[Frame], bool], begin: int = 0) -> int:
        """The index of the first frame from ``begin`` on that is wanted."""

        def find() -> int | None:
            return next((n for n in range(begin, len(self.frames)) if is_wanted(self.frames[n][1])), None)

        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: find() is not None), PATIENCE_S)
        found = find()
        assert found is not None
        return found

    def of(self, kind: type[Frame], begin: int = 0) -> list[Any]:
        return [frame for _, frame in self.frames[begin:] if isinstance(frame, kind)]


class SilentTransport(BaseOutputTransport):  # type: ignore[misc]
    """A transport that takes everything at once, and notes the audio that it was to send."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.audio: list[tuple[float, bytes]] = []

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self.audio.append((time.perf_counter(), frame.audio))
        return True

    async def write_video_frame(self, frame: OutputImageRawFrame) -> bool:
        return True


@dataclass
class Talk:
    """A running pipeline. ``before`` and ``behind`` note what passes on both sides of the service."""

    before: Notes
    service: MuseTalkVideoService
    behind: Notes
    transport: SilentTransport
    after: Notes
    worker: PipelineWorker
    running: asyncio.Task[None]
    events: list[Any] = field(default_factory=list)

    async def say(self, duration_s: float, chunk_s: float = 0.1, frequency_hz: float = 220.0) -> bytes:
        """A tone in chunks, as a synthesiser sends it: faster than it is spoken. Returns its samples."""
        times = np.arange(round(duration_s * TTS_RATE_HZ)) / TTS_RATE_HZ
        samples = (9_000 * np.sin(2 * np.pi * frequency_hz * times)).astype("<i2")
        num_chunk = round(chunk_s * TTS_RATE_HZ)
        for start in range(0, len(samples), num_chunk):
            await self.send(TTSAudioRawFrame(samples[start : start + num_chunk].tobytes(), TTS_RATE_HZ, 1))
        return samples.tobytes()

    async def send(self, *frames: Frame) -> None:
        await self.worker.queue_frames(frames)

    async def ended(self) -> None:
        await asyncio.wait_for(self.running, PATIENCE_S)


@asynccontextmanager
async def talk(avatar: OpenAvatar | str, **options: Any):  # type: ignore[no-untyped-def]
    """Run a pipeline around an avatar; leaving it cancels what still runs."""
    service = MuseTalkVideoService(avatar, **options)
    shape = transport_params(avatar) if isinstance(avatar, OpenAvatar) else {"audio_out_enabled": True}
    transport = SilentTransport(TransportParams(**shape, audio_out_end_silence_secs=0))
    before, behind, after = Notes(), Notes(), Notes()
    pipeline = Pipeline([before, service, behind, transport, after])
    worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)
    started = asyncio.Event()
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    events: list[Any] = []
    for name in ("on_utterance_started", "on_utterance_finished"):
        service.add_event_handler(name, lambda _, event: events.append(event))
    try:
        await asyncio.wait_for(started.wait(), PATIENCE_S)
        yield Talk(before, service, behind, transport, after, worker, running, events)
    finally:
        if not running.done():
            await worker.cancel()
        await asyncio.wait_for(running, PATIENCE_S)
