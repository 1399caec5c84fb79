"""A program is told what it can pass, not what could be typed; what its user wrote is never reworded."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import musetalk_cli as musetalk
from musetalk_cli.errors import SinkError
from musetalk_cli.option_names import ARGUMENTS, KEY_OF_FLAG, naming_options, option

PACKAGE = Path(__file__).parent.parent / "musetalk_cli"
# What both commands and programs use. Commands alone read raw samples, and import and export weights.
SHARED = ["engine", "app/avatars", "app/assembly.py", "app/model_choice.py", "app/runner.py", "app/session_assembly.py"]
FOR_COMMANDS = ("engine/weights", "engine/audio/raw_pcm.py", "app/avatars/result_lines.py")
OPTION = re.compile(r"(?<![\w/.=-])(?:--[a-z][a-z-]+|-o)\b")
COMMAND = re.compile(r"\b(?:musetalk|sips|rsvg-convert) .*|… -o - .*|in a container, .*|add --format .*")


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [
        ("--name", "'name'"),
        ("--force", "force=True"),
        ("-o", "'output'"),
        ("--overwrite", "overwrite=True"),
        ("--start", "'start_s'"),
        ("--device", "'device'"),
        ("--encoder", "'stream.encoder'"),
        ("--avatar-dir", "'avatar_dir'"),
    ],
)
def test_options_are_named_as_arguments_and_settings(name: str, elsewhere: str) -> None:
    assert option(name) == elsewhere
    with naming_options():
        assert option(name) == name
    assert option(name) == elsewhere


def test_threads_of_a_command_name_options_until_the_last_of_its_parts_has_ended() -> None:
    said: list[str] = []
    first, second = naming_options(), naming_options()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    thread = threading.Thread(target=lambda: said.append(option("--fps")))
    thread.start()
    thread.join()
    second.__exit__(None, None, None)
    assert said == ["--fps"]
    assert option("--fps") == "'fps'"


@pytest.mark.parametrize("name", ["--size.mp4", "a --model b.mp4", "-o.mp4"])
@pytest.mark.parametrize("is_command", [False, True])
def test_what_a_user_wrote_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone_wav: Callable[..., Path], name: str, is_command: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    voice = tone_wav(0.1)
    with naming_options() if is_command else nullcontext(), pytest.raises(SinkError) as raised:
        musetalk.render(voice, name)
    assert str(raised.value) == f"{name} exists already"
    wanted = "-o, or --overwrite" if is_command else "'output', or overwrite=True"
    assert raised.value.hint == f"give another name with {wanted}"


def test_every_option_that_a_message_names_has_another_name() -> None:
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    named = [name for source in sources for name in re.findall(r"\boption\(['\"](.+?)['\"]\)", source)]
    assert len(named) > 30
    assert {name for name in named if name not in ARGUMENTS} <= {f"--{flag.replace('_', '-')}" for flag in KEY_OF_FLAG}


def test_no_message_for_both_names_an_option_itself() -> None:
    found = []
    for place in SHARED:
        for path in sorted((PACKAGE / place).rglob("*.py")) or [PACKAGE / place]:
            where = path.relative_to(PACKAGE).as_posix()
            if not where.startswith(FOR_COMMANDS):
                found += [f"{where}: {text}" for text in texts(ast.parse(path.read_text()))]
    bare = [each for each in found if OPTION.search(COMMAND.sub("", each))]
    assert len(found) > 500
    assert bare == []


def texts(tree: ast.Module) -> Iterator[str]:
    """Texts of several words, without docstrings, and {} for what is put into one."""
    wholes = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Expr)]
    parts = {id(part) for node in wholes for part in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        else:
            text = str(node.value) if isinstance(node, ast.Constant) else ""
        if " " in text:
            yield text
