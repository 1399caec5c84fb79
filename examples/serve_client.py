"""Say a WAV file through ``musetalk serve`` and write the video.

    python examples/serve_client.py VOICE.wav OUT.mp4 [ws://127.0.0.1:8900/v1/session]

A token is read from the environment variable MUSETALK_TOKEN. Needs: pip install websockets
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import wave
from pathlib import Path

from websockets.asyncio.client import connect

STEP_BYTES = 64_000  # of PCM a message; a server takes up to 1 MiB


async def say(voice: Path, output: Path, url: str) -> None:
    with wave.open(str(voice)) as wav:
        if wav.getsampwidth() != 2:
            raise SystemExit(f"{voice} must have samples of 16 bits")
        start = {"type": "start", "rate_hz": wav.getframerate(), "channels": wav.getnchannels()}
        pcm = wav.readframes(wav.getnframes())
    token = os.environ.get("MUSETALK_TOKEN")
    protocols = ["musetalk.v1"]
    if token:  # not as a header, which does not go along where a cluster's server names another machine
        protocols.append("musetalk.token." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("="))
    async with connect(url, subprotocols=protocols, compression=None) as socket:
        await socket.send(json.dumps(start))
        for begin in range(0, len(pcm), STEP_BYTES):
            await socket.send(pcm[begin : begin + STEP_BYTES])
        await socket.send(json.dumps({"type": "finish"}))
        with output.open("wb") as file:
            async for message in socket:
                if isinstance(message, bytes):
                    file.write(message)  # the init segment, then fragments: together they are an MP4
                elif json.loads(message)["type"] != "stats":
                    print(message, file=sys.stderr)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    address = arguments[2] if len(arguments) > 2 else "ws://127.0.0.1:8900/v1/session"
    asyncio.run(say(Path(arguments[0]), Path(arguments[1]), address))
