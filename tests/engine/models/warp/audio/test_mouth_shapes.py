"""Mouth shapes from audio: the same in blocks as in one call, closed when nobody speaks, independent of loudness."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.frame_shapes import MAX_WINDOW_S
from musetalk_cli.engine.models.warp.audio.log_mel import NUM_FEATURES, SAMPLE_RATE_HZ, STEP_S, extract_features
from musetalk_cli.engine.models.warp.audio.mouth_net import load_net
from musetalk_cli.engine.models.warp.audio.mouth_shapes import (
    AMPLITUDE,
    LEAD_S,
    NOISE_ODDS,
    GapMap,
    MouthShapePredictor,
    express,
)
from musetalk_cli.engine.models.warp.audio.width_map import WidthMap
from musetalk_cli.errors import ModelError

FloatArray = NDArray[np.float32]

BLOCK_S = 2.0
FRAME_S = 0.04


@pytest.fixture(scope="module")
def predictor() -> MouthShapePredictor:
    return MouthShapePredictor.load()


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


def predict_in_blocks(predictor: MouthShapePredictor, samples: FloatArray, fps: float, length_s: float) -> FloatArray:
    """As the engine does: block by block, with exactly the context the predictor asks for, zeros outside the stream."""
    before, after = (round(s * SAMPLE_RATE_HZ) for s in (predictor.before_s, predictor.after_s))
    padded = np.concatenate([np.zeros(before, np.float32), samples, np.zeros(after, np.float32)])
    times_s = frame_times(len(samples) / SAMPLE_RATE_HZ, fps)
    size, rows = round(length_s * SAMPLE_RATE_HZ), []
    for start in range(0, len(samples), size):
        block_s = start / SAMPLE_RATE_HZ
        mine = times_s[(times_s >= block_s - 1e-9) & (times_s < block_s + length_s - 1e-9)]
        samples_of_block = padded[start : start + before + min(size, len(samples) - start) + after]
        rows.append(predictor.predict(samples_of_block, block_s - predictor.before_s, mine, 1.0 / fps))
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("fps", "length_s"), [(7.0, 2.0), (23.976, 2.0), (25.0, 2.0), (25.0, 0.5), (29.97, 0.22), (30.0, 2.0), (60.0, 2.0)]
)
def test_blocks_equal_the_whole(predictor: MouthShapePredictor, fps: float, length_s: float) -> None:
    samples = babble(9.3)
    whole = predictor.predict(samples, 0.0, frame_times(9.3, fps), 1.0 / fps)
    blocks = predict_in_blocks(predictor, samples, fps, length_s)
    assert blocks.shape == whole.shape
    assert whole[:, 0].max() > 0.2
    assert np.abs(blocks - whole).max() < 1e-5


def test_context_is_whole_steps_and_live_enough() -> None:
    for span_s in (MouthShapePredictor.before_s, MouthShapePredictor.after_s):
        assert abs(span_s / STEP_S - round(span_s / STEP_S)) < 1e-9
    assert MouthShapePredictor.before_s <= 4.0
    assert MouthShapePredictor.after_s <= 0.40


def test_a_prediction_needs_no_more_than_the_promised_context(predictor: MouthShapePredictor) -> None:
    times_s = 6.0 + frame_times(BLOCK_S, 25.0)
    samples, other = babble(12.0), babble(12.0, seed=1)[::-1]
    first = round((6.0 - predictor.before_s) * SAMPLE_RATE_HZ)
    last = round((6.0 + BLOCK_S + predictor.after_s) * SAMPLE_RATE_HZ)
    changed = other.copy()
    changed[first:last] = samples[first:last]
    np.testing.assert_array_equal(
        predictor.predict(samples, 0.0, times_s, FRAME_S), predictor.predict(changed, 0.0, times_s, FRAME_S)
    )


def test_digital_silence_is_exactly_closed(predictor: MouthShapePredictor) -> None:
    mouth = predictor.predict(np.zeros(3 * SAMPLE_RATE_HZ, np.float32), 0.0, frame_times(3.0, 25.0), FRAME_S)
    assert not mouth.any()


def test_speech_then_silence_parts_the_lips_and_then_shuts_them(predictor: MouthShapePredictor) -> None:
    """As people do: within 200 ms the lips are only parted, for half a second, and after a second they are shut."""
    samples = np.concatenate([babble(4.0), np.zeros(2 * SAMPLE_RATE_HZ, np.float32)])
    mouth = predictor.predict(samples, 0.0, frame_times(6.0, 25.0), FRAME_S)
    assert mouth[105:, 0].max() < 0.14
    assert mouth[105:110, 0].min() > 0.05
    assert not mouth[125:].any()


def test_a_long_silence_before_speech_is_shut(predictor: MouthShapePredictor) -> None:
    samples = np.concatenate([np.zeros(2 * SAMPLE_RATE_HZ, np.float32), babble(2.0)])
    assert not predictor.predict(samples, 0.0, frame_times(4.0, 25.0), FRAME_S)[:45].any()


@pytest.mark.parametrize("kind", ["hum", "white noise", "pink noise", "hiss"])
def test_steady_noise_keeps_the_mouth_closed(predictor: MouthShapePredictor, kind: str) -> None:
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
    gap = predictor.predict(np.asarray(audio_blocks[kind], dtype=np.float32), 0.0, frame_times(6.0, 25.0), FRAME_S)[
        5:, 0
    ]
    assert gap.mean() < 0.02
    assert gap.max() < 0.1


@pytest.mark.parametrize("gain_db", [-30.0, -20.0, -10.0, 6.0])
def test_loudness_changes_nothing(predictor: MouthShapePredictor, gain_db: float) -> None:
    samples, times_s = babble(5.0), frame_times(5.0, 25.0)
    usual = predictor.predict(samples, 0.0, times_s, FRAME_S)
    other = predictor.predict(samples * np.float32(10.0 ** (gain_db / 20.0)), 0.0, times_s, FRAME_S)
    assert np.corrcoef(usual[:, 0], other[:, 0])[0, 1] > 0.99
    assert abs(usual[:, 0].max() - other[:, 0].max()) < 0.05


@pytest.mark.parametrize("fps", [5.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 60.0])
def test_any_frame_rate_gives_the_same_motion(predictor: MouthShapePredictor, fps: float) -> None:
    samples, times_s = babble(5.0), frame_times(5.0, fps)
    mouth = predictor.predict(samples, 0.0, times_s, 1.0 / fps)
    assert mouth.shape == (len(times_s), 6)
    assert mouth.dtype == np.float32
    fine = predictor.predict(samples, 0.0, frame_times(5.0, 100.0), 0.01)
    window_s = min(1.0 / fps, MAX_WINDOW_S)
    middles_s = np.arange(len(fine)) * 0.01 + 0.005
    expected = np.array([np.interp(t + window_s / 2.0, middles_s, fine[:, 1]) for t in times_s])
    assert np.abs(mouth[:, 1] - expected).max() < 0.06
    assert expected.max() > 0.2


def test_ranges_and_determinism(predictor: MouthShapePredictor) -> None:
    samples, times_s = babble(4.0), frame_times(4.0, 25.0)
    mouth = predictor.predict(samples, 0.0, times_s, FRAME_S)
    assert mouth[:, [0, 1, 3, 4]].min() >= 0.0
    assert mouth[:, [0, 1, 3, 4]].max() <= 1.0
    assert np.abs(mouth[:, 2]).max() <= 1.0
    np.testing.assert_array_equal(mouth, predictor.predict(samples, 0.0, times_s, FRAME_S))


def test_shifting_the_stream_shifts_the_mouth(predictor: MouthShapePredictor) -> None:
    samples = babble(4.0)
    later = np.concatenate([np.zeros(round(0.8 * SAMPLE_RATE_HZ), np.float32), samples])
    usual = predictor.predict(samples, 0.0, frame_times(4.0, 25.0), FRAME_S)
    moved = predictor.predict(later, 0.0, 0.8 + frame_times(4.0, 25.0), FRAME_S)
    assert np.abs(usual - moved).max() < 1e-5


def test_no_frames_and_no_audio(predictor: MouthShapePredictor) -> None:
    nothing = np.zeros(0, np.float32)
    assert predictor.predict(nothing, 0.0, np.zeros(0), FRAME_S).shape == (0, 6)
    assert not predictor.predict(nothing, 0.0, frame_times(1.0, 25.0), FRAME_S).any()


def test_in_noise_an_unsure_closure_is_surer(predictor: MouthShapePredictor) -> None:
    """Where the quietest of the last steps is not far below the speech."""
    net, samples = predictor._net, babble(5.0)
    unsure = net.head._replace(weight=0 * net.head.weight, bias=np.zeros(6, np.float32))
    always_half = MouthShapePredictor(net._replace(head=unsure))
    noise = np.random.default_rng(2).standard_normal(len(samples)).astype(np.float32)
    noisy = samples + 0.3 * samples.std() * noise
    in_quiet, in_noise = (always_half.predict_steps(audio, 0, 70, 30)[:, 3] for audio in (samples, noisy))
    assert in_quiet.max() == pytest.approx(0.5, abs=0.01)
    assert in_noise.max() == pytest.approx(NOISE_ODDS / (1 + NOISE_ODDS), abs=0.01)


def test_bad_arguments_are_named(predictor: MouthShapePredictor) -> None:
    with pytest.raises(ValueError, match=r"multiple of 0\.02"):
        predictor.predict(np.zeros(100, np.float32), 0.013, frame_times(1.0, 25.0), FRAME_S)
    with pytest.raises(ValueError, match="positive"):
        predictor.predict(np.zeros(100, np.float32), 0.0, frame_times(1.0, 25.0), 0.0)


def test_damaged_weights_raise_model_error() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_net(io.BytesIO(b"not an archive"))
    archive = io.BytesIO()
    np.savez(archive, format=np.array(99))
    archive.seek(0)
    with pytest.raises(ModelError, match="format 99"):
        load_net(archive)


def test_a_net_without_a_tongue_keeps_it_down() -> None:
    archive = io.BytesIO()
    arrays = {"format": 2, "mean": [0.0], "scale": [1.0], "shapes": [(1, 1, 2), (1, 2, 5)], "taps": [0, 0]}
    np.savez(archive, **arrays, weights=np.ones(19, np.float16))
    archive.seek(0)
    mouth = load_net(archive).forward(np.ones((3, 1), np.float32))
    assert mouth.shape == (3, 6)
    assert mouth[:, 0].min() > 0.9
    assert mouth[:, 5].max() < 1e-6


def test_weights_that_do_not_fit_their_shapes_raise_model_error() -> None:
    arrays = {"format": 2, "mean": [0.0], "scale": [1.0], "shapes": [(1, 1, 2), (1, 2, 5)], "taps": [0, 0]}
    for num_weights in (18, 20):  # 4 and 15 are 19
        archive = io.BytesIO()
        np.savez(archive, **arrays, weights=np.zeros(num_weights, np.float16))
        archive.seek(0)
        with pytest.raises(ModelError, match="cannot be read"):
            load_net(archive)


def test_a_net_with_too_long_a_receptive_field_is_refused(predictor: MouthShapePredictor) -> None:
    net = predictor._net
    far = net._replace(entry=net.entry._replace(taps=(0, 1, 2, 3, 20)))
    with pytest.raises(ValueError, match="context"):
        MouthShapePredictor(far)


def test_silence_around_the_audio_is_implied() -> None:
    samples = babble(1.0)
    steps = extract_features(samples, 0, -10, 70)
    padded = np.concatenate([np.zeros(3200, np.float32), samples, np.zeros(3200, np.float32)])
    np.testing.assert_array_equal(steps.bands, extract_features(padded, -3200, -10, 70).bands)
    assert steps.bands.shape == (70, NUM_FEATURES)
    assert not steps.bands[:5].any()
    assert steps.bands[20:].any()


def test_run_time_needs_no_torch() -> None:
    code = (
        "import sys; from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor as Predictor;"
        "Predictor.load();"
        "assert not {'torch', 'cv2', 'rich', 'typer'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("width", "closed", "gap"),
    [(1.0, {}, 0.6), (-0.5, {}, 0.3), (-1.0, {}, 0.2), (1.0, {3: 1.0}, 0.4), (1.0, {4: 1.0}, 0.4), (0.0, {}, 0.4)],
)
def test_spread_lips_open_wider_and_rounded_ones_less(width: float, closed: dict[int, float], gap: float) -> None:
    """But half of a gap is left, and where the lips close, only the closure counts."""
    step = np.array([0.4, 0.4, width, 0.0, 0.0], np.float32)
    for column, value in closed.items():
        step[column] = value
    assert GapMap(spread_opens=0.2).gap(step[None]) == pytest.approx([gap], abs=1e-6)


@pytest.mark.parametrize("gap_map", [GapMap(), GapMap(0.0, 0.0)])
def test_the_width_is_mapped_with_the_gap_that_is_drawn(predictor: MouthShapePredictor, gap_map: GapMap) -> None:
    as_it_is = MouthShapePredictor(predictor._net, gap_map, WidthMap(1.0, 0.0, 0.0, 0.0, 1.0))
    audio = babble(3.0)
    steps = as_it_is.predict_steps(audio, 0, 0, 150)
    mapped = MouthShapePredictor(predictor._net, gap_map).predict_steps(audio, 0, 0, 150)
    assert np.abs(mapped[:, 2] - steps[:, 2]).max() > 0.1
    np.testing.assert_array_equal(mapped[:, 2], WidthMap().width(steps))
    np.testing.assert_array_equal(np.delete(mapped, 2, axis=1), np.delete(steps, 2, axis=1))


def test_expression_makes_the_mouth_move_more_or_less() -> None:
    rows = [[0.2, 0.2, 0.3, 0.0, 0.0, 0.1], [0.7, 0.6, -0.5, 0.4, 0.2, 0.0], [1.0, 1.0, -1.0, 1.0, 1.0, 1.0]]
    shapes = np.array(rows, np.float32)
    usual, calm, lively = (express(shapes, expression) for expression in (1.0, 0.5, 1.5))
    assert usual[0, :2] == pytest.approx(AMPLITUDE * shapes[0, :2], abs=1e-6)
    assert calm[0] == pytest.approx(shapes[0] * [AMPLITUDE / 2, AMPLITUDE / 2, 0.5, 1, 1, 0], abs=1e-6)
    assert np.all(np.diff([calm[:, 0], usual[:, 0], lively[:, 0]], axis=0) > 0)
    assert lively[:, :2].max() < 1.0
    for drawn in (usual, calm, lively):
        np.testing.assert_array_equal(drawn[:, 3:5], shapes[:, 3:5])
        assert np.abs(drawn[:, 2]).max() <= 1.0
    assert not express(np.zeros((2, 6), np.float32), 1.5).any()


def test_an_unsure_tongue_stays_down() -> None:
    shapes = np.zeros((5, 6), np.float32)
    shapes[:, 5] = (0.0, 0.125, 0.42, 0.7, 1.0)
    assert express(shapes, 1.0)[:, 5] == pytest.approx([0.0, 0.0, 0.66, 1.0, 1.0])


def test_lead_is_one_frame() -> None:
    assert pytest.approx(0.04) == LEAD_S


@pytest.mark.parametrize("rate", [25, 30, 50, 12.5, 29.97])
@pytest.mark.parametrize("block_s", [0.04, 0.2, 0.4, 2.0])
def test_the_look_ahead_of_a_block_is_all_that_it_needs(
    predictor: MouthShapePredictor, rate: float, block_s: float
) -> None:
    """What lies further ahead changes nothing."""
    ahead_s = predictor.look_ahead_s(block_s, 1 / rate)
    assert 0.3 < ahead_s <= predictor.after_s
    assert round(ahead_s / 0.02, 6).is_integer()
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(8 * 16_000)).astype(np.float32)
    times_s = np.arange(round(4.0 * rate), round((4.0 + block_s) * rate)) / rate
    end = round((4.0 + block_s + ahead_s) * 16_000)
    changed = samples.copy()
    changed[end:] = 0.0
    wanted, found = (predictor.predict(audio, 0.0, times_s, 1 / rate) for audio in (samples, changed))
    assert np.array_equal(wanted, found)
