"""A WAV file that was cut off, as by a download that broke off."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musetalk_cli.engine.audio.wav_header import length_before_cut


@pytest.fixture
def wav(tone_wav: Callable[..., Path]) -> bytes:
    """Two seconds."""
    return tone_wav(2.0, 2).read_bytes()


@pytest.mark.parametrize(("share", "length_s"), [(1.0, None), (0.75, 2.0), (0.25, 2.0)])
def test_what_is_behind_the_end_is_counted(wav: bytes, tmp_path: Path, share: float, length_s: float | None) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(wav[: int(len(wav) * share)])
    assert length_before_cut(str(path)) == length_s


def test_a_chunk_before_the_samples_is_passed(wav: bytes, tmp_path: Path) -> None:
    at, path = wav.index(b"data"), tmp_path / "tagged.wav"
    path.write_bytes((wav[:at] + b"LIST\x03\0\0\0abc\0" + wav[at:])[:-192_000])
    assert length_before_cut(str(path)) == 2.0


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_what_was_written_to_a_pipe_knows_no_length(wav: bytes, tmp_path: Path, size: int) -> None:
    at, path = wav.index(b"data") + 4, tmp_path / "piped.wav"
    path.write_bytes(wav[:at] + struct.pack("<I", size) + wav[at + 4 :])
    assert length_before_cut(str(path)) is None


@pytest.mark.parametrize("num_bytes", [0, 3, 8, 12, 17, 30, 40])
def test_a_header_that_breaks_off_says_nothing(wav: bytes, tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "short.wav"
    path.write_bytes(wav[:num_bytes])
    assert length_before_cut(str(path)) is None


def test_other_files_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.ogg").write_bytes(b"OggS" + bytes(100))
    assert [length_before_cut(str(tmp_path / name)) for name in ("a.ogg", "none.wav")] == [None, None]


def test_a_render_says_what_is_missing(run_cli: Callable[..., Any], wav: bytes, tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(wav[:-192_000])
    done = run_cli("render", "cut.wav", "--size", "64", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.decode().startswith("warning: cut.wav: 1.0 s of the 2.0 s that it should have are missing\n")
