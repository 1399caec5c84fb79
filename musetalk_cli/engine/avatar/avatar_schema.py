"""What may stand in avatar.json: the kind and the bounds of every value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_SIDE_PX = 1 << 14
MAX_FRAMES = 1_000_000  # eleven hours at 25 a second
MAX_FRAME_RATE = 1_000
_FRAME_RATE = re.compile(r"([1-9]\d{0,8})(?:/([1-9]\d{0,8}))?")
_WHOLE_NUMBERS = {"width": (2, MAX_SIDE_PX), "height": (2, MAX_SIDE_PX), "num_frames": (1, MAX_FRAMES)}
_WHOLE_NUMBERS |= {"num_missing": (0, MAX_FRAMES)}
_KINDS = {"source_name": str, "source_sha256": str, "parameters": dict, "files": dict}
_KEYS = {*_WHOLE_NUMBERS, *_KINDS, "frame_rate"}


def find_problem(content: Mapping[str, Any]) -> str | None:
    """The first thing that is wrong with the content of avatar.json, without its format and checksum."""
    if set(content) != _KEYS:
        return f"its keys are {sorted(content)}, not {sorted(_KEYS)}"
    for key, bounds in _WHOLE_NUMBERS.items():
        if not _is_whole_number(content[key], *bounds):
            return f"'{key}' is {content[key]!r}, must be a whole number from {bounds[0]} to {bounds[1]}"
    for key, kind in _KINDS.items():
        if not isinstance(content[key], kind):
            return f"'{key}' is {content[key]!r}, must be of type {kind.__name__}"
    rate = content["frame_rate"]
    if rate is not None and not _is_frame_rate(rate):
        return f"'frame_rate' is {rate!r}, must be a fraction up to {MAX_FRAME_RATE}, or null"
    return next(filter(None, (_find_problem_of_file(*item) for item in content["files"].items())), None)


def _find_problem_of_file(name: str, known: object) -> str | None:
    if not isinstance(known, dict) or not set(known) <= {"bytes", "sha256"}:
        return f"'files.{name}' is {known!r}, must hold bytes and sha256"
    if not _is_whole_number(known.get("bytes"), 0, 1 << 62):
        return f"'files.{name}.bytes' is {known.get('bytes')!r}, must be a whole number"
    if not isinstance(known.get("sha256", ""), str):
        return f"'files.{name}.sha256' is {known['sha256']!r}, must be text"
    return None


def _is_whole_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_frame_rate(value: object) -> bool:
    match = _FRAME_RATE.fullmatch(value) if isinstance(value, str) else None
    return match is not None and int(match[1]) <= MAX_FRAME_RATE * int(match[2] or 1)
