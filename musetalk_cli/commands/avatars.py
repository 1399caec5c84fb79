"""``musetalk avatars``: what avatars there are, and what they are ready for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musetalk_cli.app.settings.flags import library_settings, with_library_settings
from musetalk_cli.app.settings.folders import avatars_folder, cache_folder
from musetalk_cli.commands.options import LIBRARY_OPTIONS, AvatarArgument
from musetalk_cli.ui.console import printable, say
from musetalk_cli.ui.figures import size_text

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.listing import AvatarInfo
    from musetalk_cli.configuration.schema import Config


app = typer.Typer(help="List the avatars, and look after those that were prepared.", invoke_without_command=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback()
@with_library_settings(**LIBRARY_OPTIONS)
def avatars(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the avatars, built in and prepared; show, rename, remove or preview one."""
    if context.invoked_subcommand is not None:
        return
    _list(library_settings(context), as_json=as_json)


@app.command("list")
@with_library_settings(**LIBRARY_OPTIONS)
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the avatars, as without a command."""
    _list(library_settings(context), as_json=as_json)


def _list(settings: Config, *, as_json: bool) -> None:
    from musetalk_cli.app.avatars.listing import list_avatars
    from musetalk_cli.engine.avatar import library

    rows = [describe(info) for info in list_avatars(settings)]
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for line in table(rows):
        typer.echo(printable(line))
    say(f"prepared avatars are in {avatars_folder(settings.avatar_dir)}")
    cached = library.list_avatars(cache_folder() / "avatars")
    if cached:
        size = size_text(sum(listed.num_bytes for listed in cached))
        say(f"{len(cached)} made on the fly, {size}, are in {cache_folder() / 'avatars'} and may be deleted")


@app.command()
@with_library_settings(**LIBRARY_OPTIONS)
def show(context: typer.Context, name: AvatarArgument, as_json: JsonOption = False) -> None:
    """Show what is known of an avatar."""
    from musetalk_cli.app.avatars.listing import list_avatars
    from musetalk_cli.engine.avatar.library import explain_unknown

    settings = library_settings(context)
    found = next((info for info in list_avatars(settings) if info.name == name), None)
    if found is None:
        raise explain_unknown(name, avatars_folder(settings.avatar_dir), takes_files=False)
    row = describe(found)
    if as_json:
        typer.echo(json.dumps(row, indent=1, ensure_ascii=False))
        return
    for key, value in row.items():
        if value not in (None, [], ""):
            typer.echo(printable(f"{key:<9} {', '.join(value) if isinstance(value, list) else value}"))


def describe(info: AvatarInfo) -> dict[str, Any]:
    """An avatar as ``--json`` gives it; a damaged one has a ``problem`` and no models."""
    row: dict[str, Any] = {"name": info.name}
    if info.folder is not None:
        row |= {"folder": str(info.folder), "bytes": info.num_bytes}
    row["kind"] = info.kind
    if info.problem:
        return {**row, "problem": info.problem, "models": []}
    row |= {"width": info.width, "height": info.height, "frames": info.num_frames}
    if info.folder is not None:
        rate = None if info.frame_rate is None else float(info.frame_rate)
        row |= {"fps": rate, "missing": info.num_missing, "source": info.source}
    return {**row, "models": list(info.models)}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Aligned columns: name, kind, size, frames, models, disk; of a damaged avatar, its problem."""
    cells = [["NAME", "KIND", "SIZE", "FRAMES", "READY FOR", "DISK"]]
    for row in rows:
        disk = size_text(row["bytes"]) if "bytes" in row else ""
        if "problem" in row:
            cells.append([row["name"], row["kind"], row["problem"], "", "", disk])
            continue
        frames = f"{row['frames']} ({row['frames'] / row['fps']:.1f} s)" if row.get("fps") else "1"
        size = f"{row['width']} × {row['height']}"
        cells.append([row["name"], row["kind"], size, frames, ", ".join(row["models"]), disk])
    fitting = [[cell for index, cell in enumerate(line) if index != 2 or line[1] != "damaged"] for line in cells]
    num_columns = len(cells[0])
    widths = [max(len(line[column]) for line in fitting if len(line) == num_columns) for column in range(num_columns)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        if line[1] != "damaged"
        else f"{line[0].ljust(widths[0])}  {line[1].ljust(widths[1])}  {line[2]}"
        for line in cells
    ]
