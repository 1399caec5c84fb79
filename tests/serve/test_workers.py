"""The pool of workers, with real processes and sessions."""

from __future__ import annotations

import asyncio

from musetalk_cli.config import Config, VideoConfig
from musetalk_cli.serve.wire import Kind, WorkerSettings, pack_message, read_message
from musetalk_cli.serve.workers import WorkerPool


def test_a_worker_says_what_its_session_is_and_sends_it() -> None:
    async def run() -> None:
        settings = WorkerSettings(Config(model="warp", video=VideoConfig(size=128)), ("nora",), measures=False)
        pool = WorkerPool(settings, lambda line: None)
        ready = await pool.start()
        assert [avatar.name for avatar in ready.avatars] == ["nora"]
        reader, writer = await pool.connect()
        writer.write(pack_message(Kind.START, b'{"type": "start"}'))
        kinds = [(await read_message(reader) or (None,))[0] for _ in range(4)]
        assert kinds == [Kind.READY, Kind.INIT_SEGMENT, Kind.KEY_FRAGMENT, Kind.FRAGMENT]
        writer.close()
        await pool.close()

    asyncio.run(run())
