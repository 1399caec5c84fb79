"""The command line: the Typer app, and the one place that turns failures into exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated

import typer

from musetalk_cli import __version__
from musetalk_cli.commands import avatars, bench, devices, models, prepare_avatar, render, serve, stream
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.ui.console import say, say_error

app = typer.Typer(
    name="musetalk",
    help="Lip sync from the command line: audio and a face in, one continuous talking video out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing help with rich takes longer than everything else that it needs
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("render")(render.render)
app.command("stream")(stream.stream)
app.command("serve")(serve.serve)
app.command("prepare-avatar")(prepare_avatar.prepare_avatar)
app.command("avatars")(avatars.avatars)
app.command("devices")(devices.devices)
app.command("bench")(bench.bench)
app.add_typer(models.app, name="models")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"musetalk {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a subcommand."""


def run() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or configuration, 128 + n ended by signal n."""
    try:
        app()
    except MuseTalkError as error:
        say_error(error)
        if error.__cause__ is not None and os.environ.get("MUSETALK_TRACEBACK"):
            raise
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output (a pager, head) has gone; there is nobody left to tell.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("MUSETALK_TRACEBACK"):
            raise
        say(f"musetalk: internal error: {type(error).__name__}: {error} (MUSETALK_TRACEBACK=1 shows where)")
        sys.exit(1)
