"""Why a client is refused, as an HTTP answer; the same before a WebSocket and for a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse


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
        return JSONResponse(content, self.status, headers)
