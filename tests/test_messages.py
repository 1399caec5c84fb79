"""Messages for users: one style, and what to do next."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musetalk_cli import errors
from musetalk_cli.engine.runtime.files import find_similar

PACKAGE = Path(__file__).parent.parent / "musetalk_cli"
KINDS = {each for each in vars(errors) if each.endswith("Error")} | {"UsageError", "BadParameter"}
NAMES = ("PyAV", "PortAudio", "MuseTalk", "HLS", "NVIDIA", "CUDA")  # words that begin with a capital


def literal(node: ast.expr) -> str:
    """A text, with X for what is put into it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "X"


def messages() -> Iterator[tuple[str, str]]:
    """Where each error for a user is raised, and its message; then its hint."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in KINDS:
                where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                texts = [*node.args[:1], *(key.value for key in node.keywords if key.arg == "hint")]
                yield from ((where, literal(text)) for text in texts)


def test_messages_and_hints_are_of_one_style() -> None:
    """Lower case, no full stop, one line, nothing shouted or begged: ``cannot write X: no space (name another)``."""
    found = list(messages())
    assert len(found) > 250
    wrong = [
        f"{where} {text}"
        for where, text in found
        if (text[:1].isupper() and not text.startswith(("X", *NAMES)))
        or text.endswith((".", "!"))
        or re.search(r"\n|!|\b(please|sorry|failed to|unable to)\b", text, re.IGNORECASE)
    ]
    assert wrong == []


@pytest.mark.parametrize(("wanted", "hint"), [("speach.wav", "did you mean '{}'?"), ("zebra.mp3", "")])
def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path, wanted: str, hint: str) -> None:
    (tmp_path / "speech.wav").touch()
    assert find_similar(tmp_path / wanted) == hint.format(tmp_path / "speech.wav")
    assert find_similar(tmp_path / "no" / wanted) == f"the folder {tmp_path / 'no'} does not exist either"


@pytest.mark.parametrize("name", ["x" * 300, "loop", "file/below.mp4"], ids=["long", "loop", "below a file"])
@pytest.mark.parametrize(
    "words",
    [
        "render NAME",
        "render v.wav -o NAME",
        "render v.wav -o o.mp4 --stats NAME",
        "render v.wav -o o.mp4 --avatar NAME",
        "render v.wav -o o.mp4 --config NAME",
        "render v.wav -o o.mp4 --avatar-dir NAME --avatar somebody",
        "stream --input v.wav --no-pace -o NAME",
        "stream --input v.wav --no-pace -o o.mp4 --control NAME",
        "prepare-avatar NAME",
        "serve --token-file NAME",
    ],
)
def test_a_path_that_no_system_takes_is_told_in_a_line(
    run_cli: Callable[..., Any],
    tone_wav: Callable[..., Path],
    tmp_path: Path,
    words: str,
    name: str,
) -> None:
    tone_wav(0.2).rename(tmp_path / "v.wav")
    (tmp_path / "file").touch()
    if not (tmp_path / "loop").is_symlink():
        (tmp_path / "loop").symlink_to("loop")
    done = run_cli(*words.replace("NAME", name).split(), cwd=tmp_path)
    told = done.stderr.decode()
    assert len(told.splitlines()) <= 2, told
    assert (done.returncode in (1, 2) and "error: " in told) or "warning: no more statistics" in told, told
    assert "internal error" not in told


def bare_system_errors() -> Iterator[str]:
    """Where what the system says of an error goes into a message by another way than ``errors.system_words``."""
    kinds = {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, OSError)}
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where == "errors.py" or where.endswith("native/library.py"):  # what a loader says begins with a path
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "strerror" and ast.unparse(node.value) != "os":
                yield f"{where}:{node.lineno}"
            if isinstance(node, ast.Constant) and node.value == "strerror":
                yield f"{where}:{node.lineno}"
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                caught = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
                shown = [each for each in ast.walk(node) if shows(each, node.name)] if caught & kinds else []
                yield from (f"{where}:{each.lineno}" for each in shown)


def shows(node: ast.AST, name: str) -> bool:
    """Whether an expression is the text of the exception that is called ``name``."""
    if isinstance(node, ast.FormattedValue):
        return ast.unparse(node.value) == name and node.conversion == -1
    return isinstance(node, ast.Call) and ast.unparse(node) == f"str({name})"


def test_what_the_system_says_is_said_in_one_way() -> None:
    """``cannot read x: no such file or directory``: not as a sentence of its own, and without ``[Errno 2]``."""
    assert list(bare_system_errors()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "no such file or directory"),
        (OSError(5, "I/O error"), "I/O error"),
        (OSError(1, "RPC struct is bad"), "RPC struct is bad"),
        (OSError(1, "A device is missing"), "a device is missing"),
        (ValueError("Embedded null byte"), "embedded null byte"),
        (OSError("cannot identify image file '/X/Y'"), "cannot identify image file '/X/Y'"),
        (OSError(), ""),
    ],
)
def test_the_systems_words_are_part_of_a_sentence(error: Exception, words: str) -> None:
    assert errors.system_words(error) == words
