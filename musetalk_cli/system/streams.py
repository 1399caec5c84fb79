"""The standard streams: open, and able to take every character."""

from __future__ import annotations

import codecs
import io
import os
import sys

# For terminals and logs in ASCII or in a legacy code page; any other character becomes \xe9 or \u20ac.
PLAIN = {
    "×": "x",
    "→": "->",
    "·": "|",
    "…": "...",
    "–": "-",
    "—": "-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "±": "+-",
    "÷": "/",
    "²": "^2",
    "µ": "u",
    "✓": "ok",
    "✗": "no",
    "●": "*",
    "━": "-",
    "\u00a0": " ",  # no-break space
    "\u2019": "'",  # right single quotation mark
}
FIRST_ESCAPED_BYTE = 0xDC80  # a byte of a file's name that is no UTF-8, as Python keeps it in a string


def open_missing() -> None:
    """Where a standard stream is closed, put /dev/null: the next pipe would get its number and be taken for it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def accept_every_character() -> None:
    """Have stdout and stderr write what their encoding has no character for in another way, instead of failing."""
    codecs.register_error("musetalk", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="musetalk")


def give_up_stderr() -> None:
    """After a write that failed: messages go nowhere, so that what is left of this one fails no more."""
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as the process lives


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    if all(FIRST_ESCAPED_BYTE <= ord(each) <= FIRST_ESCAPED_BYTE + 0x7F for each in found):
        return found.encode("utf-8", "surrogateescape"), error.end
    return "".join(PLAIN.get(each, each.encode("ascii", "backslashreplace").decode()) for each in found), error.end
