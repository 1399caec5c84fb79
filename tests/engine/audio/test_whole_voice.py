"""A file's samples as librosa loads them; librosa itself is not needed for the comparison."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from musetalk_cli.engine.audio.blocks import BlockCutter
from musetalk_cli.engine.audio.decimation import Decimator
from musetalk_cli.engine.audio.whole_voice import load_as_librosa, resample_as_librosa
from musetalk_cli.engine.types.audio import LONG_LOW_PASS, SHORT_LOW_PASS
from musetalk_cli.engine.types.messages import WholeVoice
from musetalk_cli.errors import SourceError


def write_wav(path: Path, audio: np.ndarray, rate_hz: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((audio.shape[1], 2, rate_hz, 0, "NONE", ""))
        file.writeframes(audio.astype("<i2").tobytes())
    return path


def noise(num_samples: int, num_channels: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-9000, 9000, (num_samples, num_channels)).astype(np.int16)


def test_at_16_khz_the_samples_are_the_files_own(tmp_path: Path, ffmpeg: str) -> None:
    audio = noise(20_011, 1)
    samples = load_as_librosa(write_wav(tmp_path / "a.wav", audio, 16_000), ffmpeg)
    np.testing.assert_array_equal(samples, audio[:, 0] / np.float32(32768))


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(22_050, 1), (44_100, 2), (48_000, 3), (8_000, 2)])
def test_other_rates_are_librosas_to_the_sample(tmp_path: Path, ffmpeg: str, rate_hz: int, num_channels: int) -> None:
    soxr = pytest.importorskip("soxr", reason="needs soxr: pip install -e '.[neural]'")
    audio = noise(rate_hz + 137, num_channels)
    samples = load_as_librosa(write_wav(tmp_path / "a.wav", audio, rate_hz), ffmpeg)
    mono = (audio / np.float32(32768)).T.mean(axis=0)
    wanted = soxr.resample(mono, rate_hz, 16_000, quality="soxr_hq")
    assert len(samples) == -(-len(audio) * 16_000 // rate_hz)
    np.testing.assert_array_equal(samples[: len(wanted)], wanted[: len(samples)])
    assert samples.dtype == np.float32


def test_what_is_no_audio_is_refused(tmp_path: Path, ffmpeg: str) -> None:
    (tmp_path / "a.wav").write_bytes(b"no audio at all")
    with pytest.raises(SourceError, match=r"a\.wav cannot be decoded"):
        load_as_librosa(tmp_path / "a.wav", ffmpeg)


def test_without_soxr_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)
    with pytest.raises(SourceError, match="44100 Hz as the official script does needs soxr") as caught:
        resample_as_librosa(np.zeros(100, np.float32), 44_100)
    assert "neural" in (caught.value.hint or "")


@pytest.mark.parametrize("sizes", [[1, 2, 3, 5_000], [960] * 20, [19_000]])
def test_the_long_filter_does_not_depend_on_how_the_audio_arrives(sizes: list[int]) -> None:
    audio = noise(24_000, 1)
    whole, cut = Decimator(LONG_LOW_PASS), Decimator(LONG_LOW_PASS)
    expected = np.concatenate([whole.push(audio), whole.finish()])
    parts = [cut.push(part) for part in np.split(audio, np.cumsum(sizes))]
    np.testing.assert_array_equal(np.concatenate([*parts, cut.finish()]), expected)
    assert len(expected) == 8_000


def test_the_long_filter_is_soxrs_up_to_the_uppermost_mel_bands() -> None:
    soxr = pytest.importorskip("soxr", reason="needs soxr: pip install -e '.[neural]'")
    audio = noise(48_000, 1)
    wanted = soxr.resample(audio[:, 0] / np.float32(32768), 48_000, 16_000, quality="soxr_hq")
    errors = {}
    for low_pass in (SHORT_LOW_PASS, LONG_LOW_PASS):
        decimator = Decimator(low_pass)
        samples = np.concatenate([decimator.push(audio), decimator.finish()])
        errors[low_pass] = np.abs(samples - wanted)[200:-200].max()
    assert errors[LONG_LOW_PASS] < 5e-5
    assert errors[SHORT_LOW_PASS] > 0.01


def test_blocks_carry_a_whole_voice_in_step_with_its_audio() -> None:
    """Its samples and its number of frames, not those that follow from the audio at 48 kHz."""
    voice = WholeVoice(np.arange(1, 16_000 * 5 + 2, dtype=np.float32), num_frames=123)
    cutter = BlockCutter(2.0, 0.6, 0.26, Fraction(25), voice=voice)
    audio = noise(48_000 * 5, 2)
    blocks = [block for part in np.split(audio, 7 * [0] + [50_000, 50_001]) for block in cutter.push(part)]
    blocks += cutter.finish()
    padded = np.concatenate([np.zeros(9_600, np.float32), voice.samples, np.zeros(40_000, np.float32)])
    for block in blocks:
        start = round(block.start_s * 16_000) + 9_600
        np.testing.assert_array_equal(block.samples, padded[start : start + len(block.samples)])
    assert [frame for block in blocks for frame in block.frames] == list(range(123))
    assert [block.num_samples for block in blocks] == [None, None, 80_001]
    np.testing.assert_array_equal(np.concatenate([block.audio for block in blocks]), audio)


def test_a_whole_voice_with_fewer_frames_than_blocks_ends_early() -> None:
    cutter = BlockCutter(1.0, 0.0, 0.0, Fraction(25), voice=WholeVoice(np.zeros(48_000, np.float32), 30))
    blocks = [*cutter.push(noise(48_000 * 3, 1)), *cutter.finish()]
    assert [block.frames for block in blocks] == [range(25), range(25, 30), range(30, 30)]
