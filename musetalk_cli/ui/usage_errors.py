"""Wrong usage of the command line, said as every other error is."""

from __future__ import annotations

import difflib
import re
from typing import Any

import typer

from musetalk_cli.errors import MuseTalkError

# Typer brings a click of its own, or takes the one that is installed; this finds the class of either.
CommandError: type[Exception] = typer.BadParameter.__mro__[1]


class UsageError(MuseTalkError):
    """A command, option or argument that there is not, or that cannot have this value."""

    exit_code = 2


def as_usage_error(error: Any) -> UsageError:
    """What Typer raised, as one line with a next step."""
    see_help = f"see {error.ctx.command_path if error.ctx is not None else 'musetalk'} --help"
    if type(error).__name__ == "MissingParameter":
        return UsageError(f"{_name(error)} is missing", hint=see_help)
    if isinstance(error, typer.BadParameter):
        name, text = _name(error), plain_range(_lower(error.message))
        return UsageError(f"{name}: {text}" if name else text, hint=see_help)
    text, _, suggestion = _lower(error.message).partition(". Did you mean ")
    near = difflib.get_close_matches(getattr(error, "option_name", ""), getattr(error, "possibilities", None) or (), 1)
    suggestion = f"{near[0]}?" if near else suggestion
    return UsageError(_reword(text), hint=f"did you mean {suggestion} {see_help}" if suggestion else see_help)


def plain_range(text: str) -> str:
    """``0 to 5`` and ``0.1 at least``, which Typer writes as inequalities."""
    for pattern, words in (
        (r"in the range ([\w.-]+)<=x<=([\w.-]+)", r"from \1 to \2"),
        (r"in the range x>=([\w.-]+)", r"\1 or more"),
        (r"([\w.-]+)<=x<=([\w.-]+)", r"\1 to \2"),
        (r"x>=([\w.-]+)", r"\1 at least"),
    ):
        text = re.sub(pattern, words, text)
    return text


def _reword(text: str) -> str:
    """Typer's sentences that say less plainly what is wrong."""
    for pattern, words in (
        (r"option '(.+)' requires an argument", r"\1 needs a value"),
        (r"got unexpected extra arguments?(?:\(s\))? \((.+)\)", r"unexpected argument: \1"),
    ):
        text = re.sub(pattern, words, text)
    return text


def _name(error: Any) -> str:
    """The option or argument that is wrong, as it is typed."""
    if error.param_hint is not None:
        return error.param_hint if isinstance(error.param_hint, str) else ", ".join(error.param_hint)
    if error.param is None:
        return ""
    is_option = error.param.param_type_name == "option"
    return str(error.param.opts[-1] if is_option else error.param.human_readable_name)


def _lower(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}".removesuffix(".")
