"""A face for a voice of OpenAI's Realtime API, or of a server that speaks its protocol.

    pip install -e ".[session]" websockets
    OPENAI_API_KEY=… python examples/openai_realtime.py -o - | ffplay -fflags nobuffer -i -

What you say into the microphone goes to the server, its answer becomes a talking avatar: one fragmented MP4 in a file,
a named pipe or, with ``-o -``, on stdout. When you begin to speak, the avatar stops, and the server is told how much of
its answer has been heard. ``--voice`` takes a WAV file in place of the microphone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import sys
import wave
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import websockets

import musetalk_cli as musetalk

RATE_HZ = 24_000
CHUNK_S = 0.1
FORMAT = {"type": "audio/pcm", "rate": RATE_HZ}
SETTINGS = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "audio": {"input": {"format": FORMAT, "turn_detection": {"type": "server_vad"}}, "output": {"format": FORMAT}},
}


@dataclass
class Answer:
    """One item of the server's audio: which it is, how much of it came, and where in it an utterance begins."""

    item_id: str
    content_index: int
    received_s: float = 0.0
    utterance: int | None = None
    utterance_begin_s: float = 0.0

    def heard_s(self, position_s: float) -> float:
        """How much was heard when its utterance was interrupted; never more than came."""
        return min(self.received_s, self.utterance_begin_s + position_s)


class Relay:
    """Between the server's socket and a session. ``tell`` is called with what happens."""

    def __init__(self, session: musetalk.AsyncSession, socket: Any, tell: Callable[[object], None]) -> None:
        self._session, self._socket, self._tell = session, socket, tell
        self._answer: Answer | None = None
        self._interrupted: set[str] = set()
        self._num_finished = 0  # utterances

    async def receive(self) -> None:
        """Do what the server says, until it hangs up; then say the rest."""
        with contextlib.suppress(websockets.ConnectionClosedOK):
            await self._send("session.update", session=SETTINGS)
            async for message in self._socket:
                await self._follow(json.loads(message))
        await self._session.finish()

    async def _follow(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind in ("response.output_audio.delta", "response.audio.delta"):
            await self._push(event)
        elif kind in ("response.output_audio.done", "response.audio.done"):
            await self._session.end_utterance()
        elif kind == "input_audio_buffer.speech_started":
            await self._interrupt()
        elif kind == "error":
            self._tell(event["error"].get("message", event["error"]))

    async def send_voice(self, chunks: AsyncIterator[bytes]) -> None:
        """Send pcm16 at 24 kHz as it comes."""
        async for chunk in chunks:
            await self._send("input_audio_buffer.append", audio=base64.b64encode(chunk).decode())

    async def show(self, write: Callable[[bytes], object]) -> None:
        """Write the video as it becomes due."""
        async for item in self._session:
            if isinstance(item, (musetalk.InitSegment, musetalk.Fragment)):
                write(item.data)
                continue
            if isinstance(item, musetalk.UtteranceFinished):
                self._num_finished = item.utterance + 1
            self._tell(item)

    async def _push(self, event: dict[str, Any]) -> None:
        item_id = event["item_id"]
        if item_id in self._interrupted:
            return  # it was on its way
        if self._answer is None or self._answer.item_id != item_id:
            self._answer = Answer(item_id, event.get("content_index", 0))
        samples = np.frombuffer(base64.b64decode(event["delta"]), "<i2")
        await self._session.push(samples, RATE_HZ)
        answer, utterance = self._answer, self._session.session.last_utterance
        if answer.utterance != utterance:
            answer.utterance, answer.utterance_begin_s = utterance, answer.received_s
        answer.received_s += len(samples) / RATE_HZ

    async def _interrupt(self) -> None:
        answer, interruption = self._answer, await self._session.clear()
        is_heard_out = answer is None or answer.utterance is None or answer.utterance < self._num_finished
        if answer is None or is_heard_out or answer.item_id in self._interrupted:
            return
        self._interrupted.add(answer.item_id)
        heard_s = answer.heard_s(interruption.position_s if interruption.utterance == answer.utterance else 0.0)
        await self._send(
            "conversation.item.truncate",
            item_id=answer.item_id,
            content_index=answer.content_index,
            audio_end_ms=int(1000 * heard_s),
        )

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))


async def read_file(path: Path) -> AsyncIterator[bytes]:
    """A WAV file, as fast as it would be spoken."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise SystemExit(
                f"{path} is no 16-bit mono WAV at 24 kHz: ffmpeg -i {path} -ar 24000 -ac 1 -sample_fmt s16 …"
            )
        while chunk := file.readframes(round(CHUNK_S * RATE_HZ)):
            yield chunk
            await asyncio.sleep(CHUNK_S)


async def read_microphone() -> AsyncIterator[bytes]:
    """The microphone, for ever."""
    import sounddevice

    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def take(data: Any, *_: object) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, bytes(data))

    with sounddevice.RawInputStream(RATE_HZ, round(CHUNK_S * RATE_HZ), channels=1, dtype="int16", callback=take):
        while True:
            yield await queue.get()


async def converse(
    url: str,
    headers: dict[str, str],
    chunks: AsyncIterator[bytes],
    write: Callable[[bytes], object],
    tell: Callable[[object], None],
    **opening: Any,
) -> None:
    """One conversation, until the server hangs up. ``opening``: as for ``open_session``."""
    async with (
        musetalk.open_async_session(output="fragments", **opening) as session,
        websockets.connect(url, additional_headers=headers, max_size=None) as socket,
    ):
        relay = Relay(session, socket, tell)
        sending = asyncio.create_task(relay.send_voice(chunks))
        try:
            await asyncio.gather(relay.receive(), relay.show(write))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="live.mp4", help="file, named pipe, or - for stdout")
    parser.add_argument("--url", default="wss://api.openai.com/v1/realtime?model=gpt-realtime")
    parser.add_argument("--voice", type=Path, help="a WAV file in place of the microphone")
    parser.add_argument("--avatar", default="nora")
    options = parser.parse_args()
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("OPENAI_API_KEY")) else {}
    chunks = read_file(options.voice) if options.voice else read_microphone()

    def tell(what: object) -> None:
        print(what, file=sys.stderr)

    try:
        with sys.stdout.buffer if options.output == "-" else Path(options.output).open("wb", buffering=0) as output:
            asyncio.run(converse(options.url, headers, chunks, output.write, tell, avatar=options.avatar))
    except (OSError, websockets.WebSocketException, musetalk.MuseTalkError) as error:
        raise SystemExit(f"openai_realtime: {error}") from None


if __name__ == "__main__":
    main()
