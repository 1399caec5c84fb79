"""What the server and a worker say to each other over one connection per session: kind, length, payload."""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum

HEADER = struct.Struct("<BI")
MAX_PAYLOAD_BYTES = 16 << 20  # a keyframe of 2160 lines is far below


class Kind(IntEnum):
    """Kinds below 64 go to the worker, the others come from it."""

    START = 1  # JSON of ``protocol.Start``, always the first
    AUDIO = 2  # PCM in the format that it names
    END_UTTERANCE = 3
    CLEAR = 4
    FINISH = 5
    KEYFRAME = 6  # make the next fragment one at which a player can begin

    READY = 64  # JSON of ``protocol.Ready`` with ``session`` and ``viewers`` left empty, always the first
    INIT_SEGMENT = 65
    KEY_FRAGMENT = 66
    FRAGMENT = 67
    MESSAGE = 68  # JSON of a server message, passed on as it is
    STATS = 69  # JSON of ``protocol.Stats``; passed on, too
    ERROR = 70  # JSON of ``protocol.Error``; nothing follows
    FINISHED = 71  # all was said; nothing follows


async def read_message(reader: asyncio.StreamReader) -> tuple[Kind, bytes] | None:
    """The next message, None at the end. Raises ConnectionError where it is cut or is none of ours."""
    try:
        head = await reader.readexactly(HEADER.size)
        kind, num_bytes = HEADER.unpack(head)
        if num_bytes > MAX_PAYLOAD_BYTES:
            raise ConnectionError(f"a message of {num_bytes} bytes")
        return Kind(kind), await reader.readexactly(num_bytes)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionError("the connection ended inside a message") from None
        return None
    except ValueError as error:
        raise ConnectionError(str(error)) from None


def pack_message(kind: Kind, payload: bytes | memoryview = b"") -> bytes:
    """One message as bytes."""
    return HEADER.pack(kind, len(payload)) + payload
