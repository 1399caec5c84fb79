"""A LiveKit agent with a face, published by the agent itself.

    pip install -e ".[livekit]"
    LIVEKIT_URL=… LIVEKIT_API_KEY=… LIVEKIT_API_SECRET=… python examples/livekit_agent.py dev

It says hello.wav in place of a speech synthesiser. Without a LiveKit server,
``python examples/livekit_agent.py offline`` says it once into a room that nobody is in.
"""

from __future__ import annotations

import asyncio
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli
from livekit.agents.voice.io import PlaybackFinishedEvent

import musetalk_cli as musetalk
from musetalk_cli.integrations.livekit import RunningAvatar, start

HELLO = Path(__file__).parent / "hello.wav"
CHUNK_S = 0.1


async def hello() -> AsyncIterator[rtc.AudioFrame]:
    """A pretended speech synthesiser."""
    with wave.open(str(HELLO)) as file:
        num_chunk = round(CHUNK_S * file.getframerate())
        while data := file.readframes(num_chunk):
            yield rtc.AudioFrame(data, file.getframerate(), 1, len(data) // 2)


async def greet(room: Any, avatar: musetalk.OpenAvatar, **joining: Any) -> RunningAvatar:
    """Put the avatar in the room, and say hello to whoever is there. ``joining``: as for ``AgentSession.start``."""
    session: AgentSession[None] = AgentSession()  # with stt=, llm= and tts= in a real agent
    running = await start(session, room, avatar)
    running.audio.on("playback_finished", tell)
    await session.start(Agent(instructions="You are friendly."), **joining)
    await session.say("Hello!", audio=hello()).wait_for_playout()
    return running


def tell(event: PlaybackFinishedEvent) -> None:
    print(f"{'interrupted' if event.interrupted else 'said'} after {event.playback_position:.2f} s", flush=True)


def prewarm(process: JobProcess) -> None:
    """Open the avatar and its model before a job needs them."""
    process.userdata["avatar"] = musetalk.open_avatar("nora", size=512)


server = AgentServer(setup_fnc=prewarm)


@server.rtc_session()
async def entrypoint(job: JobContext) -> None:
    await job.connect()
    await greet(job.room, job.proc.userdata["avatar"], room=job.room)


class NoRoom:
    """A room without a server, which takes tracks and sends them to nobody."""

    def __init__(self) -> None:
        self.local_participant = self

    def isconnected(self) -> bool:
        return True

    def on(self, *handler: object) -> None:
        pass

    def off(self, *handler: object) -> None:
        pass

    async def publish_track(self, track: rtc.Track, options: rtc.TrackPublishOptions) -> NoRoom:
        print(f"publishes {track.name}", flush=True)
        return self

    async def wait_for_subscription(self) -> None:
        pass


async def run_offline() -> None:
    with musetalk.open_avatar("nora", size=256) as avatar:
        running = await greet(NoRoom(), avatar)
        await running.aclose()


if __name__ == "__main__":
    if sys.argv[1:] == ["offline"]:
        asyncio.run(run_offline())
    else:
        cli.run_app(server)
