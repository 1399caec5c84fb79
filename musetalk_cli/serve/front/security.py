"""Who may come in: a token, or names that only this machine has, and pages of the same origin."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.requests import HTTPConnection

from musetalk_cli.errors import ConfigError, system_words
from musetalk_cli.serve.front.reasons import Refusal
from musetalk_cli.system.small_files import read_small_file

MIN_TOKEN_CHARACTERS = 16
TOKEN_PROTOCOL = "musetalk.token."  # a WebSocket subprotocol; the token in base64url stands behind it  # noqa: S105
# What tells nothing and costs nothing is open, so that a page can load and ask for the token.
OPEN_PATHS = re.compile(r"/|/[\w-]+\.(?:html|css|js|svg|png|ico)|/healthz|/v1/protocol\.json", re.ASCII)
# An image or a video of a page cannot send a header.
PATHS_FOR_MEDIA = re.compile(r"/v1/(?:avatars/[^/]+/thumbnail\.jpg|sessions/[^/]+/live\.mp4)")


@dataclass(frozen=True)
class Guard:
    """The rules. ``token``: what every client has to show; None where a loopback address or ``--no-token`` needs none.

    ``origins``: other pages' origins that may open sessions; their hosts are names of this server, too.
    """

    token: str | None
    origins: frozenset[str]

    def refuse(self, connection: HTTPConnection) -> Refusal | None:
        """Why a request is refused, None where it may come in."""
        return self._refuse_host(connection) or self._refuse_origin(connection) or self._refuse_token(connection)

    def _refuse_host(self, connection: HTTPConnection) -> Refusal | None:
        # A page of another site can point its own name at this address; a token is what it does not have.
        if self.token is not None or is_own_name(_host_of(connection), self.origins):
            return None
        hint = "use its IP address or localhost; the server's setting serve.allow_origins lets other names in"
        return Refusal(403, "host_refused", "this server does not answer to this name", hint)

    def _refuse_origin(self, connection: HTTPConnection) -> Refusal | None:
        origin = connection.headers.get("origin")
        if origin is None or origin in self.origins or urlsplit_or_empty(origin) == _host_of(connection):
            return None
        hint = "the server's setting serve.allow_origins lets it in"
        return Refusal(403, "origin_refused", "pages of another site may not use this server", hint)

    def _refuse_token(self, connection: HTTPConnection) -> Refusal | None:
        if self.token is None or _is_open(connection):
            return None
        given = _token_of(connection)
        if given is not None and hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        hint = (
            "send the token as 'Authorization: Bearer ...', or as the WebSocket subprotocol musetalk.token.<base64url>"
        )
        reason = "the token is wrong" if given is not None else "this server asks for a token"
        return Refusal(401, "token_refused", reason, hint)


def _is_open(connection: HTTPConnection) -> bool:
    # The request's own path: that of ``connection.url`` is made with the Host header, which may say "a/healthz?".
    return connection.scope["type"] == "http" and OPEN_PATHS.fullmatch(connection.scope["path"]) is not None


def is_own_name(host: str, origins: frozenset[str]) -> bool:
    """Whether a Host header names this machine: an IP address, localhost, its own name, or an allowed origin's host."""
    name = _without_port(host).lower().rstrip(".")
    try:
        ipaddress.ip_address(name.strip("[]"))
        return True
    except ValueError:
        own = socket.gethostname().lower()
        known = {"localhost", own, f"{own}.local"} | {_without_port(urlsplit_or_empty(each)) for each in origins}
        return name in known


def check_origins(origins: Sequence[str]) -> frozenset[str]:
    """The origins in their one spelling. Raises ConfigError."""
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin or not parts.netloc:
            raise ConfigError(
                f"'{origin}' is no origin", hint="an origin is like https://talk.example or http://host:8080"
            )
    return frozenset(origin.lower() for origin in origins)


def read_token(path: Path) -> str:
    """The token in a file, without white space around it. Raises ConfigError."""
    hint = "make one with: openssl rand -hex 32"
    try:
        text = read_small_file(path).decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {path}: {system_words(error)}", hint=hint) from None
    except ValueError:
        raise ConfigError(f"the token file {path} is not text", hint=hint) from None
    if len(text) < MIN_TOKEN_CHARACTERS:
        raise ConfigError(f"the token in {path} is shorter than {MIN_TOKEN_CHARACTERS} characters", hint=hint)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(f"the token in {path} is not one word of printable ASCII characters", hint=hint)
    return text


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def urlsplit_or_empty(origin: str) -> str:
    """Host and port of an origin; nothing where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_of(connection: HTTPConnection) -> str:
    return connection.headers.get("host", "").lower()


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host) if host.endswith("]") or host.count(":") == 1 or "]:" in host else host


def _token_of(connection: HTTPConnection) -> str | None:
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    for protocol in connection.scope.get("subprotocols", ()):
        if protocol.startswith(TOKEN_PROTOCOL):
            return _decode(protocol.removeprefix(TOKEN_PROTOCOL))
    if PATHS_FOR_MEDIA.fullmatch(connection.scope["path"]):
        values = parse_qs(connection.scope["query_string"].decode("latin-1")).get("token")
        return values[0] if values else None
    return None


def _decode(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")
    except (ValueError, binascii.Error):
        return ""
