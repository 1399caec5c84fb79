"""From files, folders and addresses to items."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musetalk_cli.app.batch.inputs import find_folder, leave_out_made, list_items
from musetalk_cli.app.batch.names import video_name
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import SinkError, SourceError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def listed(*inputs: str, told: list[str] | None = None) -> list[tuple[str, str]]:
    tell = ([] if told is None else told).append
    return [(item.voice, item.output) for item in list_items(inputs, "out", Config(), tell)]


def test_a_folder_is_listed_with_all_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "voices/b.WAV", "voices/a.mp3", "voices/unit1/a.mp3", "voices/a.txt", "voices/.hidden.wav")
    told: list[str] = []
    assert listed("x.flac", "voices", "https://host/talk.ogg?key=1", told=told) == [
        ("x.flac", "out/x.mp4"),
        ("voices/a.mp3", "out/a.mp4"),
        ("voices/b.WAV", "out/b.mp4"),
        ("voices/unit1/a.mp3", "out/unit1/a.mp4"),
        ("https://host/talk.ogg?key=1", "out/talk.mp4"),
    ]
    assert told == ["voices: 1 file is no audio by name and left out, such as a.txt"]


def test_a_folder_without_a_voice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(SourceError, match="holds no voice"):
        listed(str(tmp_path))


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav", "below/b.wav")

    def walk(top: Path, onerror: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        yield str(top), ["below"], ["a.wav"]
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "below")))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(SourceError, match=r"cannot read the folder .*below: permission denied"):
        listed(str(tmp_path))


@pytest.mark.parametrize("outputs", [["a.mp4"], ["-"], ["rtmp://host/key"], ["a", "b"], [""]])
def test_several_inputs_need_one_folder(outputs: list[str]) -> None:
    with pytest.raises(SinkError, match="folder"):
        find_folder(outputs)


def test_the_default_folder_is_the_current_one() -> None:
    assert find_folder(None) == "."
    assert find_folder(["videos/"]) == "videos/"


def test_names_of_videos() -> None:
    assert [video_name(voice) for voice in ("-", "a/b.c.wav", "http://h/x.mp3?y=z")] == [
        "stdin.mp4",
        "b.c.mp4",
        "x.mp4",
    ]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://bob:secret@radio.example", "radio.mp4"),
        ("https://bob:secret@radio.example/talk.mp3?key=secret", "talk.mp4"),
        ("rtmp://host/live/secret", "render.mp4"),
    ],
)
def test_no_secret_of_an_address_is_in_the_name_of_its_video(address: str, name: str) -> None:
    assert video_name(address) == name


def test_an_item_can_be_sent_to_another_process(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (item,) = list_items([str(tmp_path)], str(tmp_path), Config(), print)
    assert pickle.loads(pickle.dumps(item)) == item  # noqa: S301 - our own bytes


@pytest.mark.parametrize("folder", ["talks", "talks/videos"])
def test_what_a_batch_has_made_is_no_voice_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "talks/a.wav", "talks/b.wav", "talks/film.mp4", f"{folder}/a.mp4", f"{folder}/videos/a.mp4")
    items = list(list_items(["talks"], folder, Config(), lambda text: None))
    left = [item.voice for item in leave_out_made(items, resumes=True)]
    assert left == ["talks/a.wav", "talks/b.wav", "talks/film.mp4"] + (
        ["talks/videos/a.mp4"] if folder == "talks" else []
    )


def test_a_voice_that_would_be_replaced_by_another_is_still_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "talks/a.mp4", "talks/a.wav")
    items = list(list_items(["talks"], "talks", Config(), lambda text: None))
    assert leave_out_made(items, resumes=False) == items
