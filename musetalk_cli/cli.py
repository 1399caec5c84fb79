"""The command line: the Typer app, and the one place that turns failures into exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.main import get_command

from musetalk_cli import __version__, ending
from musetalk_cli.commands.common.examples import EXAMPLES
from musetalk_cli.commands.verbosity import VerboseOption, add_verbose, note_error, start_log_named
from musetalk_cli.errors import MuseTalkError, StageError, as_machine_error
from musetalk_cli.option_names import naming_options
from musetalk_cli.ui.console import say, say_error
from musetalk_cli.ui.help import HelpCommand, HelpGroup
from musetalk_cli.ui.stdout import explain_system_error, flush_stdout, give_up_stdout, is_stdout_left
from musetalk_cli.ui.usage_errors import CommandError, as_usage_error

PROGRAM = "musetalk"  # in messages, however it was started
MAX_WIDTH = 10_000  # of the help: as wide as the terminal is

# Each a function in a module of its own name, in the order of the help; behind them come the groups.
_COMMANDS = ("render", "dub", "stream", "serve", "prepare-avatar", "devices", "bench", "doctor")

if TYPE_CHECKING:
    app: typer.Typer


def __getattr__(name: str) -> Any:
    """``app``: the program with all commands, made when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _build_all()


def _build_all() -> typer.Typer:
    if "app" not in globals():
        globals()["app"] = _build()
    program: typer.Typer = globals()["app"]
    return program


def _build(only: str | None = None) -> typer.Typer:
    """The program with all commands, or with one: to load the others and describe them takes longer than to run it."""
    program = typer.Typer(
        name=PROGRAM,
        cls=HelpGroup,
        help="Lip sync from the command line: audio and a face in, one continuous talking video out.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # see ui/help.py
        epilog=EXAMPLES[PROGRAM],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MAX_WIDTH},
    )
    program.callback()(_common)
    for name in [only] if only else _COMMANDS:
        module = name.replace("-", "_")
        program.command(name)(getattr(import_module(f"musetalk_cli.commands.{module}"), module))
    if not only:
        _add_groups(program)
    add_verbose(program)
    _complete_help(program, PROGRAM)
    return program


def _add_groups(program: typer.Typer) -> None:
    from musetalk_cli.commands import avatars, manage_avatars, models

    program.add_typer(avatars.app, name="avatars")
    for command in (manage_avatars.rename, manage_avatars.remove, manage_avatars.preview):
        avatars.app.command()(command)
    program.add_typer(models.app, name="models")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"musetalk {__version__}")
        raise typer.Exit


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
        command.cls, command.epilog = _Command, EXAMPLES.get(f"{name} {called}")
    for below in group.registered_groups:
        below.cls, below.epilog = HelpGroup, EXAMPLES.get(f"{name} {below.name}")
        if below.typer_instance is not None:
            _complete_help(below.typer_instance, f"{name} {below.name}")


class _Command(HelpCommand):
    """A command that notes what it was asked, for what is said of its end."""

    def invoke(self, ctx: Any) -> Any:
        if isinstance(ctx.obj, dict):
            ctx.obj.update(ctx.params)
        return super().invoke(ctx)


@naming_options()
def run() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or configuration, 128 + n ended by signal n."""
    asked: dict[str, Any] = {}
    code = 0
    try:
        if os.environ.get("MUSETALK_LOG"):
            start_log_named(os.environ["MUSETALK_LOG"])
        code = _call(asked)
        flush_stdout()
        sys.exit(code)
    except ending.SignalExit as end:
        _say_stopped(asked, end)
        raise
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
        # Who has seen enough of it has not failed, nor have we.
        is_left = is_stdout_left()
        give_up_stdout()
        sys.exit(code if is_left else 1)
    except Exception as error:
        if ending.is_by_signal(0):  # a library that it interrupted may tell of it as an error of its own
            _say_stopped(asked)
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


def _say_stopped(asked: dict[str, Any], end: ending.SignalExit | None = None) -> None:
    """Where a signal ended a command that had nothing to say about it; a shell that completes a line shows no more."""
    is_told = end is not None and end.is_told
    if not (is_told or "_MUSETALK_COMPLETE" in os.environ or asked.get("quiet")):
        say("stopped")


def _chosen() -> typer.Typer:
    """The program with what the command line needs: one command that it names first, any for the version, else all."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    name = _COMMANDS[0] if name == "--version" else name
    if name in _COMMANDS and "app" not in globals():
        return _build(name)
    return _build_all()


def _call(asked: dict[str, Any]) -> int:
    """Run the command that was asked for and return its exit code; ``asked`` takes its options as soon as it begins.

    Raises MuseTalkError for wrong usage, too.
    """
    try:
        result: Any = _chosen()(prog_name=PROGRAM, standalone_mode=False, obj=asked)
    except typer.Abort:
        say("musetalk: aborted")
        return 1
    except CommandError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error, err=True)
            return 2
        raise as_usage_error(error, root=get_command(_build_all())) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError) or (problem := explain_system_error(error)) is None:
            raise
        raise problem from None
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer ends with 1 for it
            raise end.__context__ from None
        raise
    return result if isinstance(result, int) else 0


def is_broken_library(error: Exception) -> bool:
    """Whether a library of others is missing or damaged; modules of our own are our bug."""
    return isinstance(error, ImportError) and not (error.name or "").startswith("musetalk_cli")


def _end_with_bug(error: Exception, message: str) -> NoReturn:
    from musetalk_cli.support.bug_report import describe_bug

    hint = getattr(error, "hint", "")
    say(f"musetalk: {describe_bug(error, f'{message} ({hint})' if hint else message)}")
    sys.exit(1)
