"""The variants that are compared make the same video, where they claim to, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fixtures.fakes import HEIGHT, WIDTH, FakeModel, fake_avatar, pipeline_settings, tone
from fixtures.media import read_audio, read_frames
from musetalk_cli.benchmark.comparison.feed import ArrivalSink, Feed
from musetalk_cli.benchmark.comparison.runner import ComparisonRunner, Run
from musetalk_cli.benchmark.comparison.straightforward import PieceCutter, draw_pieces
from musetalk_cli.benchmark.comparison.variants import SWITCHES, VARIANTS, Variant, without
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.engine.audio.blocks import BlockCutter
from musetalk_cli.engine.types.messages import AudioArray, AudioBlock, FaceBatch, FeatureBatch, FloatArray
from musetalk_cli.engine.video.encoder import EncoderSettings
from musetalk_cli.errors import MuseTalkError

RATE = Fraction(25)
ENCODER = EncoderSettings(WIDTH, HEIGHT, RATE, 1, "ultrafast", "zerolatency", 4, None, 64, 1.0, fragment_s=0.02)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; nothing may stay there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


class BoldModel(FakeModel):
    """Draws every frame five levels brighter than the one before, so that no encoder confuses them."""

    def features(self, block: AudioBlock) -> FloatArray:
        return 5 * super().features(block)


def runner_of(
    ffmpeg: str, model: FakeModel | None = None, full_model: FakeModel | None = None, **changes: object
) -> ComparisonRunner:
    settings = pipeline_settings(**{"block_s": 0.8, "num_workers": 2, **changes})
    return ComparisonRunner(ffmpeg, model or FakeModel(RATE), full_model, fake_avatar, ENCODER, settings)


def images_of(ffmpeg: str, run: Run) -> np.ndarray:
    return np.concatenate([read_frames(ffmpeg, video, WIDTH, HEIGHT) for video in run.videos])


def drawn_numbers(ffmpeg: str, run: Run) -> list[int]:
    """Which frame of the bold model each frame is."""
    return [round((float(image[18:22, 28:36].mean()) - 16) / 5) for image in images_of(ffmpeg, run)]


def test_every_way_makes_every_frame_in_order(ffmpeg: str) -> None:
    runner, audio = runner_of(ffmpeg, BoldModel(RATE)), tone(1.1)
    for key, variant in VARIANTS.items():
        run = runner.run(variant, audio, keeps=True)
        assert len(run.frame_times_s) == 28, key
        assert list(run.frame_times_s) == sorted(run.frame_times_s), key
        assert 0 < run.frame_times_s[0] <= run.frame_times_s[-1] <= run.wall_s, key
        assert run.cpu_s > 0, key
        # Upstream's two plain passes lose more than a small region keeps apart.
        most = 0 if variant.memory or variant.encode else 1
        assert np.abs(np.array(drawn_numbers(ffmpeg, run)) - np.arange(28)).max() <= most, key


def test_what_does_not_touch_the_images_gives_the_same_ones(ffmpeg: str) -> None:
    runner, audio = runner_of(ffmpeg), tone(1.0)
    ours = images_of(ffmpeg, runner.run(without(), audio, keeps=True))
    for key in ("workers", "ahead", "precision"):
        assert np.array_equal(ours, images_of(ffmpeg, runner.run(VARIANTS[key], audio, keeps=True))), key


def test_clips_have_the_whole_audio(ffmpeg: str) -> None:
    run = runner_of(ffmpeg).run(without("memory"), tone(1.7), keeps=True)
    lengths_s = [len(read_audio(ffmpeg, video)) / 48_000 for video in run.videos]
    assert lengths_s == pytest.approx([0.8, 0.8, 0.1], abs=0.03)
    assert run.frame_times_s[0] == run.frame_times_s[19] < run.frame_times_s[20]


def test_full_precision_is_another_model(ffmpeg: str) -> None:
    half, full = FakeModel(RATE), FakeModel(RATE)
    runner = runner_of(ffmpeg, half, full)
    runner.run(without("precision"), tone(1.0))
    assert (len(half.blocks), len(full.blocks)) == (0, 2)
    runner.run(without(), tone(1.0))
    assert (len(half.blocks), len(full.blocks)) == (2, 2)


def test_pieces_get_silence_as_their_context(ffmpeg: str) -> None:
    model = FakeModel(RATE)
    runner_of(ffmpeg, model).run(without("blocks"), tone(3.0))
    assert len(model.blocks) > 2
    for block in model.blocks:
        before, after = block.samples[:3_200], block.samples[-1_600:]
        assert not before.any() and not after.any()
        assert block.samples[3_200:-1_600].any()
    in_blocks = FakeModel(RATE)
    runner_of(ffmpeg, in_blocks).run(without(), tone(3.0))
    assert in_blocks.blocks[1].samples[:3_200].any()


@pytest.mark.parametrize("num_samples", [4_801, 43_200, 48_000, 144_000, 480_123])
def test_pieces_cover_all_of_the_audio(num_samples: int) -> None:
    for seed in range(20):
        ends = draw_pieces(num_samples, seed)
        lengths = np.diff([0, *ends])
        assert ends[-1] == num_samples
        assert (lengths <= 0.9 * 48_000 + 1_920).all()
        assert (lengths[:-1] >= 0.2 * 48_000).all()
        assert not (np.array(ends[:-1]) % 1_920).any()
    audio = tone(num_samples / 48_000)
    blocks = cut(PieceCutter(ends, 0.2, 0.1, RATE), audio)
    assert np.array_equal(np.concatenate([block.audio for block in blocks]), audio)
    assert [frame for block in blocks for frame in block.frames] == list(range(int(num_samples / 1_920 + 0.5)))
    assert all(round(block.start_s / 0.02, 6).is_integer() for block in blocks)


def cut(cutter: PieceCutter | BlockCutter, audio: AudioArray) -> list[AudioBlock]:
    blocks = [block for piece in np.array_split(audio, 7) for block in cutter.push(piece)]
    return [*blocks, *cutter.finish()]


def test_block_after_block_begins_none_before_the_last_is_written(ffmpeg: str) -> None:
    class Watching(FakeModel):
        """Notes how many frames have been made when the features of a block are computed."""

        made = 0
        made_before: list[int] = []  # noqa: RUF012 - one instance

        def features(self, block: AudioBlock) -> FloatArray:
            self.made_before.append(self.made)
            return super().features(block)

        def make_faces(self, batch: FeatureBatch) -> FaceBatch:
            faces = super().make_faces(batch)
            self.made += len(batch.frames)
            return faces

    model = Watching(RATE, delay_s=0.002)
    runner_of(ffmpeg, model, num_workers=1).run(without("ahead"), tone(3.2))
    assert model.made_before[:3] == [0, 20, 40]


def test_whole_blocks_wait_for_their_last_image_but_the_late_ones() -> None:
    arrivals = ArrivalSink([10, 20, 23], num_late=1)
    counts = []
    for _ in range(23):
        arrivals.take_clip(b"", 1)
        counts.append(len(arrivals.times))
    assert counts == [0] * 8 + [9] + [10] * 9 + [19] + [20] * 1 + [20, 22, 23]
    at_once = ArrivalSink([10, 20], num_late=1)
    at_once.take_clip(b"", 13)
    assert len(at_once.times) == 10


def test_a_live_feed_keeps_to_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    feed = Feed(tone(0.5), is_live=True)
    monkeypatch.setattr(feed._stopped, "wait", lambda timeout_s: now.__setitem__(0, now[0] + timeout_s + 1e-6))
    pieces, times_s = [], []
    while (piece := feed.read()) is not None:
        pieces.append(piece)
        times_s.append(now[0] - 100.0)
        if len(pieces) == 3:
            now[0] += 0.35  # the reader was busy: what has come meanwhile is there at once
    assert np.array_equal(np.concatenate(pieces), tone(0.5))
    assert times_s[:4] == pytest.approx([0.02, 0.04, 0.06, 0.41], abs=1e-4)
    assert len(pieces[3]) == 4_800
    assert times_s[-1] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("variant", [without(), without(*SWITCHES), without("memory"), without("workers")], ids=str)
def test_a_failure_is_reported_and_leaves_nothing(ffmpeg: str, variant: Variant) -> None:
    with pytest.raises((MuseTalkError, ValueError), match="cannot make frame 30"):
        runner_of(ffmpeg, FakeModel(RATE, fails_at=30)).run(variant, tone(2.5))


@pytest.mark.parametrize("variant", [without("memory"), without(*SWITCHES)], ids=["pipeline", "in turn"])
def test_a_failing_ffmpeg_is_reported(ffmpeg: str, variant: Variant) -> None:
    runner = replace(runner_of(ffmpeg), ffmpeg="/bin/false")
    with pytest.raises(MuseTalkError, match="exit status 1 while it made a clip"):
        runner.run(variant, tone(1.0))


def test_opencv_gets_its_threads_back(ffmpeg: str) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        runner_of(ffmpeg).run(without("workers"), speech(0.4))
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("switched_off", ["memory", "all"])
def test_ctrl_c_leaves_neither_files_nor_children(files: Path, switched_off: str) -> None:
    code = (
        "from musetalk_cli.configuration.schema import Config, VideoConfig\n"
        "from musetalk_cli.benchmark.comparison import procedure, variants\n"
        f"procedure.VARIANTS = {{'ours': variants.VARIANTS['{switched_off}']}}\n"
        "procedure.compare(Config(video=VideoConfig(size=96)), 'warp', seconds=60, rounds=9, tell=print)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={"TMPDIR": str(files), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        deadline = time.monotonic() + 30
        while not list(files.glob("musetalk-bench-*/*.mp4")) and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.002)
        assert running_ffmpegs(files) or list(files.iterdir())
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said
    assert running_ffmpegs(files) == []


def running_ffmpegs(folder: Path) -> list[str]:
    """Command lines of all processes that name the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it has ended meanwhile
        if str(folder) in line and "ffmpeg" in line.split(" ")[0]:
            lines.append(line)
    return lines
