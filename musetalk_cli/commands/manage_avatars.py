"""``musetalk avatars rename``, ``remove`` and ``preview``: what is done with avatars that exist."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from musetalk_cli import ending
from musetalk_cli.app.settings.flags import library_settings, with_library_settings
from musetalk_cli.app.settings.folders import avatars_folder
from musetalk_cli.commands.common.completion import complete_prepared
from musetalk_cli.commands.options import LIBRARY_OPTIONS, AvatarArgument
from musetalk_cli.errors import AvatarError
from musetalk_cli.ui.console import say
from musetalk_cli.ui.figures import size_text

PreparedArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the avatar.", show_default=False, autocompletion=complete_prepared),
]


@with_library_settings(**LIBRARY_OPTIONS)
def rename(
    context: typer.Context,
    name: PreparedArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)],
) -> None:
    """Give a prepared avatar another name. What uses it at this moment goes on."""
    settings = library_settings(context)

    from musetalk_cli.engine.avatar.library import rename_avatar

    with ending.final_step():
        folder = rename_avatar(name, new_name, avatars_folder(settings.avatar_dir))
    say(f"'{name}' is '{new_name}' now: {folder}")


@with_library_settings(**LIBRARY_OPTIONS)
def remove(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Names of the avatars.", show_default=False, autocompletion=complete_prepared
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without a question.")] = False,
) -> None:
    """Delete prepared avatars from the disk. What uses one at this moment goes on."""
    settings = library_settings(context)

    from musetalk_cli.engine.avatar.library import find_prepared, num_bytes_of
    from musetalk_cli.engine.avatar.whole_folder import remove_folder

    folders = [find_prepared(name, avatars_folder(settings.avatar_dir)) for name in dict.fromkeys(names)]
    listed = ", ".join(f"'{folder.name}' ({size_text(num_bytes_of(folder))})" for folder in folders)
    if not yes:
        if not (sys.stdin and sys.stdin.isatty()):
            raise AvatarError("nothing was removed: there is no terminal to ask on", hint="--yes removes unasked")
        if not typer.confirm(f"Remove {listed}?", err=True):
            say("nothing was removed")
            raise typer.Exit(1)
    with ending.final_step():
        for folder in folders:
            remove_folder(folder)
    say(f"removed {listed}")


@with_library_settings(**LIBRARY_OPTIONS)
def preview(
    context: typer.Context,
    name: AvatarArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="PNG file to write. [default: NAME.png]", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Draw an avatar into a PNG file. It shows landmarks, crop box, and the mouth closed, half open and open."""
    settings = library_settings(context)

    from musetalk_cli.app.avatars.preview import check_preview, preview_avatar
    from musetalk_cli.ui.progress import ProgressDisplay

    path = Path(f"{name}.png") if output is None else output
    check_preview(path, is_replacing=overwrite, hint="name another file with -o, or --overwrite")
    display = ProgressDisplay(is_quiet=quiet)
    try:
        preview_avatar(name, avatars_folder(settings.avatar_dir), path, display)
    finally:
        display.close()
    if not quiet:
        say(f"{name} → {path}")
