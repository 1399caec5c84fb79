"""What a client and the front say to each other, over real sockets, with fake workers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.exceptions import ConnectionClosed

from fixtures.front_server import front_server, read_json
from musetalk_cli.serve.wire import Kind


def test_a_session_from_start_to_finish() -> None:
    async def run() -> None:
        async with front_server() as front, front.connect() as socket:
            assert socket.subprotocol == "musetalk.v1"
            await socket.send('{"type": "start", "avatar": "theo", "rate_hz": 24000}')
            ready = json.loads(await socket.recv())
            assert ready["type"] == "ready"
            assert ready["viewers"] == f"/v1/sessions/{ready['session']}/live.mp4"
            assert await socket.recv() == b"init"
            assert (await socket.recv())[:4] == bytes(4)  # type: ignore[index]
            await socket.send(bytes(960))
            await socket.send('{"type": "end_utterance"}')
            assert (await read_json(socket, "utterance_finished"))["interrupted"] is False
            await socket.send('{"type": "clear"}')
            assert (await read_json(socket, "cleared"))["position_s"] == 0.5
            await socket.send('{"type": "ping", "id": "a"}')
            pong = await read_json(socket, "pong")
            assert pong["id"] == "a"
            assert pong["time_s"] > 0
            await socket.send('{"type": "finish"}')
            assert await closing_of(socket) == (1000, "finished", None)
            (session,) = front.pool.sessions
            await session.is_over.wait()
            assert session.start["avatar"] == "theo"
            assert session.kinds == [Kind.AUDIO, Kind.END_UTTERANCE, Kind.CLEAR, Kind.FINISH]
            assert session.num_audio_bytes == 960

    asyncio.run(run())


async def closing_of(socket: Any) -> tuple[int, str, dict[str, Any] | None]:
    """How a connection ends: close code, reason, and the error before it."""
    error = None
    try:
        while True:
            data = await socket.recv()
            if isinstance(data, str) and json.loads(data)["type"] == "error" and json.loads(data)["fatal"]:
                error = json.loads(data)
    except ConnectionClosed as closed:
        assert closed.rcvd
        return closed.rcvd.code, closed.rcvd.reason, error
