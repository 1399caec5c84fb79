"""Write the manual page docs/man/musetalk.1 from the Typer app: python -m tools.assets.man_page [--write].

Without ``--write`` it prints. The wheel installs the page as ``share/man/man1/musetalk.1``.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path
from typing import Any

import typer

from musetalk_cli.cli import app
from tools.assets.cli_reference import DEFAULT, OF_TYPER, PROGRAM, default_of, metavar_of, usage_of, walk

PAGE = Path("docs/man/musetalk.1")
CHANGELOG = Path("CHANGELOG.md")
WIDTH = 78  # of lines in the source, which mandoc wants short
CODES = """\
0: done.
1: failed; one line on stderr says what failed and what to do.
2: wrong usage or configuration.
128 + N: ended by signal N."""
VARIABLES = {
    "MUSETALK_HOME": "Folder of avatars, weights and the cache.",
    "MUSETALK_CONFIG": "The user configuration file.",
    "MUSETALK_FACE_MODELS": "Folder with the two face models.",
    "MUSETALK_LOG": "File for a log to attach to a bug report; 1 chooses a name.",
    "MUSETALK_NATIVE": "0 has numpy do the work of the warp model.",
    "MUSETALK_TRACEBACK": "1 shows the traceback of an internal error.",
    "HF_ENDPOINT": "Mirror of the Hugging Face hub for models download.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(describe(), encoding="utf-8")
    else:
        print(describe(), end="")


def describe() -> str:
    """The page in the man macros, ASCII alone."""
    commands = list(walk(PROGRAM, typer.main.get_command(app)))
    _, whole = commands[0]
    lines = [
        f".TH MUSETALK 1 {read_date(CHANGELOG.read_text(encoding='utf-8'))} musetalk",
        *(".SH NAME", *paragraphs(f"musetalk - {whole.help[0].lower()}{whole.help[1:].rstrip('.')}")),
        *(".SH SYNOPSIS", "\\fBmusetalk\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]..."),
        ".SH DESCRIPTION",
        *paragraphs("Data goes to stdout, messages go to stderr. musetalk COMMAND --help has the same text as below."),
        *options_of(PROGRAM, whole),
        ".SH COMMANDS",
    ]
    for name, command in commands[1:]:
        lines += describe_command(name, command)
    lines += [".SH EXIT STATUS", *(line for code in CODES.splitlines() for line in tagged(*code.split(": ", 1)))]
    lines += [".SH ENVIRONMENT", *(line for name, text in VARIABLES.items() for line in tagged(name, text))]
    lines += [".SH EXAMPLES", *example(whole.epilog)[1:]]
    lines += [".SH SEE ALSO", "\\fBffmpeg\\fR(1), \\fBffplay\\fR(1)"]
    return "\n".join(lines) + "\n"


def read_date(changelog: str) -> str:
    """The date of the newest version, from its heading in the changelog."""
    found = re.search(r"^## \[\d[^]]*\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert found, "the changelog has no dated version"
    return found[1]


def describe_command(name: str, command: Any) -> list[str]:
    """A section: usage, what the command does, its options and examples."""
    usage = escape(usage_of(name, command)).replace(escape(name), f"\\fB{escape(name)}\\fR", 1)
    return [
        f".SS {escape(name)}",
        usage,
        ".PP",
        *paragraphs(command.help),
        *options_of(name, command),
        *example(command.epilog),
    ]


def options_of(name: str, command: Any) -> list[str]:
    """A tagged paragraph for each argument and option."""
    lines = []
    for option in command.params:
        if OF_TYPER & set(option.opts):
            continue
        text = DEFAULT.sub("", option.help or "")
        default = default_of(name, option).replace("`", "")
        lines += tagged(names_of(option), f"{text} Default: {default}." if default else text)
    return lines


def names_of(option: Any) -> str:
    """An argument's metavar, or an option's names with what they take."""
    if option.param_type_name == "argument":
        return str(option.metavar)
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {metavar_of(option)}"


def tagged(tag: str, text: str) -> list[str]:
    """A term in bold and what it means, indented."""
    return [".TP", f"\\fB{escape(tag)}\\fR", *paragraphs(text)]


def paragraphs(text: str) -> list[str]:
    """Lines of a text; blank ones begin a paragraph, and no line begins like a request."""
    blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n", text or "") if block.strip()]
    lines = []
    for index, block in enumerate(blocks):
        lines += [".PP"] if index else []
        lines += [protect(line) for line in textwrap.wrap(escape(block), WIDTH, break_on_hyphens=False)]
    return lines


def example(epilog: str | None) -> list[str]:
    """Lines as they are."""
    if not epilog:
        return []
    return [".PP", ".nf", *(protect(escape(line)) for line in epilog.splitlines()), ".fi"]


def escape(text: str) -> str:
    """A text for roff: backslashes, hyphens that are to be copied, and signs outside of ASCII."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    for sign, spelt in {"…": "...", "×": "x", "→": "\\->", "–": "\\-", "’": "'"}.items():
        text = text.replace(sign, spelt)
    return "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in text)


def protect(line: str) -> str:
    """A line that begins with a dot or an apostrophe is no request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    main()
