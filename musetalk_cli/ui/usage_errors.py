"""Wrong usage of the command line, said as every other error is."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from musetalk_cli.errors import MuseTalkError
from musetalk_cli.hints import quote, suggest

# Typer brings a click of its own, or takes the one that is installed; this finds the class of either.
CommandError: type[Exception] = typer.BadParameter.__mro__[1]


class UsageError(MuseTalkError):
    """A command, option or argument that there is not, or that cannot have this value."""

    exit_code = 2


def as_usage_error(error: Any, words: Sequence[str] | None = None, root: Any = None) -> UsageError:
    """What Typer raised, as one line with a next step.

    Args:
        error: Typer's.
        words: the command line behind the program's name; that of this process by default.
        root: Typer's group of all commands; without it, nothing is corrected.
    """
    see_help = f"see {error.ctx.command_path if error.ctx is not None else 'musetalk'} --help"
    if isinstance(error, typer.BadParameter) and type(error).__name__ != "MissingParameter":
        return _explain_value(error, see_help)
    hint = see_help
    if root is not None:
        from musetalk_cli.ui.corrections import correct_argument, correct_option, read_line

        line = read_line(sys.argv[1:] if words is None else words, root)
        option, hint = getattr(error, "option_name", ""), f"see {line.path} --help"
        if "unexpected extra argument" in error.message and (found := correct_argument(line)):
            return UsageError(f"unexpected argument: {found[0]}", hint=found[1])
        if type(error).__name__ == "NoSuchOption":
            hint = correct_option(option, line, root) or hint
            return UsageError(_reword(_lower(error.message).partition(" (")[0]), hint=hint)
        if "requires an argument" in error.message:
            param = next((each for each in line.command.params if option in each.opts), None)
            return UsageError(f"{option} needs a value", hint=f"{_describe(param)}; {hint}" if param else hint)
    if type(error).__name__ == "MissingParameter":
        return UsageError(f"{_name(error)} is missing", hint=see_help)
    text, _, _ = _lower(error.message).partition(". Did you mean ")
    return UsageError(_reword(text), hint=_nearest_command(error, text, see_help))


def _explain_value(error: Any, see_help: str) -> UsageError:
    """A value that an option or argument cannot have: ``--seconds 0: must be from 0.2 to 600``."""
    name, text = _name(error), plain_range(_lower(error.message))
    if found := re.fullmatch(r"'?(.*?)'? is not (?:a valid |in the range )?(.*)", text):
        value, what = found.groups()
        wanted = {"float": "a number", "integer": "a whole number", "int": "a whole number"}.get(what, what)
        value = re.sub(r"^(-?\d+)\.0$", r"\1", value)  # a range quotes 0 as 0.0
        return UsageError(f"{name} {quote(value)}: must be {wanted}", hint=see_help)
    return UsageError(f"{name}: {text}" if name else text, hint=see_help)


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


def _describe(param: Any) -> str:
    """What an option's help says of its values."""
    text = re.sub(r"\s*\[default: [^]]*\]", "", str(param.help or "")).strip().removesuffix(".")
    return _lower(text)


def _nearest_command(error: Any, text: str, see_help: str) -> str:
    """The subcommand that was meant, of those that there are."""
    wanted = re.fullmatch(r"no such command '(.*)'", text)
    names = getattr(getattr(error.ctx, "command", None), "commands", None)
    near = suggest(wanted[1], names) if wanted and names else ""
    return f"{near} {see_help}" if near else see_help


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
    """Without the capital that a sentence begins with, unless the first word is a name, and without its full stop."""
    first = text.split(" ", 1)[0]
    begins = text[:1].lower() if first[1:].islower() or len(first) == 1 else text[:1]
    return f"{begins}{text[1:]}".removesuffix(".")
