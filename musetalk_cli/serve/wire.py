"""What the server, the host of its workers and a worker say to each other.

Host: settings as a line of JSON on stdin, which stays open as long as the server lives; one line of JSON on stdout says
what it holds, or why it cannot start. Worker: one connection per session, messages of kind, length and payload.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config

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
    ERROR = 70  # JSON of ``protocol.Error``; nothing follows, and ``code`` is a CloseCode's name in lower case
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


@dataclass(frozen=True)
class WorkerSettings:
    """What a host needs to know.

    ``avatars``: what may be asked for, opened once; names, or for the server's owner whatever ``config.avatar`` takes.
    The first is what a session gets that names none. ``found``: those that nobody named. ``num_spare`` processes wait
    for a session. ``shares_process``: all sessions in one process, None where the model or the system asks for it.
    ``measures``: say how many sessions this machine holds. ``socket``: the path at which the host takes connections.
    ``origins``: which options and files have set ``config``, by dotted key.
    """

    config: Config
    avatars: tuple[str, ...]
    found: tuple[str, ...] = ()
    num_spare: int = 2
    shares_process: bool | None = None
    measures: bool = True
    socket: str = ""
    origins: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "config": asdict(self.config)})

    @classmethod
    def from_json(cls, line: str | bytes) -> WorkerSettings:
        """Raises ConfigError for a setting that is wrong."""
        from musetalk_cli.configuration.loading import known_items, load_config

        values = json.loads(line)
        given = {key: ("settings", value) for key, value in known_items(values.pop("config"), lambda key: "settings")}
        names = {name: tuple(values[name]) for name in ("avatars", "found")}
        return cls(load_config((), given).config, **{**values, **names})


@dataclass(frozen=True)
class OfferedAvatar:
    """An avatar that clients may name. ``kind``: built in, still or video; ``thumbnail``: a JPEG."""

    name: str
    kind: str
    width: int
    height: int
    thumbnail: bytes


@dataclass(frozen=True)
class WorkersReady:
    """What the workers hold. ``max_sessions``: of the first avatar, in real time on this machine, None where it was not
    measured. ``fps``, and ``width`` and ``height`` of ``avatars``, are what a session has that asks for nothing else.
    ``notes`` are lines for the user."""

    avatars: tuple[OfferedAvatar, ...]
    model: str
    fps: float
    shares_process: bool
    max_sessions: int | None
    notes: tuple[str, ...]

    def to_json(self) -> str:
        avatars = [{**asdict(each), "thumbnail": base64.b64encode(each.thumbnail).decode()} for each in self.avatars]
        return json.dumps({**{each.name: getattr(self, each.name) for each in fields(self)}, "avatars": avatars})

    @classmethod
    def from_json(cls, line: str | bytes) -> WorkersReady:
        values = json.loads(line)
        avatars = [
            OfferedAvatar(**{**each, "thumbnail": base64.b64decode(each["thumbnail"])}) for each in values["avatars"]
        ]
        return cls(**{**values, "avatars": tuple(avatars), "notes": tuple(values["notes"])})
