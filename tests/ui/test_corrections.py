"""Wrong command lines, and the lines that are offered instead: these are parsed, too, so that they work when pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from musetalk_cli import hints
from musetalk_cli.cli import app
from musetalk_cli.ui import corrections
from musetalk_cli.ui.usage_errors import CommandError, as_usage_error

ROOT = get_command(app)


@pytest.fixture(autouse=True)
def _there_is_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parse(line: str) -> None:
    """Parse a command line without running the command. Raises Typer's error."""
    command, context = ROOT, ROOT.make_context("musetalk", [], resilient_parsing=True)
    words = shlex.split(line)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words, parent=context)


def hint_for(line: str) -> str:
    with pytest.raises(CommandError) as caught:
        parse(line)
    return as_usage_error(caught.value, shlex.split(line), ROOT).hint


@pytest.mark.parametrize(
    ("line", "corrected"),
    [
        ("stream hello.wav", "stream --input hello.wav"),
        ("stream 'my talk/it is.wav' -o x.mp4", "stream --input 'my talk/it is.wav' -o x.mp4"),
        ("stream - -o x.mp4", "stream --input - -o x.mp4"),
        ("stream mic -o x.mp4", "stream --mic -o x.mp4"),
        ("stream --size 720 hello.wav", "stream --size 720 --input hello.wav"),
        ("stream --mic udp://host:5000", "stream --mic -o udp://host:5000"),
        ("stream --mic take.mp4", "stream --mic -o take.mp4"),
        ("stream --demo theo", "stream --demo --avatar theo"),
        ("stream --file hello.wav", "stream --input hello.wav"),
        ("render --input hello.wav", "render hello.wav"),
        ("render -i hello.wav -o x.mp4", "render hello.wav -o x.mp4"),
        ("render --audio='a b.wav' -o x.mp4", "render 'a b.wav' -o x.mp4"),
        ("render hello.wav --face me.jpg", "render hello.wav --avatar me.jpg"),
        ("render hello.wav --outfile x.mp4", "render hello.wav -o x.mp4"),
        ("render hello.wav --force", "render hello.wav --overwrite"),
        ("prepare-avatar me.jpg anna", "prepare-avatar me.jpg --name anna"),
        ("prepare-avatar --image me.jpg", "prepare-avatar me.jpg"),
        ("prepare-avatar me.jpg --overwrite", "prepare-avatar me.jpg --force"),
        ("serve anna", "serve --avatar anna"),
        ("serve 8080", "serve --port 8080"),
    ],
)
def test_the_line_that_was_meant_is_given(line: str, corrected: str) -> None:
    hint = hint_for(line)
    assert hint.replace("--output ", "-o ") == f"musetalk {corrected}"
    parse(hint.removeprefix("musetalk "))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("render hello.wav --duration 3", "--duration is an option of musetalk stream; see musetalk render --help"),
        ("render hello.wav --avatr nora", "did you mean --avatar? see musetalk render --help"),
        ("render hello.wav --zebra", "see musetalk render --help"),
        ("avatars show nora theo", "see musetalk avatars show --help"),
        ("avatars shwo", "did you mean 'show'? see musetalk avatars --help"),
        (
            "render a.wav --avatar 'us two.jpg' --face 2",
            "it is chosen once: musetalk prepare-avatar 'us two.jpg' --face 2 --name mine, then --avatar mine",
        ),
        (
            "render a.wav --preset",
            "settings that ship: realtime (an early first frame) or quality (full size, for files to keep); "
            "see musetalk render --help",
        ),
    ],
)
def test_what_cannot_be_corrected_is_explained(line: str, hint: str) -> None:
    try:
        assert hint_for(line) == hint
    except KeyError:  # a subcommand that there is not
        with pytest.raises(CommandError) as caught:
            ROOT.main(shlex.split(line), prog_name="musetalk", standalone_mode=False)
        assert as_usage_error(caught.value, shlex.split(line), ROOT).hint == hint


def test_two_files_are_no_avatar_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").touch()
    assert hint_for("prepare-avatar a.jpg b.jpg").startswith("prepare one input at a time, or give a folder")


def test_a_video_that_exists_is_the_face(tmp_path: Path) -> None:
    (tmp_path / "face.mp4").touch()
    assert hint_for("stream --demo face.mp4") == "musetalk stream --demo --avatar face.mp4"


@pytest.mark.parametrize("option", ["-o ", "-o", "--output=", "--output "])
@pytest.mark.parametrize("line", ["stream hello.wav {}", "stream --audio hello.wav {}"])
def test_a_stream_key_is_not_repeated(line: str, option: str) -> None:
    hint = hint_for(line.format(f"{option}rtmp://host/live/secret-key"))
    assert hint
    assert "secret" not in hint
    assert hint == "write --input instead" or "--input" in hint


@pytest.mark.parametrize(
    ("command", "line", "hint"),
    [
        ("render", "render -o 'a b.mp4'", "musetalk render - -o 'a b.mp4'"),
        ("stream", "stream -o x.mp4", "musetalk stream --input - -o x.mp4"),
        ("stream", "--verbose stream", "musetalk --verbose stream --input -"),
        ("stream", "stream -o rtmp://host/live/secret-key", "add --input -"),
    ],
)
def test_what_is_piped_in_must_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, command: str, line: str, hint: str
) -> None:
    monkeypatch.setattr(corrections, "is_piped", lambda: True)
    message, found = corrections.explain_missing_input(command, ["an example"], shlex.split(line))
    assert "standard input is read only when asked to" in message
    assert found == hint
    monkeypatch.setattr(corrections, "is_piped", lambda: False)
    assert corrections.explain_missing_input(command, ["an example"], shlex.split(line))[1] == "an example"


@pytest.mark.parametrize("word", ["plain.wav", "my talk/a.wav", "it's.wav", "$(x).wav", "-.wav", "ü ö.wav"])
def test_a_path_is_one_word_of_the_shell(word: str) -> None:
    assert [Path(each) for each in shlex.split(hints.as_file(word))] == [Path(word)]
    assert not hints.as_file(word).startswith("-")


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("wrap", "warp"), ("WARP", "warp"), ("musetalk15", "musetalk-1.5"), ("zebra", None), ("", None)],
)
def test_the_nearest_name_is_found(wanted: str, near: str | None) -> None:
    assert hints.find_nearest(wanted, ["auto", "warp", "musetalk-1.5", "musetalk-1.0"]) == near


@pytest.mark.parametrize(
    ("line", "corrected"),
    [
        ("render hello.wav x.mp4", "render hello.wav -o x.mp4"),
        ("render hello.wav theo", "render hello.wav --avatar theo"),
        ("render hello.wav 'my face.jpg'", "render hello.wav --avatar 'my face.jpg'"),
        ("render 'my face.jpg' hello.wav", "render hello.wav --avatar 'my face.jpg'"),
        ("render theo hello.wav -o x.mp4", "render hello.wav --avatar theo -o x.mp4"),
        ("render face.mp4 hello.wav", "render hello.wav --avatar face.mp4"),
        ("render a.wav b.mp3", None),
        ("render a.wav https://host/b", None),
        ("render a.wav", None),
        ("render voices theo.d c", None),
    ],
)
def test_one_of_two_inputs_may_be_none(line: str, corrected: str | None) -> None:
    words = shlex.split(line)
    inputs = [word for word in words[1:] if word not in ("-o", "--avatar")][: 2 if corrected else None]
    found = corrections.correct_inputs(inputs, ROOT, words)
    assert (found and found[1].replace("--output ", "-o ")) == (corrected and f"musetalk {corrected}")
