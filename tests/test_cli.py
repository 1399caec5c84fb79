"""Help and usage errors of all commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest
import typer

from musetalk_cli.cli import PROGRAM, app

Run = Callable[..., "CompletedProcess[bytes]"]
COMMAND = re.compile(r"musetalk [^|]*")


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, below in getattr(command, "commands", {}).items():
        yield from walk(f"{name} {part}", below)


COMMANDS = dict(walk(PROGRAM, typer.main.get_command(app)))


def examples(name: str) -> list[str]:
    lines = str(COMMANDS[name].epilog or "").replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_two_examples_that_fit_a_terminal(name: str) -> None:
    assert len(examples(name)) >= 2
    assert max(map(len, COMMANDS[name].epilog.splitlines())) <= 76


@pytest.mark.parametrize("line", [line for name in COMMANDS for line in examples(name)])
def test_examples_are_commands_that_exist(line: str) -> None:
    [call] = COMMAND.findall(line)
    words, name = shlex.split(call)[1:], PROGRAM
    while words and f"{name} {words[0]}" in COMMANDS:
        name = f"{name} {words.pop(0)}"
    command = COMMANDS[name]
    command.make_context(name, words, resilient_parsing=True)  # raises for an option that there is not
    assert words or getattr(command, "invoke_without_command", True), f"{name} alone only prints its help"


def test_help_is_as_wide_as_the_terminal(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = {}
    for columns in (60, 80, 160):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run_cli("stream", "--help").stdout.decode().split("Examples:")[0].splitlines()
        widths[columns] = max(map(len, lines))
    assert widths[60] <= 60
    assert 70 < widths[80] <= 80
    assert 120 < widths[160] <= 160


@pytest.mark.skipif(sys.platform == "win32", reason="there, nothing tells")
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["avatars", "list", "--json"]])
def test_a_reader_who_has_seen_enough_is_no_failure(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "musetalk_cli", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_is_80_columns_wide_in_a_pipe(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert max(map(len, run_cli("render", "--help").stdout.decode().splitlines())) <= 80


def test_options_are_grouped(run_cli: Run) -> None:
    text = run_cli("render", "--help").stdout.decode()
    headings = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    groups = ["Input", "Output", "Avatar", "Model", "Video", "Settings"]
    assert headings == ["Arguments", *groups, "Other options", "Examples"]
    assert "--fps" in text.split("Video:")[1].split("Settings:")[0]


def test_values_are_named_in_words(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = run_cli("stream", "--help").stdout.decode() + run_cli("bench", "--help").stdout.decode()
    assert "--channels NUMBER" in text
    assert "1 to 2]" in text
    assert "0.1 at least]" in text
    assert not re.search(r"<(str|int|float|path)\b|<=", text)


def test_the_list_of_commands_cuts_no_sentence(run_cli: Run) -> None:
    assert "..." not in run_cli("--help").stdout.decode().split("Commands:")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("rendr", "no such command 'rendr' (did you mean 'render'? see musetalk --help)"),
        ("models dwnload", "no such command 'dwnload' (did you mean 'download'? see musetalk models --help)"),
        ("render --presett x", "no such option: --presett (did you mean --preset? see musetalk render --help)"),
        ("--foo", "no such option: --foo (see musetalk --help)"),
        ("render a b", "unexpected argument: b (musetalk render a --avatar b)"),
        ("render --fps fast a", "--fps fast: must be a number (see musetalk render --help)"),
        ("prepare-avatar", "INPUT is missing (see musetalk prepare-avatar --help)"),
        ("models import", "DIR is missing (see musetalk models import --help)"),
        ("render --fps", "--fps needs a value (frames per second, 5 to 60; see musetalk render --help)"),
        ("render --fps 25.0.0 a", "--fps 25.0.0: must be a number (see musetalk render --help)"),
        ("bench --rounds 1000", "--rounds 1000: must be from 1 to 100 (see musetalk bench --help)"),
        ("stream --duration 0", "--duration 0: must be 0.1 or more (see musetalk stream --help)"),
        ("bench --seconds nan", "--seconds nan: must be a finite number (see musetalk bench --help)"),
    ],
)
def test_wrong_usage_is_one_line_with_a_next_step(run_cli: Run, arguments: str, message: str) -> None:
    done = run_cli(*arguments.split())
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode() == f"musetalk: error: {message}\n"


@pytest.mark.parametrize("arguments", ["", "models"])
def test_without_a_command_the_help_is_shown(run_cli: Run, arguments: str) -> None:
    done = run_cli(*arguments.split())
    assert done.returncode == 2
    assert b"Commands:" in done.stderr + done.stdout


def test_help_and_version_succeed(run_cli: Run) -> None:
    assert run_cli("--version").returncode == 0
    assert run_cli("render", "-h").returncode == 0
