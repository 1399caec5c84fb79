"""The examples that need no browser: openai_realtime.py with a pretended server, livekit_agent.py without one."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from musetalk_cli import UtteranceFinished, UtteranceStarted

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
RATE_HZ = 24_000
PATIENCE_S = 30.0


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


class Conversation:
    """One connection of the pretended server: what the client sent, and what happened at its side."""

    def __init__(self, socket: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.happened: list[object] = []
        self._socket = socket
        self._changed = asyncio.Condition()

    async def take(self) -> None:
        async for message in self._socket:
            self.sent.append(json.loads(message))
            await self.tell()

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, is_so: Callable[[], bool]) -> None:
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(is_so), PATIENCE_S)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["type"] == kind]

    async def say(self, item_id: str, duration_s: float, prefix: str = "response.output_audio") -> None:
        """An answer, faster than it is spoken."""
        samples = (9_000 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)).astype("<i2")
        for start in range(0, len(samples), 4_800):
            delta = base64.b64encode(samples[start : start + 4_800].tobytes()).decode()
            await self.send(f"{prefix}.delta", item_id=item_id, content_index=0, delta=delta)
        await self.send(f"{prefix}.done", item_id=item_id, content_index=0)

    async def send(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))


def converse(script: Callable[[Conversation], Awaitable[None]], voice: bytes = b"") -> tuple[Conversation, bytes]:
    """Run the relay against a server that follows a script; what the server saw, and the MP4."""
    serve = pytest.importorskip("websockets.asyncio.server", reason="needs websockets").serve
    pytest.importorskip("av", reason="needs PyAV")
    relay = load("openai_realtime")
    video, talks = io.BytesIO(), []

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(voice), 4_096):
            yield voice[start : start + 4_096]

    async def handle(socket: Any) -> None:
        talks.append(talk := Conversation(socket))
        taking = asyncio.create_task(talk.take())
        await talk.wait_for(lambda: bool(talk.of("session.update")))
        await script(talk)
        await socket.close()
        await taking

    async def main() -> None:
        telling: set[asyncio.Task[None]] = set()

        def tell(what: object) -> None:
            talks[0].happened.append(what)
            telling.add(asyncio.ensure_future(talks[0].tell()))

        async with serve(handle, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            talk = relay.converse(url, {}, chunks(), video.write, tell, avatar="nora", size=64)
            await asyncio.wait_for(talk, PATIENCE_S)

    asyncio.run(main())
    return talks[0], video.getvalue()


def finished(talk: Conversation) -> list[UtteranceFinished]:
    return [what for what in talk.happened if isinstance(what, UtteranceFinished)]


@pytest.mark.parametrize("prefix", ["response.output_audio", "response.audio"])
def test_an_answer_becomes_a_video_whole(prefix: str) -> None:
    async def script(talk: Conversation) -> None:
        await talk.say("item_1", 0.6, prefix)

    talk, video = converse(script)
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(video)) as file:
        voiced = sum(bool(np.abs(frame.to_ndarray()).max() > 0.05) for frame in file.decode(audio=0))
    with av.open(io.BytesIO(video)) as file:
        num_frames = sum(1 for _ in file.decode(video=0))
    assert talk.sent[0]["type"] == "session.update"
    assert [(end.position_s, end.is_interrupted) for end in finished(talk)] == [(0.6, False)]
    assert voiced >= 0.6 * 48_000 / 1024 - 1  # AAC frames
    assert num_frames > 15
    assert talk.of("conversation.item.truncate") == []


def test_the_voice_goes_to_the_server_unchanged() -> None:
    voice = bytes(range(256)) * 100

    async def script(talk: Conversation) -> None:
        await talk.wait_for(lambda: sum(map(len, received(talk))) == len(voice))

    def received(talk: Conversation) -> list[bytes]:
        return [base64.b64decode(message["audio"]) for message in talk.of("input_audio_buffer.append")]

    talk, _ = converse(script, voice)
    assert b"".join(received(talk)) == voice


def test_speech_interrupts_and_the_server_is_told_how_much_was_heard() -> None:
    async def script(talk: Conversation) -> None:
        await talk.say("item_1", 8.0)
        await talk.wait_for(lambda: any(isinstance(what, UtteranceStarted) for what in talk.happened))
        await talk.send("input_audio_buffer.speech_started")
        await talk.say("item_1", 0.4)  # what was on its way
        await talk.wait_for(lambda: bool(talk.of("conversation.item.truncate")))
        await talk.say("item_2", 0.4)
        await talk.wait_for(lambda: len(finished(talk)) == 2)
        await talk.send("input_audio_buffer.speech_started")  # while nothing is said

    talk, _ = converse(script)
    interrupted, reply = finished(talk)
    assert interrupted.is_interrupted
    assert (reply.position_s, reply.is_interrupted) == (0.4, False)
    (truncation,) = talk.of("conversation.item.truncate")
    assert (truncation["item_id"], truncation["content_index"]) == ("item_1", 0)
    assert 0 < truncation["audio_end_ms"] == int(1000 * interrupted.position_s) < 8_000


def test_an_error_of_the_server_is_told() -> None:
    async def script(talk: Conversation) -> None:
        await talk.send("error", error={"message": "no such model"})

    assert converse(script)[0].happened == ["no such model"]


def test_the_livekit_agent_runs_without_a_server() -> None:
    pytest.importorskip("livekit.agents", reason="needs the extra livekit")
    command = [sys.executable, str(EXAMPLES / "livekit_agent.py"), "offline"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["publishes avatar_audio", "publishes avatar_video", "said after 6.96 s"]
