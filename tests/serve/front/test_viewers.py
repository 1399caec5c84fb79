"""Others watch a session: from a keyframe on, and nobody is waited for."""

from __future__ import annotations

import asyncio
import socket as sockets

import pytest

from fixtures.fake_workers import FakePool
from fixtures.front_server import RunningFront, front_server
from musetalk_cli.serve.front import watching
from musetalk_cli.serve.front.viewers import MAX_QUEUED_BYTES, MAX_QUEUED_FRAGMENTS, Channel, Viewer
from musetalk_cli.serve.wire import Kind


def request(front: RunningFront) -> bytes:
    return f"GET {front.ready['viewers']} HTTP/1.1\r\nHost: 127.0.0.1:{front.port}\r\n\r\n".encode()


class Watching:
    """A viewer that reads a chunked answer."""

    async def open(self, front: RunningFront) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", front.port)
        self.writer.write(request(front))
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]


def test_a_viewer_begins_with_the_init_segment_and_a_keyframe_that_it_causes() -> None:
    async def run() -> None:
        async with front_server(FakePool(interval_s=0.02)) as front, front.session(max_queue=None) as socket:
            for _ in range(5):
                await socket.recv()
            viewer = Watching()
            await viewer.open(front)
            assert viewer.head.startswith("HTTP/1.1 200")
            assert "content-type: video/mp4" in viewer.head
            assert await viewer.chunk() == b"init"
            first = int.from_bytes((await viewer.chunk())[:4], "big")
            assert first % 25, "the keyframe was not asked for"
            assert Kind.KEYFRAME in front.pool.sessions[0].kinds
            for number in range(first + 1, first + 30):
                assert int.from_bytes((await viewer.chunk())[:4], "big") == number
            await socket.send('{"type": "finish"}')
            while await viewer.chunk():  # an empty one ends the answer
                pass
            viewer.writer.close()

    asyncio.run(run())


def test_a_viewer_that_reads_nothing_is_dropped_and_nobody_waits() -> None:
    async def run() -> None:
        pool = FakePool(fragment_bytes=300_000, interval_s=0.01)
        async with front_server(pool) as front, front.session(max_size=None) as socket:
            other = Watching()
            await other.open(front)
            with sockets.create_connection(("127.0.0.1", front.port)) as stuck:
                stuck.sendall(request(front))
                numbers = []
                while not await says(front, "musetalk_viewers_dropped_total 1.0"):
                    for _ in range(5):
                        await other.chunk()
                        numbers += number_of(await socket.recv())
            assert numbers == list(range(len(numbers)))
            assert await says(front, "musetalk_viewers 1.0")
            other.writer.close()
            while not await says(front, "musetalk_viewers 0.0"):
                await socket.recv()

    asyncio.run(run())


def number_of(data: str | bytes) -> list[int]:
    return [int.from_bytes(data[:4], "big")] if isinstance(data, bytes) and data != b"init" else []


async def says(front: RunningFront, line: str) -> bool:
    """Whether the metrics have a line."""
    return line in (await front.get("/metrics"))[2].decode().splitlines()


def test_a_viewer_that_reads_nothing_does_not_outlive_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.serve.front.viewers.LAST_S", 0.1)
    monkeypatch.setattr("musetalk_cli.serve.front.viewers.MAX_QUEUED_BYTES", 1 << 40)

    async def run() -> None:
        async with front_server(FakePool(fragment_bytes=300_000, interval_s=0.01)) as front:
            with sockets.socket() as stuck:
                stuck.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
                async with front.session(max_size=None) as socket:
                    stuck.connect(("127.0.0.1", front.port))
                    stuck.sendall(request(front))
                    for _ in range(30):
                        await socket.recv()
                while not await says(front, "musetalk_viewers 0.0"):
                    await asyncio.sleep(0.02)

    asyncio.run(run())


def test_a_session_has_so_many_viewers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_VIEWERS", 1)

    async def run() -> None:
        async with front_server() as front, front.session() as socket:
            while await socket.recv() != b"init":
                pass
            path = front.ready["viewers"]
            assert (await front.get(path, "HEAD"))[0] == 200
            viewer = Watching()
            await viewer.open(front)
            status, headers, _ = await front.get(path)
            assert (status, headers["retry-after"]) == (503, "5")
            viewer.writer.close()

    asyncio.run(run())


def test_queues_are_bounded_in_number_and_in_bytes() -> None:
    async def run() -> None:
        for size, most in ((1, MAX_QUEUED_FRAGMENTS), (1 << 20, MAX_QUEUED_BYTES >> 20)):
            cuts: list[int] = []
            channel, viewer = Channel(lambda: None), Viewer(lambda cuts=cuts: cuts.append(1))  # type: ignore[misc]
            channel.join(viewer)
            channel.publish(bytes(size), is_keyframe=False)  # before its keyframe: not for it
            for _ in range(most):
                channel.publish(bytes(size), is_keyframe=True)
            assert channel.viewers == {viewer}
            channel.publish(bytes(size), is_keyframe=False)
            assert (channel.viewers, viewer.is_slow, cuts) == (set(), True, [1])

    asyncio.run(run())


def test_viewers_that_come_together_cause_one_keyframe() -> None:
    async def run() -> None:
        asked = asyncio.Event()
        times: list[float] = []

        def ask() -> None:
            times.append(asyncio.get_running_loop().time())
            asked.set()

        channel = Channel(ask)
        for _ in range(5):
            channel.join(Viewer(lambda: None))
        await asked.wait()
        assert len(times) == 1
        channel.publish(b"key", is_keyframe=True)
        asked.clear()
        channel.join(Viewer(lambda: None))
        await asked.wait()
        assert times[1] - times[0] >= 0.5, "one soon after the other is large"

    asyncio.run(run())
