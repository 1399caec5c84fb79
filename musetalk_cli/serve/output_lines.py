"""What the workers write on stderr, as lines of the server's log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

MAX_LINE_BYTES = 1 << 20


class OutputLines:
    """A pipe for the stderr of any number of processes; each line goes to ``tell``.

    asyncio's own pipe would belong to one process, and its ``wait`` would last until all that inherit it have ended.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._transport: asyncio.ReadTransport | None = None
        self._reading: asyncio.Task[None] | None = None
        self.fd = -1  # for ``stderr=``

    async def open(self) -> None:
        """Make the pipe, and begin to read."""
        read_fd, self.fd = os.pipe()
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=MAX_LINE_BYTES)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
        )
        self._reading = asyncio.create_task(self._read(reader), name="musetalk-worker-output")

    async def close(self) -> None:
        """Tell what is still in the pipe, and close it. Twice is once."""
        reading, self._reading = self._reading, None
        if not reading or not self._transport:
            return
        os.close(self.fd)
        await asyncio.wait([reading], timeout=0.2)  # a process that lives on may hold the other end
        reading.cancel()
        await asyncio.wait([reading])
        self._transport.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                continue  # longer than any line should be; what was read of it is gone
            if not line:
                return
            if text := line.decode("utf-8", "replace").strip():
                self._tell(text)
