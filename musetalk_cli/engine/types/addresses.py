"""Network addresses as they may be shown: what is secret in them stays out of messages and statistics."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "…"
MIN_SECRET = 4  # characters; shorter ones would take ordinary words with them
# Parameters that are never secret and often the reason of a failure.
HARMLESS = {"pkt_size", "mode", "latency", "timeout", "ttl", "fifo_size", "overrun_nonfatal", "transtype", "pbkeylen"}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?", re.DOTALL)
# A password with a # or ? in it is cut there, and its beginning stands where a port would.
_NO_PORT = re.compile(r":(?!\d*$)[^:\]]*$")


def is_address(text: str) -> bool:
    """Whether a text is an address with a scheme, rather than a path."""
    return _ADDRESS.fullmatch(text) is not None


def show_address(text: str, *, has_parameters: bool = False) -> str:
    """The address without user, password and query, and of RTMP without the stream key, ``rtmp://host/live/…``.

    An RTMP path of a single part may be the key itself. What is no address is returned as it is.

    Args:
        text: The address.
        has_parameters: A log says that there is a user, and which parameters the query has.
    """
    if not (match := _ADDRESS.fullmatch(text)):
        return text
    scheme, host, path, query = match.groups()
    user, at, host = host.rpartition("@")
    if "@" in (query or ""):
        host = _NO_PORT.sub(f":{HIDDEN}", host)
    if _is_rtmp(scheme) and path.strip("/"):
        app, slash, _ = path.lstrip("/").partition("/")
        path = f"/{app}/{HIDDEN}" if slash else f"/{HIDDEN}"
    if not has_parameters:
        return f"{scheme}://{host}{path}"
    return f"{scheme}://{HIDDEN if user else ''}{at}{host}{path}{_show_parameters(query or '')}"


def find_secrets(address: str) -> set[str]:
    """What ``show_address`` leaves out of an address, and another program may repeat by itself."""
    if not (match := _ADDRESS.fullmatch(address)):
        return set()
    scheme, host, path, query = match.groups()
    user = host.rpartition("@")[0]
    found = {user, *user.split(":")}
    if _is_rtmp(scheme):
        key = path.strip("/").partition("/")[2] or path.strip("/")
        found |= {key, *key.split("/")}
    for part in (query or "")[1:].split("&"):
        name, _, value = part.partition("=")
        found |= set() if name in HARMLESS else {value}
    return {secret for secret in found if len(secret) >= MIN_SECRET}


def hide_secrets(words: str, secrets: Iterable[str]) -> str:
    """A text in which secrets are replaced, wherever they stand."""
    for secret in sorted(secrets, key=len, reverse=True):
        words = words.replace(secret, HIDDEN)
    return words


def hide_address(words: str, address: str) -> str:
    """What another program says, without what ``show_address`` leaves out of an address that it was given."""
    return hide_secrets(words.replace(address, show_address(address)), find_secrets(address))


def _is_rtmp(scheme: str) -> bool:
    return scheme.lower().startswith("rtmp")


def _show_parameters(query: str) -> str:
    return query[:1] + "&".join(map(_show_parameter, query[1:].split("&"))) if query else ""


def _show_parameter(part: str) -> str:
    name, equals, _ = part.partition("=")
    return part if name in HARMLESS else f"{name}={HIDDEN}" if equals else HIDDEN
