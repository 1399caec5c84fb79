"""Write the reference of every command and option into docs/cli.md, from the Typer app itself.

    python -m tools.assets.cli_reference [--write]

Without ``--write`` it prints. What stands outside of the markers in the document is written by hand and left alone.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from musetalk_cli.cli import app
from musetalk_cli.configuration.schema import Config
from musetalk_cli.option_names import KEY_OF_FLAG
from tools.measure.report import update_section

DOCUMENT = Path("docs/cli.md")
SECTION = "commands"
PROGRAM = "musetalk"
DEFAULT = re.compile(r"\s*\[default: (.*)\]$")
METAVARS = {"int": "NUMBER", "float": "NUMBER", "path": "PATH"}  # by a part of the name of Typer's type
OF_TYPER = {"--install-completion", "--show-completion"}  # they differ from version to version
OWN = {("musetalk prepare-avatar", "size")}  # no setting, though a setting of other commands has this name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        update_section(SECTION, describe(), DOCUMENT)
    else:
        print(describe())


def describe() -> str:
    """Markdown: a section for every command, in the order of ``musetalk --help``."""
    return "\n\n".join(describe_command(name, command) for name, command in walk(PROGRAM, typer.main.get_command(app)))


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command of Typer's and all below it, each with its full name."""
    yield name, command
    for part, below in getattr(command, "commands", {}).items():
        yield from walk(f"{name} {part}", below)


def describe_command(name: str, command: Any) -> str:
    """A heading, a line of usage, what the command does, a table of its arguments and options, and examples."""
    parts = [f"### {name}", f"    {usage_of(name, command)}", command.help]
    if rows := [_row(name, option) for option in command.params if not OF_TYPER & set(option.opts)]:
        parts.append("\n".join(["| option | default | meaning |", "|---|---|---|", *rows]))
    if command.epilog:
        parts.append("\n".join(f"    {line}" for line in command.epilog.splitlines()))
    return "\n\n".join(parts)


def usage_of(name: str, command: Any) -> str:
    """``musetalk render [OPTION]… [INPUT]``."""
    is_group = hasattr(command, "commands")
    arguments = [option for option in command.params if option.param_type_name == "argument"]
    return " ".join([name, "[OPTION]…", *(_usage(argument) for argument in arguments), *["COMMAND"] * is_group])


def _usage(argument: Any) -> str:
    metavar = str(argument.metavar)
    return metavar if argument.required or metavar.startswith("[") else f"[{metavar}]"


def _row(command: str, option: Any) -> str:
    key = _key_of(command, option)
    meaning = DEFAULT.sub("", option.help or "")
    limits = f" From {option.type.min} to {option.type.max}." if _has_both_limits(option.type) else ""
    setting = f" Setting: `{key}`." if key else ""
    cells = (_names(option), default_of(command, option), f"{meaning}{limits}{setting}")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _names(option: Any) -> str:
    if option.param_type_name == "argument":
        return f"`{option.metavar}`"
    names = [*option.opts, *option.secondary_opts]
    typed = "" if option.is_flag else f" {metavar_of(option)}"
    return ", ".join(f"`{name}{typed}`" for name in names)


def metavar_of(option: Any) -> str:
    """What stands for the value of an option that takes one."""
    kind = type(option.type).__name__.lower()
    return next((metavar for part, metavar in METAVARS.items() if part in kind), "TEXT")


def _key_of(command: str, option: Any) -> str | None:
    return None if (command, option.name) in OWN else KEY_OF_FLAG.get(option.name)


def default_of(command: str, option: Any) -> str:
    """What holds when an option of the command with this whole name is not given, as Markdown: said by its help, by
    the settings, or by the option itself."""
    key = _key_of(command, option)
    if said := DEFAULT.search(option.help or ""):
        return said[1]
    value = _setting(key) if key else option.default
    if value is None or value is False or option.required:
        return ""
    return f"`{'on' if value is True else value}`"


def _setting(key: str) -> Any:
    value: Any = asdict(Config())
    for part in key.split("."):
        value = value[part]
    return value


def _has_both_limits(kind: Any) -> bool:
    return getattr(kind, "min", None) is not None and getattr(kind, "max", None) is not None


if __name__ == "__main__":
    main()
