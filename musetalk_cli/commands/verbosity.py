"""``--verbose`` of every command, and ``MUSETALK_LOG``: where the log to attach to a bug report is started."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from musetalk_cli.ui.console import also_told, say


def _start(context: typer.Context, is_wanted: bool) -> None:
    # A shell that completes a line parses it, too.
    if is_wanted and not also_told and not context.resilient_parsing:
        start_log_named("")


VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_start, help="Write a log to attach to a bug report, and say where."),
]


def start_log_named(name: str) -> None:
    """Write a log from now on; with no name, or ``1``, its name is chosen and told. One that cannot be written is told.

    It costs nothing before this: nothing is imported.
    """
    import logging

    from musetalk_cli.support.log_file import CHOOSE_NAME, LogError, start_log

    try:
        path = start_log(name, sys.argv)
    except LogError as error:
        say(f"musetalk: warning: there will be no log: {error}")
        return
    also_told.append(logging.getLogger("musetalk_cli.ui").info)
    if name in ("", CHOOSE_NAME):
        say(f"musetalk: the log is {path}")


def note_error(error: Exception) -> None:
    """Put an error and its causes into the log, where one is written."""
    if also_told:
        import logging

        logging.getLogger("musetalk_cli").info("ended by an error", exc_info=error)


def add_verbose(app: typer.Typer) -> None:
    """Give every command of an app, and of the groups below it, the option."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_option(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is None:
            continue
        own = group.typer_instance.registered_callback
        if own is not None and own.callback is not None:  # it is a command by itself
            own.callback = _with_option(own.callback)
        add_verbose(group.typer_instance)


def _with_option(command: Callable[..., Any]) -> Callable[..., Any]:
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    option = inspect.Parameter(
        "verbose", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=VerboseOption
    )
    parameters = [*own, option]

    @functools.wraps(command)
    def run(*, verbose: bool = False, **values: Any) -> None:
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
