"""The parts of hints: command lines that work when they are pasted, and the name that somebody may have meant."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

IS_POSIX = os.name == "posix"


def quote(word: str | Path) -> str:
    """One word of a command line, as this system's shells take it."""
    text = str(word)
    if IS_POSIX:
        return shlex.quote(text)
    return text if re.fullmatch(r"[\w.:\\/@+,-]+", text) else f'"{text}"'


def join(words: Sequence[str | Path]) -> str:
    """A command line."""
    return " ".join(map(quote, words))


def as_file(path: str | Path) -> str:
    """A path as one word of a command line, which no command takes for an option."""
    text = str(path)
    return quote(f".{os.sep}{text}" if text.startswith("-") else text)


def one_of(names: Iterable[object]) -> str:
    """``a, b or c``"""
    *most, last = map(str, names)
    return f"{', '.join(most)} or {last}" if most else last


def find_nearest(wanted: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that is most like ``wanted``, whatever the case; None where none is like it (``cutoff``: 0 to 1)."""
    import difflib

    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wanted.lower(), lower, n=1, cutoff=cutoff)
    begun = [name for name in lower if len(wanted) > 2 and name.startswith(wanted.lower())]
    return lower[near[0]] if near else lower[begun[0]] if len(begun) == 1 else None


def suggest(wanted: str, names: Iterable[str], otherwise: str = "", *, cutoff: float = 0.6) -> str:
    """``did you mean 'warp'?``, or ``otherwise`` where no name is like it."""
    near = find_nearest(wanted, names, cutoff)
    return f"did you mean '{near}'?" if near else otherwise
