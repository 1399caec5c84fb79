"""``musetalk doctor``: one page about this machine, to read and to paste into a bug report."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musetalk_cli.ui.console import printable

if TYPE_CHECKING:
    from musetalk_cli.doctor.checkup import GroupedFinding

MAX_WIDTH = 110
COLOURS = {
    "ok": typer.colors.GREEN,
    "absent": typer.colors.BRIGHT_BLACK,
    "warning": typer.colors.YELLOW,
    "failure": typer.colors.RED,
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Also try the servers that downloads come from. Nothing is downloaded.")
    ] = False,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", help="YAML file with settings. May be repeated; later files win.", show_default=False),
    ] = None,
) -> None:
    """Examine this machine: what works, what is missing. One page, with what to do, to paste into a bug report.

    It renders half a second to try. The exit code is 0 only if that works.
    """
    from musetalk_cli.doctor.checkup import examine
    from musetalk_cli.doctor.page import as_record, does_render_work, summarise

    found: list[GroupedFinding] = []
    for each in examine(config or [], has_network=network):
        if not as_json:
            _print(each, is_first=not found, is_new=bool(found) and found[-1].group != each.group)
        found.append(each)
    if as_json:
        typer.echo(json.dumps(as_record(found), indent=1, ensure_ascii=_is_ascii()))
    else:
        _echo(f"\n{summarise(found)}")
    raise typer.Exit(0 if does_render_work(found) else 1)


def _print(each: GroupedFinding, *, is_first: bool, is_new: bool) -> None:
    from musetalk_cli.doctor.page import layout

    if is_new:
        _echo("")
    width = min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns)
    lines = [printable(line) for line in layout(each.finding, width, is_ascii=_is_ascii())]
    if _has_colour():
        lines[0] = typer.style(lines[0][0], fg=COLOURS[each.finding.state], bold=True) + lines[0][1:]
    for line in lines:
        _echo(line)


def _echo(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()


def _is_ascii() -> bool:
    """Whether stdout cannot print the signs of the page."""
    try:
        "✓✗→…×".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError, AttributeError):
        return True
    return False


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
