"""``musetalk dub`` as a user runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

from fixtures.dub_clips import CASES
from musetalk_cli.app.dubbing.run import FaceVoice
from musetalk_cli.commands.dub import parse_faces, parse_gain
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.ui.usage_errors import UsageError

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_clip_speaks_its_own_audio_again(
    run_cli: Run, face_models: FaceModels, ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    CASES[0].write(ffmpeg, tmp_path)
    done = run_cli("dub", "film.mp4", "--face-models", face_models.detector.parent, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("36 frames, ")
    assert last.endswith("→ film-dubbed.mp4")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no.mp4"], "no.mp4 does not exist"),
        (["empty.mp4"], "empty.mp4 is empty"),
        (["still.mp4"], "still.mp4 is an image, and dub takes a video (musetalk render VOICE --avatar still.mp4)"),
        (["a.mp4", "--length", "long"], "--length long: must be clip, voice or longest (did you mean 'longest'?)"),
        (["a.mp4", "--fill", "pingpong"], "--fill pingpong: must be hold, loop or ping-pong (did you mean 'ping-pong'"),
        (["a.mp4", "--keep-sound", "loud"], "--keep-sound loud: must be a gain from -60 to 12 dB (such as -18dB)"),
        (["a.mp4", "--keep-sound", "-18dB"], "there is no voice to mix it below"),
        (["a.mp4", "--face", "top"], "--face top: must be left, right or a number from 1 (1 is the largest,"),
        (["a.mp4", "--face", "lft=a.wav"], "must be left, right or a number from 1 (did you mean 'left'?)"),
    ],
)
def test_wrong_usage_is_one_line(run_cli: Run, tmp_path: Path, args: list[str], words: str) -> None:
    (tmp_path / "empty.mp4").touch()
    assert cv2.imwrite(str(tmp_path / "still.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "still.png").rename(tmp_path / "still.mp4")
    done = run_cli("dub", *args, cwd=tmp_path)
    (line,) = done.stderr.decode().splitlines()
    assert words in line
    assert done.returncode in (1, 2)


def test_gains() -> None:
    assert [parse_gain(text) for text in ("-18dB", "-18", "+3 db", "0")] == [-18, -18, 3, 0]
    for text in ("", "x", "-80dB", "13"):
        with pytest.raises(UsageError):
            parse_gain(text)


def test_faces_and_their_voices() -> None:
    voice = Path("v.wav")
    assert parse_faces([], voice) == [FaceVoice(None, voice)]
    assert parse_faces(["2"], None) == [FaceVoice(2, None)]
    assert parse_faces(["left=a.wav", "right=b.wav"], None) == [
        FaceVoice("left", Path("a.wav")),
        FaceVoice("right", Path("b.wav")),
    ]
    for given, shared in ((["0"], None), (["left="], None), (["left=a.wav"], voice), (["1", "1"], None)):
        with pytest.raises((typer.BadParameter, UsageError)):
            parse_faces(given, shared)
    with pytest.raises(typer.BadParameter, match="a voice each"):
        parse_faces(["left", "right"], voice)
