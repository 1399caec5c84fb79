"""What is piped in without saying what it is: raw samples of every kind, images, files hard to recognise."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from musetalk_cli.engine.audio import sources
from musetalk_cli.engine.audio.decoder import DecoderProcess
from musetalk_cli.engine.audio.sources import FileSource
from musetalk_cli.errors import SourceError

Run = Callable[..., subprocess.CompletedProcess[bytes]]
FORMATS = ("u8", "s16le", "f64le", "alaw")
SMALL = ("--size", "64")


def encode(ffmpeg: str, voice: Path, *args: str) -> bytes:
    return subprocess.run([ffmpeg, "-v", "error", "-i", voice, *args, "pipe:1"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", FORMATS)
def test_raw_samples_ask_for_their_format(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str, name: str) -> None:
    raw = encode(ffmpeg, speech, "-f", name, "-ar", "16000")
    done = run_cli("render", "-", "-o", "x.mp4", *SMALL, input=raw, cwd=tmp_path)
    assert done.returncode == 1
    assert "no known audio format (for raw samples, musetalk stream --input - --format s16le --rate N" in said(done)
    assert not (tmp_path / "x.mp4").exists()


@pytest.mark.parametrize("output", ["x.mp4", "x.mkv", "live/"])
@pytest.mark.parametrize("data", [b"", np.arange(40_000, dtype="<i2").tobytes()], ids=["nothing", "raw"])
def test_a_stream_that_never_had_a_voice_leaves_no_video(
    run_cli: Run, tmp_path: Path, data: bytes, output: str
) -> None:
    done = run_cli("stream", "--input", "-", "-o", output, *SMALL, input=data, cwd=tmp_path)
    assert done.returncode == 1
    assert ("add --format s16le --rate N" if data else "holds no audio") in said(done)
    assert "what was made" not in said(done)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    done = run_cli("stream", "--input", "-", "-o", "live/", *SMALL, input=bytes(80_000), cwd=tmp_path)
    assert done.returncode == 1
    assert "what was made" not in said(done)
    assert [path.name for path in tmp_path.rglob("*")] == ["live"]


def test_an_older_file_stays(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("older")
    run_cli("stream", "--input", "-", "-o", "x.mp4", "--overwrite", *SMALL, input=b"", cwd=tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_the_command_that_is_named_works(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    raw = encode(ffmpeg, speech, "-f", "s16le", "-ar", "16000")
    command = "stream --input - --format s16le --rate 16000 --no-pace -o talk.mp4"
    assert run_cli(*command.split(), *SMALL, input=raw, cwd=tmp_path).returncode == 0
    assert (tmp_path / "talk.mp4").is_file()


def test_a_file_of_raw_samples_asks_as_well(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    path = tmp_path / "my voice.raw"
    path.write_bytes(encode(ffmpeg, speech, "-f", "s16le", "-ar", "16000"))
    done = run_cli("render", "my voice.raw", cwd=tmp_path)
    assert "--no-pace -o talk.mp4 < 'my voice.raw'" in said(done)
    assert "whitelist" not in said(done)


def test_a_pipe_that_says_nothing_of_itself_reminds_of_raw_samples(
    monkeypatch: pytest.MonkeyPatch, ffmpeg: str
) -> None:
    monkeypatch.setattr(sources, "REMIND_S", 0.01)
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader, encoding="utf-8"))
    told: list[str] = []
    has_told = threading.Event()
    source = FileSource(DecoderProcess("-", ffmpeg), lambda line: (told.append(line), has_told.set())[0])

    def open_source() -> None:
        with pytest.raises(SourceError):
            source.open()

    opening = threading.Thread(target=open_source)
    opening.start()
    assert has_told.wait(30)
    os.close(writer)
    opening.join()
    source.close()
    sys.stdin.close()
    assert "for raw samples, musetalk stream --input - --format s16le --rate N" in told[0]


def test_an_image_that_is_piped_in_is_called_one(run_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "me.png"
    Image.new("RGB", (80, 80)).save(path)
    done = run_cli("render", "-", input=path.read_bytes(), cwd=tmp_path)
    assert "standard input is an image and has no audio" in said(done)


def test_files_are_recognised_by_a_pipes_first_bytes(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    """An mp3 of four frames, and others that have no header in front."""
    bare = ("-c:a", "libmp3lame", "-write_id3v2", "0", "-write_xing", "0", "-t", "0.1", "-f", "mp3")
    for args in (bare, ("-c:a", "aac", "-f", "adts"), ("-c:a", "aac", "-f", "mpegts")):
        data = encode(ffmpeg, speech, *args)
        done = run_cli("render", "-", "-o", "-", *SMALL, input=data, cwd=tmp_path)
        assert done.returncode == 0, said(done)


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()
