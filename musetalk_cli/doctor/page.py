"""The page: findings as aligned text for a terminal or a bug report, or as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from musetalk_cli.doctor.checks.finding import Finding, State
from musetalk_cli.doctor.checks.self_test import NAME as RENDER
from musetalk_cli.doctor.checkup import GroupedFinding

JSON_VERSION = 1
MARKS: dict[State, str] = {"ok": "✓", "absent": "–", "warning": "!", "failure": "✗"}
ASCII_MARKS: dict[State, str] = {"ok": "+", "absent": "-", "warning": "!", "failure": "x"}
ASCII_OF = {"…": "...", "×": "x", "→": "->", "–": "-", "’": "'", "✓": "+", "✗": "x"}
NAME_WIDTH = 20
LEAST_WIDTH = 40


def layout(finding: Finding, width: int, *, is_ascii: bool) -> list[str]:
    """The lines of a finding: mark, name, what was found, and the next steps, each behind an arrow.

    Args:
        finding: what to show.
        width: of a line, characters.
        is_ascii: whether only ASCII can be printed.
    """
    indent = NAME_WIDTH + 3
    room = max(LEAST_WIDTH, width - indent)
    lines = _wrap(finding.value, room)
    steps = [line for step in finding.next_step.split("; ") for line in _layout_step(step, room)]
    mark = (ASCII_MARKS if is_ascii else MARKS)[finding.state]
    head = f"{mark} {finding.name:<{NAME_WIDTH}} {lines[0] if lines else ''}".rstrip()
    rest = [" " * indent + line for line in (*lines[1:], *steps)]
    return [as_ascii(line) if is_ascii else line for line in (head, *rest)]


def _layout_step(step: str, width: int) -> list[str]:
    """A step behind an arrow. A command with quotes stays in one line: it could not be copied otherwise."""
    lines = [step] if "'" in step else _wrap(step, width - 2)
    return [f"{'→ ' if index == 0 else '  '}{line}" for index, line in enumerate(lines)]


def as_ascii(text: str) -> str:
    """The text with ASCII alone: some signs spelt out, all others as ?."""
    for sign, spelt in ASCII_OF.items():
        text = text.replace(sign, spelt)
    return text.encode("ascii", "replace").decode("ascii")


def summarise(found: Iterable[GroupedFinding]) -> str:
    """The last line: whether render works, and how much else there is to do."""
    states = [each.finding.state for each in found]
    counts = [
        f"{count} {word}{'s' if count > 1 else ''}" for word in ("failure", "warning") if (count := states.count(word))
    ]
    works = "render works" if does_render_work(found) else "render does not work"
    return f"{works}; {', '.join(counts)}" if counts else works


def does_render_work(found: Iterable[GroupedFinding]) -> bool:
    """Whether the self-test passed."""
    return any(each.finding.name == RENDER and each.finding.state == "ok" for each in found)


def as_record(found: Iterable[GroupedFinding]) -> dict[str, Any]:
    """What ``--json`` prints; docs/doctor.schema.json describes it."""
    found = list(found)
    return {
        "version": JSON_VERSION,
        "render_works": does_render_work(found),
        "findings": [{"group": each.group, **asdict(each.finding)} for each in found],
    }


def describe_json() -> dict[str, Any]:
    """The JSON schema of ``as_record``; nothing else may be in it."""
    text, state = {"type": "string"}, {"enum": list(MARKS)}
    finding = {"group": text, "name": text, "state": state, "value": text, "next_step": text}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "musetalk doctor --json",
        **_describe_object(
            {
                "version": {"const": JSON_VERSION},
                "render_works": {"type": "boolean"},
                "findings": {"type": "array", "items": _describe_object(finding)},
            }
        ),
    }


def _describe_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
