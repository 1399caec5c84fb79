"""Takes out of a text what a log or a bug report must not carry: secrets, and who and where the user is."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterable
from functools import lru_cache

from musetalk_cli.engine.types import addresses
from musetalk_cli.engine.types.addresses import HIDDEN, hide_secrets, show_address

# An address, up to a blank or a quote.
_ADDRESS = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_NAMED = re.compile(
    r"\b(authorization|proxy-authorization|cookie)(['\"]?\s*[=:]\s*['\"]?)([^\r\n'\"]+)"
    r"|\b(passphrase|password|passwd|token|secret|api[-_]?key|streamid|playpath|pubuser|pubpasswd)"
    r"(['\"]?\s*[=:]\s*['\"]?|\s+)"
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


def mask_secrets(text: str) -> str:
    """The text with passwords, stream keys and tokens of addresses and of named values replaced by ``…``."""
    return _NAMED.sub(_mask_named, _ADDRESS.sub(lambda match: show_address(match[0], has_parameters=True), text))


def find_secrets(texts: Iterable[str]) -> set[str]:
    """What ``mask_secrets`` takes out of addresses, to be recognised where it stands alone, as in ffmpeg's messages.

    Args:
        texts: words of a command, in which an address goes on to the end: blanks and quotes may be in a password.
    """
    found = (addresses.find_secrets(text[match.start() :]) for text in texts for match in _ADDRESS.finditer(text))
    return set().union(*found)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without secrets, with ``~`` for users' folders, and without the names of user and host.

    Args:
        text: of one or several lines.
        secrets: further strings that must not stay, see ``find_secrets``.
    """
    text = mask_secrets(hide_secrets(text, secrets))
    for folder in _home_folders():
        text = re.sub(rf"{re.escape(folder)}(?![\w-])", "~", text)
    text = _USER_FOLDER.sub("~", text)
    user, hosts = _user_name(), _host_names()
    if user:
        text = re.sub(rf"(?<=[/\\]){re.escape(user)}(?![\w.-])", "USER", text)
    for host in hosts:
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "HOST", text)
    return text


def _mask_named(match: re.Match[str]) -> str:
    name, between = (match[1], match[2]) if match[1] else (match[4], match[5])
    if not match[1] and not between.strip():  # "token abc" may be prose; "-passphrase abc" is an option
        is_option = match.start() > 0 and match.string[match.start() - 1] == "-"
        return f"{name}{between}{HIDDEN}" if is_option else match[0]
    return f"{name}{between}{HIDDEN}"


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
