"""Transcripts of real speech, and the takes that an aligner makes of it."""

from __future__ import annotations

import gzip
import wave
from pathlib import Path

import numpy as np
import pytest

from tools.assets.audio_net.espeak import Phone
from tools.measure.lip_sync import real_speech

PROMPTS = "; Prompts\n\nhello: Hello, my well-known friend.\ndigits/one: Press 1.\nbeep: [a beep]\ngone: Not there.\n"
BOOK = "<s> he was not an ill disposed young man </s> (hello)\n"


def write_silence(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 16_000))


def test_transcripts_of_both_kinds_are_read(tmp_path: Path) -> None:
    for name in ("hello", "digits/one", "beep"):
        write_silence(tmp_path / f"{name}.wav")
    (tmp_path / "prompts.txt.gz").write_bytes(gzip.compress(PROMPTS.encode()))
    (tmp_path / "book").write_text(BOOK)
    prompts = real_speech.read_transcripts(tmp_path, tmp_path / "prompts.txt.gz")
    assert [(line.path.name, line.words) for line in prompts] == [
        ("hello.wav", ("hello", "my", "well", "known", "friend"))
    ]
    (book,) = real_speech.read_transcripts(tmp_path, tmp_path / "book")
    assert book.words[:3] == ("he", "was", "not")
    assert book.words[-1] == "man"


@pytest.mark.needs("ffmpeg")
def test_aligned_lines_lie_end_to_end_with_silence_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_silence(tmp_path / "one.wav")

    class Fixed:
        """An aligner that finds a bilabial in the middle of every second line."""

        def align(self, samples: np.ndarray, words: tuple[str, ...]) -> list[Phone] | None:
            assert len(samples) == 16_000
            return [Phone("a", 0.2, 0.4), Phone("m", 0.4, 0.6), Phone("a", 0.6, 0.8)] if words == ("mama",) else None

    monkeypatch.setattr(real_speech, "Aligner", Fixed)
    lines = [real_speech.Line(tmp_path / "one.wav", (word,)) for word in ("mama", "unknown", "mama")]
    (take,) = real_speech.aligned_takes(lines)
    assert len(take.samples) == round(2 * 1.3 * 16_000)
    np.testing.assert_allclose(np.flatnonzero(take.target.closure) * 0.02, [0.8, 2.1], atol=0.021)
