"""Audio → mouth: same answer in blocks as in one go, shut when nobody speaks, indifferent to loudness."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.acoustics import NUM_FEATURES, SAMPLE_RATE_HZ, STEP_S, extract_steps
from musetalk_cli.engine.models.warp.audio.mouth import LEAD_S, LONGEST_VIEW_S, MouthReader
from musetalk_cli.engine.models.warp.audio.net import load_net
from musetalk_cli.errors import ModelError

FloatArray = NDArray[np.float32]

BLOCK_S = 2.0
FRAME_S = 0.04


@pytest.fixture(scope="module")
def reader() -> MouthReader:
    return MouthReader.load()


def babble(duration_s: float, seed: int = 0) -> FloatArray:
    """Speech-like audio: a buzzing source through two moving resonances, with syllables and pauses, peak about 0.3."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = 120.0 + 20.0 * np.sin(2.0 * np.pi * 0.4 * time_s)
    phase = np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    first_hz = 500.0 + 250.0 * np.sin(2.0 * np.pi * 1.7 * time_s)
    second_hz = 1500.0 + 500.0 * np.sin(2.0 * np.pi * 1.1 * time_s + 1.0)
    audio = np.zeros(len(time_s))
    for harmonic in range(1, 30):
        hz = harmonic * pitch_hz
        gain = np.exp(-(((hz - first_hz) / 130.0) ** 2)) + 0.5 * np.exp(-(((hz - second_hz) / 180.0) ** 2)) + 0.01
        audio += gain * np.sin(2.0 * np.pi * harmonic * phase)
    syllables = np.clip(1.5 * np.sin(2.0 * np.pi * 2.1 * time_s), 0.0, 1.0)
    phrases = np.sin(2.0 * np.pi * 0.23 * time_s) > -0.6
    audio = audio * syllables * phrases + 0.001 * rng.standard_normal(len(time_s))
    return np.asarray(0.3 * audio / np.abs(audio).max(), dtype=np.float32)


def frame_times(duration_s: float, fps: float) -> NDArray[np.float64]:
    return np.arange(int(duration_s * fps + 1e-9), dtype=np.float64) / fps


def read_in_blocks(reader: MouthReader, samples: FloatArray, fps: float, length_s: float) -> FloatArray:
    """As the engine does: a block at a time, with just the context the reader asks for, zeros outside the stream."""
    before, after = (round(s * SAMPLE_RATE_HZ) for s in (reader.before_s, reader.after_s))
    padded = np.concatenate([np.zeros(before, np.float32), samples, np.zeros(after, np.float32)])
    times_s = frame_times(len(samples) / SAMPLE_RATE_HZ, fps)
    size, rows = round(length_s * SAMPLE_RATE_HZ), []
    for start in range(0, len(samples), size):
        block_s = start / SAMPLE_RATE_HZ
        mine = times_s[(times_s >= block_s - 1e-9) & (times_s < block_s + length_s - 1e-9)]
        seen = padded[start : start + before + min(size, len(samples) - start) + after]
        rows.append(reader.read(seen, block_s - reader.before_s, mine, 1.0 / fps))
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("fps", "length_s"), [(7.0, 2.0), (23.976, 2.0), (25.0, 2.0), (25.0, 0.5), (29.97, 0.22), (30.0, 2.0), (60.0, 2.0)]
)
def test_blocks_equal_the_whole(reader: MouthReader, fps: float, length_s: float) -> None:
    samples = babble(9.3)
    whole = reader.read(samples, 0.0, frame_times(9.3, fps), 1.0 / fps)
    blocks = read_in_blocks(reader, samples, fps, length_s)
    assert blocks.shape == whole.shape
    assert whole[:, 0].max() > 0.2
    assert np.abs(blocks - whole).max() < 1e-5


def test_context_is_whole_steps_and_live_enough() -> None:
    for span_s in (MouthReader.before_s, MouthReader.after_s):
        assert abs(span_s / STEP_S - round(span_s / STEP_S)) < 1e-9
    assert MouthReader.before_s <= 4.0
    assert MouthReader.after_s <= 0.40


def test_answer_needs_no_more_than_the_promised_context(reader: MouthReader) -> None:
    times_s = 6.0 + frame_times(BLOCK_S, 25.0)
    samples, other = babble(12.0), babble(12.0, seed=1)[::-1]
    first = round((6.0 - reader.before_s) * SAMPLE_RATE_HZ)
    last = round((6.0 + BLOCK_S + reader.after_s) * SAMPLE_RATE_HZ)
    changed = other.copy()
    changed[first:last] = samples[first:last]
    np.testing.assert_array_equal(
        reader.read(samples, 0.0, times_s, FRAME_S), reader.read(changed, 0.0, times_s, FRAME_S)
    )


def test_digital_silence_is_exactly_shut(reader: MouthReader) -> None:
    mouth = reader.read(np.zeros(3 * SAMPLE_RATE_HZ, np.float32), 0.0, frame_times(3.0, 25.0), FRAME_S)
    assert not mouth.any()


def test_speech_then_silence_shuts_within_200_ms(reader: MouthReader) -> None:
    speech = babble(4.0)
    samples = np.concatenate([speech, np.zeros(2 * SAMPLE_RATE_HZ, np.float32)])
    mouth = reader.read(samples, 0.0, frame_times(6.0, 25.0), FRAME_S)
    assert mouth[105:, 0].max() < 0.1
    assert mouth[105:, 0].mean() < 0.02
    assert not mouth[115:].any()


@pytest.mark.parametrize("kind", ["hum", "white noise", "pink noise", "hiss"])
def test_steady_audio_keeps_the_mouth_shut(reader: MouthReader, kind: str) -> None:
    rng = np.random.default_rng(3)
    time_s = np.arange(6 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    white = rng.standard_normal(len(time_s))
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 200)), len(time_s))
    audio_blocks = {
        "hum": 0.05 * sum(np.sin(2.0 * np.pi * 50.0 * k * time_s) / k for k in range(1, 8)),
        "white noise": 0.03 * white,
        "pink noise": 0.03 * pink / pink.std(),
        "hiss": 0.0003 * white,
    }
    gap = reader.read(np.asarray(audio_blocks[kind], dtype=np.float32), 0.0, frame_times(6.0, 25.0), FRAME_S)[5:, 0]
    assert gap.mean() < 0.02
    assert gap.max() < 0.1


@pytest.mark.parametrize("gain_db", [-30.0, -20.0, -10.0, 6.0])
def test_loudness_changes_nothing(reader: MouthReader, gain_db: float) -> None:
    samples, times_s = babble(5.0), frame_times(5.0, 25.0)
    usual = reader.read(samples, 0.0, times_s, FRAME_S)
    other = reader.read(samples * np.float32(10.0 ** (gain_db / 20.0)), 0.0, times_s, FRAME_S)
    assert np.corrcoef(usual[:, 0], other[:, 0])[0, 1] > 0.99
    assert abs(usual[:, 0].max() - other[:, 0].max()) < 0.05


@pytest.mark.parametrize("fps", [5.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 60.0])
def test_any_frame_rate_gives_the_same_motion(reader: MouthReader, fps: float) -> None:
    samples, times_s = babble(5.0), frame_times(5.0, fps)
    mouth = reader.read(samples, 0.0, times_s, 1.0 / fps)
    assert mouth.shape == (len(times_s), 5)
    assert mouth.dtype == np.float32
    fine = reader.read(samples, 0.0, frame_times(5.0, 100.0), 0.01)
    view_s = min(1.0 / fps, LONGEST_VIEW_S)
    middles_s = np.arange(len(fine)) * 0.01 + 0.005
    expected = np.array([np.interp(t + view_s / 2.0, middles_s, fine[:, 1]) for t in times_s])
    assert np.abs(mouth[:, 1] - expected).max() < 0.06
    assert expected.max() > 0.2


def test_ranges_and_determinism(reader: MouthReader) -> None:
    samples, times_s = babble(4.0), frame_times(4.0, 25.0)
    mouth = reader.read(samples, 0.0, times_s, FRAME_S)
    assert mouth[:, [0, 1, 3, 4]].min() >= 0.0
    assert mouth[:, [0, 1, 3, 4]].max() <= 1.0
    assert np.abs(mouth[:, 2]).max() <= 1.0
    np.testing.assert_array_equal(mouth, reader.read(samples, 0.0, times_s, FRAME_S))


def test_shifting_the_stream_shifts_the_mouth(reader: MouthReader) -> None:
    samples = babble(4.0)
    later = np.concatenate([np.zeros(round(0.8 * SAMPLE_RATE_HZ), np.float32), samples])
    usual = reader.read(samples, 0.0, frame_times(4.0, 25.0), FRAME_S)
    moved = reader.read(later, 0.0, 0.8 + frame_times(4.0, 25.0), FRAME_S)
    assert np.abs(usual - moved).max() < 1e-5


def test_no_frames_and_no_audio(reader: MouthReader) -> None:
    nothing = np.zeros(0, np.float32)
    assert reader.read(nothing, 0.0, np.zeros(0), FRAME_S).shape == (0, 5)
    assert not reader.read(nothing, 0.0, frame_times(1.0, 25.0), FRAME_S).any()


def test_bad_arguments_are_named(reader: MouthReader) -> None:
    with pytest.raises(ValueError, match=r"multiple of 0\.02"):
        reader.read(np.zeros(100, np.float32), 0.013, frame_times(1.0, 25.0), FRAME_S)
    with pytest.raises(ValueError, match="positive"):
        reader.read(np.zeros(100, np.float32), 0.0, frame_times(1.0, 25.0), 0.0)


def test_damaged_weights_raise_model_error() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_net(io.BytesIO(b"not an archive"))
    archive = io.BytesIO()
    np.savez(archive, format=np.array(99))
    archive.seek(0)
    with pytest.raises(ModelError, match="format 99"):
        load_net(archive)


def test_weights_that_do_not_fit_their_shapes_raise_model_error() -> None:
    arrays = {"format": 2, "mean": [0.0], "scale": [1.0], "shapes": [(1, 1, 2), (1, 2, 5)], "taps": [0, 0]}
    for num_weights in (18, 20):  # 4 and 15 are 19
        archive = io.BytesIO()
        np.savez(archive, **arrays, weights=np.zeros(num_weights, np.float16))
        archive.seek(0)
        with pytest.raises(ModelError, match="cannot be read"):
            load_net(archive)


def test_a_net_that_sees_too_far_is_refused(reader: MouthReader) -> None:
    net = reader._net
    far = replace(net, entry=replace(net.entry, taps=(0, 1, 2, 3, 20)))
    with pytest.raises(ValueError, match="context"):
        MouthReader(far)


def test_silence_around_the_audio_is_implied() -> None:
    samples = babble(1.0)
    steps = extract_steps(samples, 0, -10, 70)
    padded = np.concatenate([np.zeros(3200, np.float32), samples, np.zeros(3200, np.float32)])
    np.testing.assert_array_equal(steps.bands, extract_steps(padded, -3200, -10, 70).bands)
    assert steps.bands.shape == (70, NUM_FEATURES)
    assert not steps.bands[:5].any()
    assert steps.bands[20:].any()


def test_run_time_needs_no_torch() -> None:
    code = (
        "import sys; from musetalk_cli.engine.models.warp.audio.mouth import MouthReader; MouthReader.load();"
        "assert not {'torch', 'cv2', 'rich', 'typer'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_lead_is_one_frame() -> None:
    assert pytest.approx(0.04) == LEAD_S
