"""The steps of each frame: exact by index, independent of how the stream is cut, and upstream's on request."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest

from fixtures.feature_windows import FPS_25, STEP, IndexFeatureEncoder, blocks_of, selected_steps, upstream_by_hand
from musetalk_cli.engine.audio.blocks import BlockCutter
from musetalk_cli.engine.models.musetalk.audio.windows import (
    AnchoredFeatures,
    UpstreamFeatures,
    count_upstream_frames,
    count_upstream_steps,
    frame_steps,
    gather_steps,
    upstream_frame_steps,
)
from musetalk_cli.engine.types.messages import AudioBlock


@pytest.mark.parametrize("num_steps", [400, 1700, 3000])
def test_at_25_fps_both_schemes_take_upstreams_steps(num_steps: int) -> None:
    wanted = upstream_by_hand(num_steps, 25, num_steps // 2)
    for scheme in (AnchoredFeatures, UpstreamFeatures):
        np.testing.assert_array_equal(selected_steps(scheme(IndexFeatureEncoder(), FPS_25), num_steps), wanted)


@pytest.mark.parametrize("fps", [12, 15, 20, 24, 25, 30, 29.97, 48])
def test_the_upstream_scheme_follows_its_rule_at_other_rates(fps: float) -> None:
    rate = Fraction(30_000, 1001) if fps == 29.97 else Fraction(fps)
    mine = selected_steps(UpstreamFeatures(IndexFeatureEncoder(), rate), 1900, rate)
    # Where it runs slow against the audio (29 for 29.97), upstream itself stops before the last frames.
    num_frames = min(len(mine), 1900 * int(rate) // 50)
    np.testing.assert_array_equal(mine[:num_frames], upstream_by_hand(1900, fps, num_frames))


@pytest.mark.parametrize("rate", [Fraction(5), Fraction(12), Fraction(24), Fraction(30_000, 1001), Fraction(60)])
def test_at_any_rate_a_frame_takes_the_steps_around_its_timestamp(rate: Fraction) -> None:
    num_steps = 2000
    selected = selected_steps(AnchoredFeatures(IndexFeatureEncoder(), rate), num_steps, rate)
    assert len(selected) == round(num_steps * rate / 50)
    for frame, steps in enumerate(selected):
        own = math.floor(frame * 50 / rate)
        wanted = [step if 0 <= step < num_steps else -1 for step in range(own - 4, own + 6)]
        assert steps.tolist() == wanted


@pytest.mark.parametrize("num_steps", [0.5, 1, 4, 99.7, 100, 103.2, 1501, 1499.99])
@pytest.mark.parametrize("scheme", [AnchoredFeatures, UpstreamFeatures])
def test_streams_of_any_length_end_in_zeros(scheme, num_steps: float) -> None:
    selected = selected_steps(scheme(IndexFeatureEncoder(), FPS_25), num_steps)
    whole = math.floor(num_steps + 1e-9)
    assert len(selected) == max(1, math.floor(num_steps / 2 + 0.5))
    for frame, steps in enumerate(selected):
        assert steps.tolist() == [n if 0 <= n < whole else -1 for n in range(2 * frame - 4, 2 * frame + 6)]


def test_the_first_version_repeats_its_ends() -> None:
    levels = np.arange(20, dtype=np.float32).reshape(10, 2, 1)
    steps = frame_steps(range(5), FPS_25)
    clamped = gather_steps(levels, 0, steps, 10, clamps=True).reshape(5, 10, 2)[:, :, 0] / 2
    np.testing.assert_array_equal(clamped[0], [0, 0, 0, 0, 0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(clamped[4], [4, 5, 6, 7, 8, 9, 9, 9, 9, 9])


def test_tokens_are_step_by_step_and_in_each_all_levels() -> None:
    levels = np.arange(30, dtype=np.float32).reshape(15, 2, 1)
    row = gather_steps(levels, 0, frame_steps(range(2, 3), FPS_25), None, clamps=False)
    np.testing.assert_array_equal(row[0], np.arange(20))


@pytest.mark.parametrize("block_s", [0.2, 0.52, 2.0, 4.0])
def test_every_step_has_past_and_comes_from_inside_its_window(block_s: float) -> None:
    """Whatever the block's length; the encoder refuses more audio than a window, the indices show the rest."""
    rate = Fraction(30)
    selected = selected_steps(AnchoredFeatures(IndexFeatureEncoder(), rate), 1800, rate, block_s)
    own = [math.floor(frame * 50 / rate) for frame in range(len(selected))]
    np.testing.assert_array_equal(selected[20:-20, 4], own[20:-20])


def test_the_window_slides_by_ten_seconds_and_one_block_is_encoded_in_both() -> None:
    lengths = []

    class Measuring(IndexFeatureEncoder):
        def encode(self, samples: np.ndarray) -> np.ndarray:
            lengths.append(len(samples) / 16_000)
            return super().encode(samples)

    selected_steps(AnchoredFeatures(Measuring(), FPS_25), 50 * 100)
    growing = [2 * n + 2.12 for n in range(14)]
    # The block from 26 to 28 s in both windows, then up to 38 s in the second alone, and so on.
    assert lengths[:21] == pytest.approx([*growing, 18.12, *growing[9:14], 18.12])
    assert max(lengths) <= 30.0


@pytest.mark.parametrize("block_s", [0.52, 2.0, 3.96])
def test_one_window_fades_into_the_next_evenly(block_s: float) -> None:
    """Each window says its own number of every step; what is in between says how much of each a frame has."""

    class Numbering(IndexFeatureEncoder):
        def encode(self, samples: np.ndarray) -> np.ndarray:
            start_s = max(0.0, (samples[0] - 1) * STEP / 16_000)
            return np.full((1500, 2, 1), start_s / 10, np.float32)

    rate = Fraction(30)
    scheme = AnchoredFeatures(Numbering(), rate)
    blocks = blocks_of(50 * 45, scheme.before_s, scheme.after_s, block_s, rate)
    windows = np.concatenate([scheme.features(block) for block in blocks])[:, 10]
    times_s = np.arange(len(windows)) / 30
    np.testing.assert_allclose(windows, np.interp(times_s, [27.6, 28, 37.6, 38], [0, 1, 1, 2]), atol=1e-6)


def test_the_upstream_scheme_encodes_each_window_once() -> None:
    encoder = IndexFeatureEncoder()
    selected_steps(UpstreamFeatures(encoder, FPS_25), 50 * 70)
    assert encoder.num_calls == 3


def test_the_steps_of_upstream_shift_early_below_25_fps_and_ours_do_not() -> None:
    rate = Fraction(12)
    assert upstream_frame_steps(range(6, 7), rate)[0].tolist() == list(range(25 - 10, 25))
    assert frame_steps(range(6, 7), rate)[0].tolist() == list(range(25 - 4, 25 + 6))


@pytest.mark.parametrize("is_version_1_0", [False, True])
def test_a_stream_cut_at_random_has_the_features_of_the_file(is_version_1_0: bool) -> None:
    """Bit for bit: the same hash for any chunking of the input, through the real encoder."""
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    from fixtures.small_nets import CONFIGS, CPU
    from musetalk_cli.engine.models.musetalk.audio.whisper_features import WhisperFeatureEncoder
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import random_nets

    rng = np.random.default_rng(7)
    audio = rng.integers(-9000, 9000, (48_000 * 13, 1)).astype(np.int16)
    encoder = WhisperFeatureEncoder(random_nets("1.5", CPU, 1, CONFIGS).whisper, is_version_1_0=is_version_1_0)
    hashes = set()
    for chunks in ([len(audio)], rng.integers(1, 100_000, 60), rng.integers(1, 9_000, 200)):
        scheme = AnchoredFeatures(encoder, FPS_25)
        cutter = BlockCutter(2.0, scheme.before_s, scheme.after_s, FPS_25)
        parts, at = [], 0
        for size in [*chunks, len(audio)]:
            parts += [scheme.features(block) for block in cutter.push(audio[at : at + size])]
            at = min(len(audio), at + size)
        parts += [scheme.features(block) for block in cutter.finish()]
        features = np.concatenate(parts)
        assert features.shape == (325, 10 * encoder.step_dim)
        assert np.isfinite(features).all()
        hashes.add(hashlib.sha256(features.tobytes()).hexdigest())
    assert len(hashes) == 1


def test_upstream_loses_a_step_and_frames_where_its_floating_point_does() -> None:
    """All whole steps up to a minute: 144 of 3,000 have a step less, by the script's own expressions."""
    lost = []
    for num_steps in range(1, 3001):
        num_samples = num_steps * STEP
        block = AudioBlock(0, np.zeros(0, np.float32), 0.0, np.zeros((0, 1), np.int16), 0, range(1), num_samples * 3)
        steps = count_upstream_steps(block)
        assert steps == math.floor((num_samples / 16000) * 50)
        assert count_upstream_frames(num_samples, Fraction(25)) == math.floor((num_samples / 16000) * 25)
        lost += [num_steps] if steps != num_steps else []
    assert len(lost) == 144
    assert {29, 58} <= set(lost)  # 0.58 s and 1.16 s


def test_the_last_frames_miss_the_lost_step() -> None:
    """1.16 s: 57 steps instead of 58; ours have all of them."""
    mine = selected_steps(UpstreamFeatures(IndexFeatureEncoder(), FPS_25), 58)
    np.testing.assert_array_equal(mine[:28], upstream_by_hand(57, 25, 28))
    assert (mine == 57).sum() == 0
    assert (selected_steps(AnchoredFeatures(IndexFeatureEncoder(), FPS_25), 58) == 57).sum() > 0


def test_a_block_of_a_whole_voice_says_how_many_samples_it_has() -> None:
    block = AudioBlock(
        0, np.zeros(0, np.float32), 0.0, np.zeros((0, 1), np.int16), 0, range(1), 48_000, num_samples=319
    )
    assert count_upstream_steps(block) == 0
