"""Network addresses as they may be shown: what is secret in them stays out of messages and statistics."""

from __future__ import annotations

import re

HIDDEN = "…"
MIN_SECRET = 4  # characters; shorter ones would take ordinary words with them
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?", re.DOTALL)


def is_address(text: str) -> bool:
    """Whether a text is an address with a scheme, rather than a path."""
    return _ADDRESS.fullmatch(text) is not None


def show_address(text: str) -> str:
    """The address without user, password and query, and of RTMP without the stream key, ``rtmp://host/live/…``.

    An RTMP path of a single part may be the key itself. What is no address is returned as it is.
    """
    if not (match := _ADDRESS.fullmatch(text)):
        return text
    scheme, host, path, _ = match.groups()
    host = host.rpartition("@")[2]
    if scheme.lower().startswith("rtmp") and path.strip("/"):
        app, slash, _ = path.lstrip("/").partition("/")
        path = f"/{app}/{HIDDEN}" if slash else f"/{HIDDEN}"
    return f"{scheme}://{host}{path}"


def hide_address(words: str, address: str) -> str:
    """What another program says, without what ``show_address`` leaves out of an address that it was given."""
    words = words.replace(address, show_address(address))
    for secret in sorted(_secrets_of(address), key=len, reverse=True):
        words = words.replace(secret, HIDDEN)
    return words


def _secrets_of(address: str) -> set[str]:
    match = _ADDRESS.fullmatch(address)
    if not match:
        return set()
    scheme, host, path, query = match.groups()
    found = {host.rpartition("@")[0], *host.rpartition("@")[0].split(":")[1:]}
    if scheme.lower().startswith("rtmp"):
        key = path.lstrip("/").partition("/")[2] or path.lstrip("/")
        found |= {key, *key.split("/")}
    found |= {part.partition("=")[2] for part in (query or "")[1:].split("&")}
    return {secret for secret in found if len(secret) >= MIN_SECRET}
