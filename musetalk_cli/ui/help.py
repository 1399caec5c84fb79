"""``--help``: options in groups, examples, as wide as the terminal.

Typer can draw it with rich, which takes longer to load than everything else that ``--help`` needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from musetalk_cli.ui.usage_errors import plain_range

# Options by their names in the program; a command with few of them has a single list.
GROUPS = {
    "Input": "mic device input_ sample_format rate channels duration no_pace start max_seconds demo",
    "Output": "output overwrite force preview plot",
    "Avatar": "avatar avatar_dir face_models name face bbox_shift lossless silence_gate expression background",
    "Model": "model model_device precision random_weights compat",
    "Video": "fps size workers block",
    "Live": "encoder when_slow on_source_loss on_sink_loss control",
    "Access": "host port token_file no_token allow_origin allow_avatar",
    "Capacity": "max_sessions spare_workers",
    "Measurement": "seconds rounds sweep sessions compare",
    "Settings": "preset config no_user_config print_config",
}
OTHERS = "Other options"
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names.split()}
MIN_GROUPED = 8  # options
METAVARS = {
    r"<(int|float)\b[^>]*>|\b(INTEGER|FLOAT)( RANGE)?\b": "NUMBER",
    r"<str>": "TEXT",
    r"<path>": "PATH",
}
MAX_SENTENCE = 200  # characters
MAX_NAMES_WIDTH = 32  # columns for the names of options; longer ones have a line of their own


class HelpCommand(TyperCommand):
    """A command whose help has groups and examples; ``epilog`` holds these, one a line, and comments with #."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_examples(self.epilog, formatter)


class HelpGroup(TyperGroup):
    """The same for a command that has subcommands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with its whole first sentence, however narrow the terminal is."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, each.get_short_help_str(MAX_SENTENCE)) for name, each in found if each and not each.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_examples(self.epilog, formatter)


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Arguments, then options by group, all in the same two columns."""
    found = ((param, param.get_help_record(ctx)) for param in command.get_params(ctx))
    records = [(param, _reword(record)) for param, record in found if record]
    sections: dict[str, list[tuple[str, str]]] = {}
    num_options = sum(param.param_type_name == "option" for param, _ in records)
    for title in ("Arguments", *(GROUPS if num_options >= MIN_GROUPED else ()), "Options", OTHERS):
        sections[title] = []
    for param, record in records:
        sections[_section_of(param, is_grouped=num_options >= MIN_GROUPED)].append(record)
    width = _names_width(record for _, record in records)
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl([(f"{names:<{width}}", text) for names, text in rows], col_max=width)


def _reword(record: tuple[str, str]) -> tuple[str, str]:
    """An option with its kind of value in one word, which Typer names differently from version to version."""
    names, text = record
    for pattern, word in METAVARS.items():
        names = re.sub(pattern, word, names)
    return names, plain_range(text)


def _section_of(param: Any, *, is_grouped: bool) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return GROUP_OF.get(param.name, OTHERS) if is_grouped else "Options"


def _names_width(records: Iterable[tuple[str, str]]) -> int:
    """Columns for the longest names that still leave room for the text beside them."""
    return max((len(names) for names, _ in records if len(names) <= MAX_NAMES_WIDTH), default=0)


def write_examples(epilog: str | None, formatter: Any) -> None:
    """Lines as they are, to be copied into a shell."""
    if epilog:
        with formatter.section("Examples"):
            for line in epilog.splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line}".rstrip() + "\n")
