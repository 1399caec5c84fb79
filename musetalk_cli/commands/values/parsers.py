"""From the text of an option to its value."""

from __future__ import annotations

import math
import re

import typer


class HeightParser:
    """A video's height in pixels, from ``min`` to ``max``: ``720`` or ``720p``. The width follows from the avatar."""

    def __init__(self, min: float = -math.inf, max: float = math.inf) -> None:
        self.min, self.max = min, max
        self.__name__ = "height"  # older versions of Typer take a parser for a function, and ask for its name

    def __call__(self, text: str) -> int:
        named = re.fullmatch(r"(\d+)p?", text.strip().lower())
        if not named:
            both = re.fullmatch(r"(\d+)\s*[x×:*]\s*(\d+)", text.strip().lower())
            alone = f"a height alone, such as {both[2]}: the width follows from the avatar" if both else ""
            raise typer.BadParameter(f"'{text}' is not {alone or 'a height in pixels, such as 720 or 720p'}")
        if not self.min <= int(named[1]) <= self.max:
            raise typer.BadParameter(f"{named[1]} is not from {self.min} to {self.max}")
        return int(named[1])


def be_finite(value: float | None) -> float | None:
    """A callback of options: a range alone lets nan pass, and inf where it has no end."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def choose_input(given: str | None, is_demo: bool) -> str | None:
    """The input: what was given, or with ``--demo`` the example voice."""
    if not is_demo:
        return given
    if given is not None:
        raise typer.BadParameter(f"takes the place of an input, and {given} is given too", param_hint="--demo")
    from musetalk_cli.installation import demo_voice

    return str(demo_voice())
