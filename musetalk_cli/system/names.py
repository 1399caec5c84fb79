"""Names of files that a system keeps for itself, and those that it cannot be given."""

from __future__ import annotations

import os
import re
import sys

_DEVICES = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')


def find_name_problem(name: str, platform: str = sys.platform) -> str | None:
    """Why a file cannot have this name, without a folder, on a platform as ``sys.platform`` calls it; None if it can.

    Windows would write ``nul.mp4`` to nowhere, and ``a:b.mp4`` into a hidden part of a file called ``a``.
    """
    if platform != "win32":
        return None
    if _DEVICES.fullmatch(name):
        return "Windows keeps that name for a device"
    if found := _FORBIDDEN.search(name):
        return f"Windows allows no {found[0]!r} in a name"
    return "Windows drops a dot or a space at the end of a name" if name.endswith((".", " ")) else None


def can_be_path(text: str) -> bool:
    """Whether the system can be asked for a path: a zero ends it, and half a character cannot be encoded."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
