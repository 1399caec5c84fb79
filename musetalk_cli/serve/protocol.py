"""Every message of ``WS /v1/session``: its fields, their bounds, and how a connection ends; see docs/server.md.

Text frames are JSON objects with a ``type``. Binary frames are PCM from the client, fragmented MP4 from the server: the
init segment, then one fragment a frame.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

VERSION: Literal[1] = 1
SUBPROTOCOL = "musetalk.v1"
MAX_MESSAGE_BYTES = 1 << 20  # 11 s of s16le at 48 kHz, mono

Number = int | float


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Start(_Message):
    """The first message: which avatar speaks, what PCM follows, and what video is wanted."""

    type: Literal["start"]
    version: Literal[1] = VERSION
    avatar: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    rate_hz: Annotated[int, Field(ge=8000, le=192_000)] = 16_000
    format: Literal["s16le", "f32le"] = "s16le"
    channels: Literal[1, 2] = 1
    fps: Annotated[Number, Field(ge=5, le=60)] | None = None
    size: Annotated[int, Field(ge=64, le=2160, multiple_of=2)] | None = None
    block_s: Annotated[Number, Field(ge=0.04, le=2)] | None = None
    lead_s: Annotated[Number, Field(ge=0.1, le=2)] | None = None


class EndUtterance(_Message):
    """The voice ends here: its last frames need not wait for what follows."""

    type: Literal["end_utterance"]


class Clear(_Message):
    """Interrupt: all voice that has not been sent is dropped. ``cleared`` answers."""

    type: Literal["clear"]


class Finish(_Message):
    """Say what was pushed to its end, then close the connection."""

    type: Literal["finish"]


class Ping(_Message):
    """``pong`` answers with the same ``id``."""

    type: Literal["ping"]
    id: Annotated[str, Field(max_length=64)] | Annotated[int, Field(ge=0, le=2**53)] | None = None


class Ready(_Message):
    """The session lives; the init segment follows.

    ``mime`` is what MediaSource takes. ``viewers`` is the path at which others watch. ``lead_s``: how far frames are
    sent ahead of the clock.
    """

    type: Literal["ready"] = "ready"
    version: Literal[1] = VERSION
    session: str
    avatar: str
    model: str
    mime: str
    width: int
    height: int
    fps: float
    rate_hz: int
    lead_s: float
    block_s: float
    viewers: str


class UtteranceStarted(_Message):
    """The next fragment is the first of an utterance. ``time_s``: its time in the stream."""

    type: Literal["utterance_started"] = "utterance_started"
    utterance: int
    time_s: float


class UtteranceFinished(_Message):
    """Nothing more of an utterance will come; ``position_s`` seconds of it were sent, all of it unless interrupted."""

    type: Literal["utterance_finished"] = "utterance_finished"
    utterance: int
    position_s: float
    interrupted: bool


class Cleared(_Message):
    """The answer to ``clear``: which utterance was interrupted (null where none had begun), and where."""

    type: Literal["cleared"] = "cleared"
    utterance: int | None
    position_s: float


class Late(_Message):
    """Since the last such message ``num_held`` frames repeated the one before, because the model was too slow, and
    ``silence_s`` seconds of silence took the place of a voice that came too late."""

    type: Literal["late"] = "late"
    num_held: int
    silence_s: float


class Stats(_Message):
    """The session's figures, once a second.

    ``time_s``: end of the last fragment. ``queued_s``: voice that waits to be said. ``latency_ms``: from the arrival of
    an utterance's first audio to its first fragment, the mean of those that began since the last such message, null
    where none did. ``num_frames``, ``num_held``, ``num_bytes``: since the start.
    """

    type: Literal["stats"] = "stats"
    time_s: float
    queued_s: float
    latency_ms: float | None
    num_frames: int
    num_held: int
    num_bytes: int


class Pong(_Message):
    """The answer to ``ping``; ``time_s``: end of the last fragment."""

    type: Literal["pong"] = "pong"
    id: str | int | None = None
    time_s: float


class Draining(_Message):
    """The server is shutting down: it closes the connection after ``seconds`` at the latest."""

    type: Literal["draining"] = "draining"
    seconds: float


class Error(_Message):
    """What went wrong, and what to do next. The connection closes behind it where ``fatal``."""

    type: Literal["error"] = "error"
    code: str
    message: str
    hint: str = ""
    fatal: bool


ClientMessage = Annotated[Start | EndUtterance | Clear | Finish | Ping, Field(discriminator="type")]
ServerMessage = Annotated[
    Ready | UtteranceStarted | UtteranceFinished | Cleared | Late | Stats | Pong | Draining | Error,
    Field(discriminator="type"),
]
CLIENT_MESSAGES: TypeAdapter[Start | EndUtterance | Clear | Finish | Ping] = TypeAdapter(ClientMessage)
SERVER_MESSAGES: TypeAdapter[
    Ready | UtteranceStarted | UtteranceFinished | Cleared | Late | Stats | Pong | Draining | Error
] = TypeAdapter(ServerMessage)


class CloseCode(IntEnum):
    """Why the server closed a connection; an ``error`` message with the reason comes before."""

    FINISHED = 1000  # after ``finish``, or the client closed
    GOING_AWAY = 1001  # the server shuts down
    MESSAGE_TOO_BIG = 1009
    SESSION_FAILED = 1011  # the session or its worker died
    BAD_MESSAGE = 4400  # no JSON, an unknown type or field, a value out of bounds, PCM that is cut inside a sample
    NOT_FOUND = 4404  # no such avatar or model here
    TIMED_OUT = 4408  # no ``start`` in time, or nothing was said for too long
    OUT_OF_ORDER = 4409  # anything before ``start``, or a second one
    FLOODED = 4413  # far more voice than the session holds
    TOO_SLOW = 4429  # the client takes its fragments more slowly than they come


class BadMessageError(ValueError):
    """A client's message that cannot be taken; ``str`` says which field and why, without repeating its value."""


def read_client_message(text: str) -> Start | EndUtterance | Clear | Finish | Ping:
    """The message in a text frame. Raises BadMessageError."""
    try:
        return CLIENT_MESSAGES.validate_json(text)
    except ValidationError as error:
        raise BadMessageError(_explain(error)) from None
    except (ValueError, RecursionError) as error:
        raise BadMessageError(f"not a message: {str(error)[:200]}") from None


def _explain(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "union_tag_invalid":  # it would repeat what was sent
        return "type: must be start, end_utterance, clear, finish or ping"
    field = found[0]["loc"][1:2]
    if found[0]["type"] == "extra_forbidden":
        return f"{str(field[0])[:100]}: there is no such field"
    # A field of several types has an error for each; the one whose type was right says more.
    of_field = [each for each in found if each["loc"][1:2] == field]
    said = next((each for each in of_field if not each["type"].endswith("_type")), of_field[-1])
    return f"{field[0] if field else 'message'}: {said['msg'][:200]}"


def describe_protocol() -> dict[str, Any]:
    """The messages of both sides as one JSON Schema, with the close codes: ``/v1/protocol.json``."""
    definitions: dict[str, Any] = {}
    sides: dict[str, Any] = {}
    for name, adapter in (("ClientMessage", CLIENT_MESSAGES), ("ServerMessage", SERVER_MESSAGES)):
        schema = adapter.json_schema(mode="validation" if name == "ClientMessage" else "serialization")
        definitions |= schema.pop("$defs")
        sides[name] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The text messages of musetalk serve, WS /v1/session",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in sides],
        "$defs": sides | definitions,
        "x-subprotocol": SUBPROTOCOL,
        "x-max-message-bytes": MAX_MESSAGE_BYTES,
        "x-close-codes": {code.name.lower(): code.value for code in CloseCode},
    }
