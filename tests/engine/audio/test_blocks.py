from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from fixtures.fakes import tone
from musetalk_cli.engine.audio.blocks import BlockCutter, split_block, split_runs
from musetalk_cli.engine.audio.decimation import Decimator
from musetalk_cli.engine.types.messages import AudioArray, AudioBlock, Cue, FeatureBatch


def noise(num_samples: int, num_channels: int = 1) -> AudioArray:
    rng = np.random.default_rng(num_samples)
    return rng.integers(-9_000, 9_000, (num_samples, num_channels)).astype(np.int16)


def cut(audio: AudioArray, sizes: list[int] | None = None, rate: Fraction = Fraction(25), block_s: float = 2.0):
    cutter = BlockCutter(block_s, before_s=0.6, after_s=0.26, frame_rate=rate)
    blocks: list[AudioBlock] = []
    for piece in np.split(audio, np.cumsum(sizes)) if sizes else [audio]:
        blocks += cutter.push(piece)
    return blocks + list(cutter.finish())


def test_every_sample_is_in_exactly_one_block() -> None:
    audio = noise(48_000 * 7 + 123, 2)
    blocks = cut(audio)
    assert np.array_equal(np.concatenate([block.audio for block in blocks]), audio)
    assert [len(block.audio) for block in blocks[:-1]] == [103_200, 96_000, 96_000]
    assert [block.audio_start for block in blocks] == [0, 103_200, 199_200, 295_200]


def test_a_block_is_two_seconds_of_32000_samples_and_50_frames() -> None:
    first = cut(noise(48_000 * 5))[0]
    assert len(first.samples) == 32_000 + round(0.86 * 16_000)
    assert first.frames == range(50)
    assert first.start_s == -0.6


def test_context_is_the_neighbours_audio() -> None:
    audio = noise(48_000 * 6)
    blocks = cut(audio)
    decimator = Decimator()
    whole = np.concatenate([decimator.push(audio), decimator.finish()])
    padded = np.concatenate([np.zeros(9_600, np.float32), whole, np.zeros(40_000, np.float32)])
    for block in blocks:
        start = round(block.start_s * 16_000) + 9_600
        assert np.array_equal(block.samples, padded[start : start + len(block.samples)])


@pytest.mark.parametrize("sizes", [[1, 2, 3, 48_000], [777] * 300, [200_000], []])
def test_blocks_do_not_depend_on_how_the_audio_arrives(sizes: list[int]) -> None:
    audio = noise(48_000 * 5 + 7)
    for block, expected in zip(cut(audio, sizes), cut(audio), strict=True):
        assert np.array_equal(block.samples, expected.samples)
        assert np.array_equal(block.audio, expected.audio)
        assert block.frames == expected.frames


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001), Fraction(24), Fraction(60), Fraction(25, 2)])
@pytest.mark.parametrize("num_samples", [1, 480, 95_999, 96_000, 96_001, 97_920, 98_400, 300_000])
def test_the_number_of_frames_is_duration_times_rate(rate: Fraction, num_samples: int) -> None:
    frames = [frame for block in cut(noise(num_samples), rate=rate) for frame in block.frames]
    expected = max(1, int(Fraction(num_samples, 48_000) * rate + Fraction(1, 2)))
    assert frames == list(range(expected))


def test_no_audio_gives_no_block() -> None:
    assert cut(noise(0)) == []


def test_a_block_leaves_as_soon_as_its_look_ahead_is_there() -> None:
    cutter = BlockCutter(2.0, before_s=0.6, after_s=0.26, frame_rate=Fraction(25))
    # 1 ms more than the look-ahead: half the low-pass before the decimation.
    assert not list(cutter.push(noise(96_000 + 12_480 + 40)))
    assert len(list(cutter.push(noise(10)))) == 1


def test_batches_carry_the_audio_of_their_frames() -> None:
    rate = Fraction(30_000, 1001)
    audio = noise(48_000 * 5)
    batches = [
        batch
        for block in cut(audio, rate=rate)
        for batch in split_block(block, np.array(block.frames, np.float32)[:, None], 8, rate)
    ]
    assert np.array_equal(np.concatenate([batch.audio for batch in batches]), audio)
    for batch in batches:
        assert batch.features[:, 0].tolist() == list(batch.frames)
        assert np.array_equal(batch.cue.features, batch.features)
        assert batch.cue.first_frame == batch.frames.start
    position = 0
    for batch in batches:
        assert len(batch.features) == len(batch.frames) <= 8
        # A frame never leaves before its audio: that is 0.15 s ahead, to the frame.
        lead_s = 0.15 if position else 0.0
        assert abs(position / 48_000 - float(batch.frames.start / rate) - lead_s) <= float(1 / rate)
        position += len(batch.audio)


def test_the_first_batch_of_the_stream_is_one_frame() -> None:
    """It does not wait for others, so that the MP4 begins early."""
    first, second, *_ = cut(noise(48_000 * 6))
    lengths = [
        [len(batch.frames) for batch in split_block(block, np.zeros((50, 5), np.float32), 8, Fraction(25))]
        for block in (first, second)
    ]
    assert lengths == [[1, 8, 8, 8, 8, 8, 8, 1], [8, 8, 8, 8, 8, 8, 2]]


@pytest.mark.parametrize("wanted", ["110001", "001101", "111111", "010101", "000000"])
def test_each_run_has_its_own_part_of_the_batch(wanted: str) -> None:
    rate, first = Fraction(30_000, 1001), 100
    starts = [round(number / rate * 48_000) for number in range(first, first + len(wanted) + 1)]
    audio = np.arange(starts[-1] - starts[0], dtype=np.int16)[:, None]
    numbers = np.arange(first, first + len(wanted))
    features, images = numbers[:, None].astype(np.float32), tuple(np.full((3, 2), number) for number in numbers)
    cue = Cue(epoch=4, utterance=2, first_frame=7, audio_start=90_000, features=features)
    batch = FeatureBatch(features, range(first, first + len(wanted)), audio, tuple(numbers + 50), images, cue)
    runs = list(split_runs(batch, [flag == "1" for flag in wanted], rate))
    assert "".join(("1" if is_wanted else "0") * len(run.frames) for run, is_wanted in runs) == wanted
    assert all(is_wanted != following for (_, is_wanted), (_, following) in pairwise(runs)), "each as long as can be"
    assert [frame for run, _ in runs for frame in run.frames] == list(batch.frames)
    assert np.array_equal(np.concatenate([run.audio for run, _ in runs]), audio)
    for run, _ in runs:
        place = run.frames.start - first
        assert run.features[:, 0].tolist() == list(run.frames)
        assert run.avatar_frames == tuple(number + 50 for number in run.frames)
        assert [image[0, 0] for image in run.images] == list(run.frames)
        assert abs(int(run.audio[0, 0]) - (starts[place] - starts[0])) <= 1, "with the sample of its first frame"
        assert run.cue.audio_start == 90_000 + int(run.audio[0, 0])
        assert run.cue.first_frame == 7 + place
        assert np.array_equal(run.cue.features, run.features)
        assert (run.cue.epoch, run.cue.utterance) == (4, 2)


def test_the_last_run_takes_the_audio_that_is_left() -> None:
    """The lead of a stream's first batch goes beyond its last frame; of a voice's last one there is less."""
    for num_samples in (1_000, 7_680, 9_000):
        batch = FeatureBatch(np.zeros((4, 1), np.float32), range(4), noise(num_samples), (0,) * 4, (np.zeros(1),) * 4)
        runs = [run for run, _ in split_runs(batch, [True, True, True, False], Fraction(25))]
        assert np.array_equal(np.concatenate([run.audio for run in runs]), batch.audio)
        assert len(runs[0].audio) == min(num_samples, 3 * 1_920)


def test_a_rest_too_short_for_a_frame_keeps_its_audio() -> None:
    audio = noise(96_000 + 480)
    *_, last = blocks = cut(audio)
    (batch,) = split_block(last, np.zeros((0, 5), np.float32), 8, Fraction(25))
    assert len(batch.frames) == 0
    assert [len(block.audio) for block in blocks] == [96_480, 0]


def test_audio_that_all_led_its_images_leaves_frames_without_any() -> None:
    first, last = cut(noise(96_000 + 3_000))
    assert (len(first.audio), len(last.audio)) == (99_000, 0)
    assert last.frames == range(50, 52)


@pytest.mark.parametrize(
    ("frequency_hz", "gain"), [(100, 1.0), (1_000, 1.0), (6_000, 1.0), (9_000, 0.0), (12_000, 0.0)]
)
def test_decimation_keeps_speech_and_folds_nothing_back(frequency_hz: float, gain: float) -> None:
    decimator = Decimator()
    out = np.concatenate([decimator.push(tone(1.0, 2, frequency_hz)), decimator.finish()])
    assert len(out) == 16_000
    level = np.abs(out[1_000:-1_000]).max() / (16_000 / 32_768)
    assert level == pytest.approx(gain, abs=0.01 if gain else 3.2e-4)  # 3.2e-4 is 70 dB down
