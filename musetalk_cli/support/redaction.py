"""Takes out of a text what a log or a bug report must not carry: secrets, and who and where the user is."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterable
from functools import lru_cache

MASK = "…"
# An address, up to a blank or a quote.
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"<>]+)")
# Parameters of an address that are never secret and often the reason of a failure; the values of all others are masked.
HARMLESS = {"pkt_size", "mode", "latency", "timeout", "ttl", "fifo_size", "overrun_nonfatal", "transtype", "pbkeylen"}
_NAMED = re.compile(
    r"\b(authorization|proxy-authorization|cookie)(\s*[=:]\s*)([^\r\n'\"]+)"
    r"|\b(passphrase|password|passwd|token|secret|api[-_]?key|streamid|playpath|pubuser|pubpasswd)(\s*[=:]\s*|\s+)"
    r"([^\s'\",&]+)",
    re.IGNORECASE,
)
# Folders of any user, by the conventions of Linux, macOS and Windows.
_USER_FOLDER = re.compile(r"(?:(?<![\w.])/(?:home|Users)/[^/\s:'\",]+|[A-Za-z]:[\\/]+Users[\\/]+[^\\/\s:'\",]+)")
# Names that a user or a machine may well have, and that mean something else in most texts.
COMMON_NAMES = {
    *("root", "user", "musetalk", "python", "ffmpeg", "app", "bin", "lib", "local", "opt", "share", "src", "tmp"),
    *("usr", "var", "localhost", "linux", "ubuntu", "debian", "fedora", "cpu", "gpu", "cuda", "docker", "server"),
}
MIN_LITERAL = 6  # characters; shorter secrets would take ordinary words with them


def mask_secrets(text: str) -> str:
    """The text with passwords, stream keys and tokens of addresses and of named values replaced by ``…``."""
    return _NAMED.sub(_mask_named, _URL.sub(_mask_url, text))


def find_secrets(texts: Iterable[str]) -> set[str]:
    """What ``mask_secrets`` takes out of addresses, to be recognised where it stands alone, as in ffmpeg's messages."""
    found: set[str] = set()
    for scheme, rest in (match for text in texts for match in _URL.findall(text)):
        masked = _mask_rest(scheme, rest)
        found |= {part for part in re.split(r"[/?&=@:]", rest) if len(part) >= MIN_LITERAL and part not in masked}
    return found


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without secrets, with ``~`` for users' folders, and without the names of user and host.

    Args:
        text: of one or several lines.
        secrets: further strings that must not stay, see ``find_secrets``.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = mask_secrets(text)
    for folder in _home_folders():
        text = re.sub(rf"{re.escape(folder)}(?=[/\\\s:'\",]|$)", "~", text)
    text = _USER_FOLDER.sub("~", text)
    user, hosts = _user_name(), _host_names()
    if user:
        text = re.sub(rf"(?<=[/\\]){re.escape(user)}(?=[/\\\s:'\",]|$)", "USER", text)
    for host in hosts:
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "HOST", text)
    return text


def _mask_url(match: re.Match[str]) -> str:
    return f"{match[1]}://{_mask_rest(match[1], match[2])}"


def _mask_rest(scheme: str, rest: str) -> str:
    address, question, query = rest.partition("?")
    host, slash, path = address.partition("/")
    host = f"{MASK}@{host.rpartition('@')[2]}" if "@" in host else host
    if scheme.lower().startswith("rtmp") and path:  # the application stays, the stream key goes
        path = f"{path.split('/')[0]}/{MASK}" if "/" in path else MASK
    values = [_mask_value(part) for part in query.split("&")] if question else []
    return f"{host}{slash}{path}{question}{'&'.join(values)}"


def _mask_value(part: str) -> str:
    name, equals, _ = part.partition("=")
    return part if name in HARMLESS else f"{name}={MASK}" if equals else MASK


def _mask_named(match: re.Match[str]) -> str:
    name, between = (match[1], match[2]) if match[1] else (match[4], match[5])
    if not match[1] and not between.strip():  # "token abc" may be prose; "-passphrase abc" is an option
        is_option = match.start() > 0 and match.string[match.start() - 1] == "-"
        return f"{name}{between}{MASK}" if is_option else match[0]
    return f"{name}{between}{MASK}"


@lru_cache(maxsize=1)
def _home_folders() -> tuple[str, ...]:
    """The user's folder as the system names it and where it really is, longest first; none where it is not known."""
    folder = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    found = {folder, os.path.realpath(folder)}
    return tuple(sorted((each for each in found if len(each) > 1 and each != "~"), key=len, reverse=True))


@lru_cache(maxsize=1)
def _user_name() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no variable and no entry in passwd
        return ""
    return "" if len(name) < 2 or name.lower() in COMMON_NAMES else name


@lru_cache(maxsize=1)
def _host_names() -> tuple[str, ...]:
    whole = platform.node()
    found = {whole, whole.split(".")[0]}
    return tuple(
        sorted((each for each in found if len(each) > 2 and each.lower() not in COMMON_NAMES), key=len, reverse=True)
    )
