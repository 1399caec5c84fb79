"""An avatar in a browser, through Pipecat and WebRTC, with nothing but this computer.

    pip install -e ".[pipecat]" "pipecat-ai[webrtc]"
    python examples/pipecat_bot.py

It says hello.wav in place of a speech synthesiser, which comes where SpokenFile is below.
"""

from __future__ import annotations

import argparse
import asyncio
import wave
from pathlib import Path
from typing import Any

from aiohttp import web
from pipecat.frames.frames import InterruptionFrame, TTSAudioRawFrame, TTSSpeakFrame, TTSStartedFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner

import musetalk_cli as musetalk
from musetalk_cli.integrations.pipecat import MuseTalkVideoService, transport_params

HERE = Path(__file__).parent
CHUNK_S = 0.1


class SpokenFile(FrameProcessor):
    """A pretended speech synthesiser: whatever it is asked to say, it says a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with wave.open(str(path)) as file:
            self._rate_hz, self._samples = file.getframerate(), file.readframes(file.getnframes())

    async def process_frame(self, frame: Any, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, TTSSpeakFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(TTSStartedFrame())
        num_bytes = 2 * round(CHUNK_S * self._rate_hz)
        for start in range(0, len(self._samples), num_bytes):
            await self.push_frame(TTSAudioRawFrame(self._samples[start : start + num_bytes], self._rate_hz, 1))
        await self.push_frame(TTSStoppedFrame())


async def talk(connection: SmallWebRTCConnection, avatar: musetalk.OpenAvatar) -> None:
    """A conversation with one browser, until it leaves."""
    # Pipecat's WebRTC video has 30 frames per second; an avatar's frame is repeated where there is no new one.
    params = TransportParams(**{**transport_params(avatar), "video_out_framerate": 30})
    transport = SmallWebRTCTransport(webrtc_connection=connection, params=params)
    service = MuseTalkVideoService(avatar)
    pipeline = Pipeline([transport.input(), SpokenFile(HERE / "hello.wav"), service, transport.output()])
    worker = PipelineWorker(pipeline, cancel_on_idle_timeout=False, enable_rtvi=False)

    @transport.event_handler("on_client_connected")
    async def greet(transport: object, client: object) -> None:
        await worker.queue_frame(TTSSpeakFrame("Hello!"))

    @transport.event_handler("on_app_message")
    async def interrupt(transport: object, message: object, sender: object) -> None:
        if message == {"type": "interrupt"}:
            await worker.queue_frames([InterruptionFrame(), TTSSpeakFrame("Sorry?")])

    @transport.event_handler("on_client_disconnected")
    async def leave(transport: object, client: object) -> None:
        await worker.cancel()

    @service.event_handler("on_utterance_finished")
    async def tell(service: object, event: musetalk.UtteranceFinished) -> None:
        print(f"{'interrupted' if event.is_interrupted else 'said'} after {event.position_s:.2f} s", flush=True)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def application(avatar: musetalk.OpenAvatar) -> web.Application:
    """``GET /`` is the page, ``POST /offer`` answers its WebRTC offer and starts a pipeline."""
    talks: set[asyncio.Task[None]] = set()

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "pipecat_page.html")

    async def offer(request: web.Request) -> web.Response:
        description = await request.json()
        connection = SmallWebRTCConnection()
        await connection.initialize(sdp=description["sdp"], type=description["type"])
        task = asyncio.create_task(talk(connection, avatar))
        talks.add(task)
        task.add_done_callback(talks.discard)
        return web.json_response(connection.get_answer())

    async def leave(app: web.Application) -> None:
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    app = web.Application()
    app.add_routes([web.get("/", page), web.post("/offer", offer)])
    app.on_shutdown.append(leave)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--avatar", default="nora")
    parser.add_argument("--size", type=int, default=512, help="height of the video in pixels")
    options = parser.parse_args()
    with musetalk.open_avatar(options.avatar, size=options.size) as avatar:
        web.run_app(application(avatar), host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
