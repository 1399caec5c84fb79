"""Why a client is refused before it has a session, and why a session ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from musetalk_cli.serve.front.connections import NO_PONG
from musetalk_cli.serve.protocol import CloseCode

# Ends that a connection finds by itself.
ENDS_OF_CONNECTIONS = {
    1002: "no_websocket",
    1007: "not_utf8",
    1009: "message_too_big",
    NO_PONG: "no_pong",
    4429: "too_slow",
}


@dataclass(frozen=True)
class Refusal:
    """An HTTP status, and what is said with it: ``code`` for programs and metrics, ``message`` and ``hint`` for people.

    ``retry_after_s``: when it is worth trying again, None where it is not.
    """

    status: int
    code: str
    message: str
    hint: str = ""
    retry_after_s: int | None = None

    def answer(self) -> JSONResponse:
        """The answer that says it."""
        content: dict[str, Any] = {"error": {"code": self.code, "message": self.message, "hint": self.hint}}
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="musetalk"'
        if self.status == 426:
            headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
        return JSONResponse(content, self.status, headers)


class Ended(Exception):  # noqa: N818 - an ending, not always an error
    """The conversation is over: a close code, and what is said before it. No code: the client has gone."""

    def __init__(self, code: CloseCode | None, message: str = "", hint: str = "", error: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint
        self.reason = error or (code.name.lower() if code else "client_gone")
