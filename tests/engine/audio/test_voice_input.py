"""What a program pushes, as the engine reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures.fakes import tone
from musetalk_cli.engine.audio.voice_input import ArraySource, VoiceInput, check_samples
from musetalk_cli.errors import SessionError, SourceError


def convert(voice: VoiceInput, *parts: tuple[np.ndarray, int]) -> np.ndarray:
    pieces = [piece for samples, rate_hz in parts for piece in voice.convert(samples, rate_hz)]
    return np.concatenate([*pieces, voice.finish()])


def test_48_khz_integers_pass_unchanged() -> None:
    audio = tone(2.5, 2)
    assert np.array_equal(convert(VoiceInput(2), (audio, 48_000)), audio)
    assert np.array_equal(convert(VoiceInput(1), (audio[:, 0], 48_000)), audio[:, :1])


def test_an_hour_is_converted_in_pieces_of_a_second() -> None:
    pieces = list(VoiceInput(1).convert(tone(2.25)[:, 0], 48_000))
    assert [len(piece) for piece in pieces] == [48_000, 48_000, 12_000]


def test_what_is_given_out_is_not_the_programs_own_memory() -> None:
    audio = tone(0.1)
    (piece,) = VoiceInput(1).convert(audio, 48_000)
    audio[:] = 0
    assert piece.any()


def test_floats_are_rounded_and_clipped() -> None:
    values = np.array([0, 0.5, -1, 1, 1.5, -2, 1 / 65536, -0.3], np.float32)
    expected = [0, 16384, -32768, 32767, 32767, -32768, 0, -9830]
    assert convert(VoiceInput(1), (values, 48_000))[:, 0].tolist() == expected


def test_mono_is_said_on_both_channels() -> None:
    audio = tone(0.2)[:, 0]
    made = convert(VoiceInput(2), (audio, 48_000))
    assert np.array_equal(made[:, 0], audio)
    assert np.array_equal(made[:, 1], audio)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 96_000])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_other_rates_give_the_same_tone_to_its_last_sample(rate_hz: int, kind: Any) -> None:
    times = np.arange(rate_hz) / rate_hz
    wave = 0.4 * np.sin(2 * np.pi * 440 * times)
    samples = np.rint(32768 * wave).astype(np.int16) if kind is np.int16 else wave.astype(np.float32)
    made = convert(VoiceInput(1), (samples, rate_hz))[:, 0]
    assert len(made) == pytest.approx(48_000, abs=2)
    expected = 0.4 * 32768 * np.sin(2 * np.pi * 440 * np.arange(len(made)) / 48_000)
    assert np.abs(made - expected)[500:-500].max() < 40


def test_a_rate_may_change_within_an_utterance() -> None:
    def samples(rate_hz: int) -> np.ndarray:
        return (0.4 * np.sin(2 * np.pi * 440 * np.arange(rate_hz // 2) / rate_hz)).astype(np.float32)

    voice = VoiceInput(1)
    made = convert(voice, (samples(16_000), 16_000), (samples(48_000), 48_000), (samples(24_000), 24_000))
    assert len(made) == pytest.approx(72_000, abs=4)
    assert np.array_equal(
        convert(voice, (samples(16_000), 16_000)), convert(VoiceInput(1), (samples(16_000), 16_000))
    ), "the next utterance begins anew"


@pytest.mark.parametrize(
    ("samples", "rate_hz", "words"),
    [
        ([0, 1], 48_000, "numpy array, not list"),
        (np.zeros(4), 48_000, "int16 or float32, not float64"),
        (np.zeros((2, 2, 2), np.int16), 48_000, r"not \(2, 2, 2\)"),
        (np.zeros((2, 3), np.int16), 48_000, r"not \(2, 3\)"),
        (np.zeros((2, 0), np.int16), 48_000, r"not \(2, 0\)"),
        (np.zeros(4, np.int16), 3_999, "4000 to 384000 Hz, not 3999"),
        (np.zeros(4, np.int16), 384_001, "not 384001"),
        (np.zeros(4, np.int16), True, "not True"),
        (np.zeros(4, np.int16), 48_000.0, "a whole number, 4000 to 384000 Hz, not 48000.0"),
        (np.array([0, np.nan], np.float32), 48_000, "NaN"),
        (np.array([0, np.inf], np.float32), 48_000, "infinite"),
    ],
)
def test_what_is_no_audio_is_refused(samples: Any, rate_hz: Any, words: str) -> None:
    with pytest.raises(SessionError, match=words):
        VoiceInput(1).convert(samples, rate_hz)


@pytest.mark.parametrize("rate_hz", [4_000, 384_000, np.int32(48_000)])
@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
def test_what_is_audio_has_channels(shape: tuple[int, ...], rate_hz: int) -> None:
    assert check_samples(np.zeros(shape, np.int16), rate_hz).shape == (3, shape[1] if len(shape) > 1 else 1)


def test_a_source_says_samples_from_memory() -> None:
    source = ArraySource(tone(1.5, 2), 48_000)
    source.open()
    assert (source.num_channels, source.duration_s) == (2, 1.5)
    pieces = []
    while (piece := source.read()) is not None:
        pieces.append(piece)
    assert np.array_equal(np.concatenate(pieces), tone(1.5, 2))
    stopped = ArraySource(tone(1.5), 48_000)
    assert stopped.read() is not None
    stopped.stop()
    assert stopped.read() is None
    with pytest.raises(SourceError, match="hold no audio"):
        ArraySource(tone(0.0), 48_000).open()
