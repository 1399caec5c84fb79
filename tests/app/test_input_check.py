"""An input that cannot be used is told before an output that exists, whichever command has both."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import musetalk_cli
from musetalk_cli.errors import SinkError

IMAGE = "me.jpg is an image and has no audio"
EXISTS = "exists already"


@pytest.fixture
def folder(tmp_path: Path, tone_wav: Callable[..., Path]) -> Path:
    """A voice, an image, a file that only ffmpeg knows to hold no audio, and videos of all of them."""
    tone_wav(0.2).rename(tmp_path / "v.wav")
    cv2.imwrite(str(tmp_path / "me.jpg"), np.full((64, 64, 3), 99, np.uint8))
    empty = io.BytesIO()
    with wave.open(empty, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    (tmp_path / "empty.wav").write_bytes(empty.getvalue())
    for name in ("me", "v", "empty", "v-dubbed"):
        (tmp_path / f"{name}.mp4").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("render me.jpg", IMAGE),
        ("render none.wav -o me.mp4", "none.wav does not exist"),
        ("render empty.wav", "empty.wav holds no audio"),
        ("render me.jpg -o no/folder/me.mp4", IMAGE),
        ("render v.wav", f"v.mp4 {EXISTS}"),
        ("render --manifest list.csv", IMAGE),
        ("render empty.wav v.wav", "empty.wav holds no audio"),
        ("render v.wav empty.wav", f"v.mp4 {EXISTS}"),
        ("stream --input me.jpg -o me.mp4", IMAGE),
        ("stream --input empty.wav -o me.mp4", "empty.wav holds no audio"),
        ("stream --input v.wav -o me.mp4", f"me.mp4 {EXISTS}"),
        ("dub me.jpg v.wav -o me.mp4", "me.jpg is an image, and dub takes a video"),
        ("dub v.wav", "v.wav has no video track"),
        ("dub v.wav -o v.webm", "v.wav has no video track"),
    ],
)
def test_the_input_comes_first(run_cli: Callable[..., Any], folder: Path, words: str, said: str) -> None:
    (folder / "list.csv").write_text("voice\nme.jpg\n")
    told = run_cli(*words.split(), cwd=folder).stderr.decode()
    assert said in told
    assert (EXISTS in told) == (EXISTS in said)


def test_a_line_of_a_queue_says_likewise(run_cli: Callable[..., Any], folder: Path) -> None:
    done = run_cli("render", "--manifest", "-", cwd=folder, input=b"voice\nme.jpg\nv.wav\n")
    lines = done.stderr.decode().splitlines()
    assert IMAGE in lines[0]
    assert f"v.mp4 {EXISTS}" in lines[1]


@pytest.mark.parametrize(
    "words",
    [
        "render v.wav --avatar face.mp4 -o face.mp4",
        "stream -i v.wav --avatar face.mp4 -o ./face.mp4 --no-pace",
        "render v.wav -o out.mp4 --avatar me.jpg --stats me.jpg",
        "render v.wav two.wav --report two.wav",
        "prepare-avatar me.jpg --preview me.jpg",
        "prepare-avatar face.png --preview ./face.png",
        "prepare-avatar faces --preview faces/face.png",
    ],
)
def test_what_is_read_is_never_replaced(folder: Path, run_cli: Callable[..., Any], words: str) -> None:
    (folder / "faces").mkdir()
    (folder / "two.wav").write_bytes((folder / "v.wav").read_bytes())
    for name in ("face.mp4", "face.png", "faces/face.png"):
        (folder / name).write_bytes(b"mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run_cli(*words.split(), "--force" if "prepare" in words else "--overwrite", cwd=folder)
    assert done.returncode == 1
    assert re.search(b"are the same file|holds no statistics|is no report", done.stderr), done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_program_does_not_replace_what_it_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "talk.mp4").write_bytes((folder / "v.wav").read_bytes())
    with pytest.raises(SinkError, match="input and output are the same file"):
        musetalk_cli.render("talk.mp4", "talk.mp4", overwrite=True)
    assert (folder / "talk.mp4").read_bytes() == (folder / "v.wav").read_bytes()
