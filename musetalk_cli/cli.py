"""The command line: the Typer app, and the one place that turns failures into exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from musetalk_cli import __version__, ending
from musetalk_cli.commands import (
    avatars,
    bench,
    devices,
    doctor,
    dub,
    manage_avatars,
    models,
    prepare_avatar,
    render,
    serve,
    stream,
)
from musetalk_cli.commands.common.examples import EXAMPLES
from musetalk_cli.commands.verbosity import VerboseOption, add_verbose, note_error, start_log_named
from musetalk_cli.errors import MuseTalkError, StageError, as_machine_error
from musetalk_cli.ui.console import say, say_error
from musetalk_cli.ui.help import HelpCommand, HelpGroup
from musetalk_cli.ui.stdout import explain_system_error, flush_stdout, give_up_stdout
from musetalk_cli.ui.usage_errors import CommandError, as_usage_error

PROGRAM = "musetalk"  # in messages, however it was started
MAX_WIDTH = 10_000  # of the help: as wide as the terminal is

app = typer.Typer(
    name=PROGRAM,
    cls=HelpGroup,
    help="Lip sync from the command line: audio and a face in, one continuous talking video out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # see ui/help.py
    epilog=EXAMPLES[PROGRAM],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_WIDTH},
)
app.command("render")(render.render)
app.command("dub")(dub.dub)
app.command("stream")(stream.stream)
app.command("serve")(serve.serve)
app.command("prepare-avatar")(prepare_avatar.prepare_avatar)
app.add_typer(avatars.app, name="avatars")
for _command in (manage_avatars.rename, manage_avatars.remove, manage_avatars.preview):
    avatars.app.command()(_command)
app.command("devices")(devices.devices)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
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
    verbose: VerboseOption = False,
) -> None:
    """Options that stand before a subcommand."""


def _complete_help(group: typer.Typer, name: str) -> None:
    """Give every command below ``group``, whose own name is ``name``, its examples and its kind of help."""
    for command in group.registered_commands:
        called = command.name or getattr(command.callback, "__name__", "")
        command.cls, command.epilog = HelpCommand, EXAMPLES.get(f"{name} {called}")
    for below in group.registered_groups:
        below.cls, below.epilog = HelpGroup, EXAMPLES.get(f"{name} {below.name}")
        if below.typer_instance is not None:
            _complete_help(below.typer_instance, f"{name} {below.name}")


add_verbose(app)
_complete_help(app, PROGRAM)


def run() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or configuration, 128 + n ended by signal n."""
    try:
        if os.environ.get("MUSETALK_LOG"):
            start_log_named(os.environ["MUSETALK_LOG"])
        code = _call()
        flush_stdout()
        sys.exit(code)
    except MuseTalkError as error:
        is_bug = isinstance(error, StageError) and error.__cause__ is not None
        if is_bug and not os.environ.get("MUSETALK_TRACEBACK"):
            _end_with_bug(error, str(error))
        say_error(error)
        note_error(error)
        if error.__cause__ is not None and os.environ.get("MUSETALK_TRACEBACK"):
            raise
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output (a pager, head) has gone; there is nobody left to tell.
        give_up_stdout()
        sys.exit(1)
    except Exception as error:
        if ending.is_by_signal(0):  # a library that it interrupted may tell of it as an error of its own
            ending.leave_by_signal()
        if is_broken_library(error):
            note_error(error)
            step = "install musetalk again in a fresh virtual environment; musetalk doctor shows more"
            say(f"musetalk: error: a library cannot be loaded: {error} ({step})")
            sys.exit(1)
        if os.environ.get("MUSETALK_TRACEBACK"):
            raise
        if (refusal := as_machine_error(error)) is not None:
            note_error(error)
            say_error(refusal)
            sys.exit(refusal.exit_code)
        _end_with_bug(error, f"internal error: {type(error).__name__}: {error}")


def _call() -> int:
    """Run the command that was asked for and return its exit code. Raises MuseTalkError for wrong usage, too."""
    try:
        result: Any = app(prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        say("musetalk: aborted")
        return 1
    except CommandError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error, err=True)
            return 2
        raise as_usage_error(error, root=get_command(app)) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError) or (problem := explain_system_error(error)) is None:
            raise
        raise problem from None
    return result if isinstance(result, int) else 0


def is_broken_library(error: Exception) -> bool:
    """Whether a library of others is missing or damaged; modules of our own are our bug."""
    return isinstance(error, ImportError) and not (error.name or "").startswith("musetalk_cli")


def _end_with_bug(error: Exception, message: str) -> NoReturn:
    from musetalk_cli.support.bug_report import describe_bug

    hint = getattr(error, "hint", "")
    say(f"musetalk: {describe_bug(error, f'{message} ({hint})' if hint else message)}")
    sys.exit(1)
