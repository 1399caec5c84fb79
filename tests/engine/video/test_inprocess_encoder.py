"""What the encoder in this process makes, as two ffmpegs decode it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import packet_times, read_audio, read_frames
from fixtures.programs import find_ffmpeg
from fixtures.streams import (
    HEIGHT,
    WHITE,
    WIDTH,
    cut_audio,
    draw_number,
    encode_numbers,
    encoder_settings,
    read_number,
    sweep,
)
from musetalk_cli.engine.outputs.flv import FlvPacker
from musetalk_cli.engine.outputs.fragments import Fragment, FragmentSplitter, InitSegment
from musetalk_cli.engine.video.encoder import EncoderSettings
from musetalk_cli.engine.video.inprocess_encoder import InProcessEncoder
from musetalk_cli.errors import EncoderError
from musetalk_cli.installation import install_command

if not os.environ.get("CI"):
    pytest.importorskip("av", reason="needs PyAV, of the extra 'session'")

RATES = [Fraction(25), Fraction(30_000, 1_001), Fraction(24_000, 1_001), Fraction("23.976"), Fraction(60)]
AAC_SAMPLES = 1_024
NO_AUDIO = np.zeros((0, 1), np.int16)
FRAME_OF_AUDIO = np.zeros((1_920, 1), np.int16)


@pytest.fixture(params=["auto", "bundled"])
def reader(request: pytest.FixtureRequest) -> str:
    """The system's ffmpeg, then the one that the package brings."""
    return find_ffmpeg(request.param)


@pytest.fixture
def open_encoder() -> Iterator[Callable[..., InProcessEncoder]]:
    with contextlib.ExitStack() as stack:

        def open_it(settings: EncoderSettings | None = None) -> InProcessEncoder:
            return stack.enter_context(contextlib.closing(InProcessEncoder(settings or encoder_settings())))

        yield open_it


Open = Callable[..., InProcessEncoder]


def join(fragments: list[InitSegment | Fragment]) -> bytes:
    return b"".join(fragment.data for fragment in fragments)


def find_offset(pushed: np.ndarray, decoded: np.ndarray, most: int = 2_000) -> tuple[int, float]:
    """By how many samples the decoded audio is late, and how alike both are then (correlation)."""
    size = 1 << (2 * max(len(pushed), len(decoded)) - 1).bit_length()
    one, other = (np.fft.rfft(audio.astype(float), size) for audio in (pushed, decoded))
    products = np.fft.irfft(other * one.conj(), size)
    offset = max(range(-most, most), key=lambda at: products[at])
    kept = decoded[offset:][: len(pushed)] if offset >= 0 else np.pad(decoded, (-offset, 0))[: len(pushed)]
    return offset, float(np.corrcoef(pushed[2_048 : len(kept)], kept[2_048:])[0, 1])


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_frames_in_order_at_exact_times(reader: str, tmp_path: Path, open_encoder: Open, rate: Fraction) -> None:
    num_frames = 50
    audio = sweep(int(num_frames / rate * 48_000))
    path = tmp_path / "a.mp4"
    path.write_bytes(join(encode_numbers(open_encoder(encoder_settings(rate)), num_frames, audio, rate)))
    assert [read_number(image) for image in read_frames(reader, path, WIDTH, HEIGHT)] == list(range(num_frames))
    expected = [float(number / rate) for number in range(num_frames)]
    assert packet_times(reader, path, "v") == pytest.approx(expected, abs=1e-9)


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_ffprobe_finds_nothing_amiss(tmp_path: Path, open_encoder: Open, rate: Fraction) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(
        join(encode_numbers(open_encoder(encoder_settings(rate)), 30, sweep(int(30 / rate * 48_000)), rate))
    )
    wanted = ["-show_streams", "-show_packets", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "warning", *wanted, path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    video, audio = found["streams"]
    assert (video["codec_name"], audio["codec_name"], audio["sample_rate"]) == ("h264", "aac", "48000")
    assert [video[key] for key in ("color_space", "color_transfer", "color_primaries", "color_range")] == [
        *["bt709"] * 3,
        "tv",
    ]
    assert Fraction(video["avg_frame_rate"]) == rate
    packets = [packet for packet in found["packets"] if packet["codec_type"] == "video"]
    times = [packet["pts"] * Fraction(video["time_base"]) for packet in packets]
    assert times == [number / rate for number in range(30)]
    assert {packet["duration"] * Fraction(video["time_base"]) for packet in packets} == {1 / rate}
    assert [packet["pts"] for packet in packets] == [packet["dts"] for packet in packets]
    counts = [packet["pts"] for packet in found["packets"] if packet["codec_type"] == "audio"]
    assert counts == [AAC_SAMPLES * number for number in range(len(counts))]


@pytest.mark.needs("ffprobe")
def test_ffprobes_trace_complains_of_nothing(tmp_path: Path, open_encoder: Open) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(join(encode_numbers(open_encoder(), 10, sweep(19_200), Fraction(25))))
    done = subprocess.run(["ffprobe", "-v", "trace", path], capture_output=True, text=True, check=True)
    words = ("invalid", "error", "overread", "unknown", "unsupported", "corrupt", "missing", "inconsist")
    lines = [line for line in done.stderr.splitlines() if any(word in line.lower() for word in words)]
    # Of a reference to the file itself it says "unknown" even where ffmpeg wrote it.
    assert [line for line in lines if "Unknown dref type 0x206c7275" not in line] == []


@pytest.mark.parametrize("num_channels", [1, 2])
def test_the_audio_is_what_was_pushed_and_where(reader: str, open_encoder: Open, num_channels: int) -> None:
    audio = sweep(2 * 48_000 - 77, num_channels)
    encoder = open_encoder(encoder_settings(num_channels=num_channels))
    decoded = read_audio(reader, join(encode_numbers(encoder, 50, audio, Fraction(25))), num_channels)
    assert 0 <= len(decoded) - len(audio) < AAC_SAMPLES
    for channel in range(num_channels):
        offset, correlation = find_offset(audio[:, channel], decoded[:, channel])
        assert offset == 0
        assert correlation > 0.99


def test_audio_in_pieces_of_any_size_is_the_same_audio(ffmpeg: str, open_encoder: Open) -> None:
    audio, decoded = sweep(48_000), []
    for seed in (1, 2):
        encoder, draw = open_encoder(), np.random.default_rng(seed)
        cuts = [0, *sorted(draw.integers(0, len(audio), 24)), len(audio)]
        fragments = [encoder.init_segment]
        for number in range(25):
            fragments += encoder.encode([draw_number(number)], audio[cuts[number] : cuts[number + 1]])
        decoded.append(read_audio(ffmpeg, join(fragments + encoder.finish())))
    assert np.array_equal(*decoded)
    assert len(decoded[0]) == -(-len(audio) // AAC_SAMPLES) * AAC_SAMPLES


def test_a_click_and_a_flash_come_together(reader: str, tmp_path: Path, open_encoder: Open) -> None:
    rate, at = Fraction(30_000, 1_001), 31
    audio = np.zeros((int(60 / rate * 48_000), 1), np.int16)
    click = int(at / rate * 48_000)
    audio[click : click + 24] = 20_000
    encoder = open_encoder(encoder_settings(rate))
    fragments = [encoder.init_segment]
    for number, part in enumerate(cut_audio(audio, rate, 60)):
        image = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        image[:HEIGHT] = WHITE if number == at else 40
        fragments += encoder.encode([image], part)
    path = tmp_path / "a.mp4"
    path.write_bytes(join(fragments + encoder.finish()))
    levels = read_frames(reader, path, WIDTH, HEIGHT)[:, :HEIGHT].mean(axis=(1, 2))
    flash_s = packet_times(reader, path, "v")[int(levels.argmax())]
    loudest = int(np.abs(read_audio(reader, path).astype(int)).argmax())
    click_s = packet_times(reader, path, "a")[0] + loudest / 48_000
    assert click_s == pytest.approx(flash_s, abs=0.001)


@pytest.mark.parametrize("tune, preset", [("zerolatency", "ultrafast"), ("none", "medium"), ("stillimage", "veryfast")])
def test_each_frame_leaves_in_the_call_that_brought_it(open_encoder: Open, ffmpeg: str, tune: str, preset: str) -> None:
    encoder = open_encoder(encoder_settings()._replace(tune=tune, preset=preset))
    fragments = [encoder.init_segment]
    for number in range(30):
        made = encoder.encode([draw_number(number)], FRAME_OF_AUDIO)
        assert [fragment.num_frames for fragment in made] == [1]
        fragments += made
    assert [fragment.is_keyframe for fragment in fragments[1:]] == [number % 25 == 0 for number in range(30)]
    found = read_frames(ffmpeg, join(fragments), WIDTH, HEIGHT)
    assert [read_number(image) for image in found] == list(range(30))


def test_a_batch_is_the_same_frames_with_the_audio_shared_out(open_encoder: Open) -> None:
    audio = sweep(8 * 1_920)
    images = [draw_number(number) for number in range(8)]
    whole, single = open_encoder(), open_encoder()
    batch = whole.encode(images, audio)
    one_by_one = [single.encode([image], part) for image, part in zip(images, np.split(audio, 8), strict=True)]
    assert batch == [fragment for made in one_by_one for fragment in made]


def test_a_keyframe_when_it_is_asked_for_and_a_second_after_it(open_encoder: Open, ffmpeg: str) -> None:
    encoder = open_encoder()
    fragments = []
    for number in range(60):
        fragments += encoder.encode([draw_number(number)], FRAME_OF_AUDIO, keyframe=number == 13)
    assert [number for number, fragment in enumerate(fragments) if fragment.is_keyframe] == [0, 13, 38]
    joined = join([encoder.init_segment, *fragments[13:]])
    assert [read_number(image) for image in read_frames(ffmpeg, joined, WIDTH, HEIGHT)] == list(range(13, 60))


def test_of_a_batch_the_first_frame_becomes_the_keyframe(open_encoder: Open) -> None:
    encoder = open_encoder()
    encoder.encode([draw_number(0)], NO_AUDIO)
    made = encoder.encode([draw_number(number) for number in (1, 2, 3)], NO_AUDIO, keyframe=True)
    assert [fragment.is_keyframe for fragment in made] == [True, False, False]


def test_a_stream_cut_behind_any_fragment_plays(reader: str, open_encoder: Open) -> None:
    fragments = encode_numbers(open_encoder(), 10, sweep(19_200), Fraction(25))
    for end in range(2, len(fragments) + 1):
        stream = join(fragments[:end])
        found = [read_number(image) for image in read_frames(reader, stream, WIDTH, HEIGHT)]
        assert found == list(range(min(10, end - 1)))


def test_the_splitter_cuts_the_same_fragments(open_encoder: Open) -> None:
    fragments = encode_numbers(open_encoder(), 30, sweep(57_600), Fraction(25))
    stream, splitter = join(fragments), FragmentSplitter()
    found = [part for at in range(0, len(stream), 777) for part in splitter.feed(stream[at : at + 777])]
    assert found == fragments
    assert sum(fragment.num_frames for fragment in found) == 30


def test_the_flv_packer_repacks_it(reader: str, tmp_path: Path, open_encoder: Open) -> None:
    header, *fragments = encode_numbers(open_encoder(), 30, sweep(57_600), Fraction(25))
    packer = FlvPacker(header, Fraction(25))
    (tmp_path / "a.flv").write_bytes(packer.begin() + b"".join(packer.pack(part) for part in fragments))
    found = read_frames(reader, tmp_path / "a.flv", WIDTH, HEIGHT)
    assert [read_number(image) for image in found] == list(range(30))
    offset, correlation = find_offset(sweep(57_600)[:, 0], read_audio(reader, tmp_path / "a.flv")[:, 0])
    assert offset == 0
    assert correlation > 0.99


def test_images_are_free_again_and_may_be_strided_or_read_only(open_encoder: Open, ffmpeg: str) -> None:
    encoder = open_encoder()
    fragments, reused = [encoder.init_segment], draw_number(0)
    fragments += encoder.encode([reused], NO_AUDIO)
    reused[:] = 0
    frozen = draw_number(1)
    frozen.flags.writeable = False
    fragments += encoder.encode([frozen, np.repeat(draw_number(2), 2, axis=1)[:, ::2]], NO_AUDIO)
    fragments += encoder.encode([draw_number(3)], sweep(9_600)[::2])
    found = read_frames(ffmpeg, join(fragments), WIDTH, HEIGHT)
    assert [read_number(image) for image in found] == [0, 1, 2, 3]


def test_audio_without_an_image_waits_for_the_next_or_for_the_end(open_encoder: Open, ffmpeg: str) -> None:
    encoder, audio = open_encoder(), sweep(48_000)
    fragments = [encoder.init_segment, *encoder.encode([draw_number(1)], NO_AUDIO)]
    assert encoder.encode([], audio[:24_000]) == []
    fragments += encoder.encode([draw_number(2)], NO_AUDIO)
    assert encoder.encode([], audio[24_000:]) == []
    last = encoder.finish()
    assert [(fragment.num_frames, fragment.is_keyframe) for fragment in last] == [(0, False)]
    offset, correlation = find_offset(audio[:, 0], read_audio(ffmpeg, join(fragments + last))[:, 0])
    assert offset == 0
    assert correlation > 0.99


def test_a_stream_without_any_audio_ends_with_its_last_frame(open_encoder: Open, ffmpeg: str) -> None:
    encoder = open_encoder()
    fragments = [encoder.init_segment, *encoder.encode([draw_number(5)], NO_AUDIO)]
    assert encoder.finish() == []
    assert len(read_frames(ffmpeg, join(fragments), WIDTH, HEIGHT)) == 1


@pytest.mark.parametrize(
    "image, audio, words",
    [
        (np.zeros((HEIGHT, WIDTH), np.uint8), NO_AUDIO, r"uint8 \(96, 96\), not uint8 \(64, 96\)"),
        (np.zeros((HEIGHT * 3 // 2, WIDTH), np.float32), NO_AUDIO, "not float32"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), NO_AUDIO, r"not uint8 \(64, 96, 3\)"),
        (draw_number(1), np.zeros(1_920, np.int16), r"int16 \(n, 1\), not int16 \(1920,\)"),
        (draw_number(1), np.zeros((1_920, 2), np.int16), r"not int16 \(1920, 2\)"),
        (draw_number(1), np.zeros((1_920, 1), np.float32), "not float32"),
    ],
)
def test_what_has_the_wrong_shape_is_refused_and_harms_nothing(
    open_encoder: Open, ffmpeg: str, image: np.ndarray, audio: np.ndarray, words: str
) -> None:
    encoder = open_encoder()
    fragments = [encoder.init_segment, *encoder.encode([draw_number(0)], FRAME_OF_AUDIO)]
    with pytest.raises(EncoderError, match=words):
        encoder.encode([draw_number(9), image], audio)
    fragments += encoder.encode([draw_number(1)], FRAME_OF_AUDIO)
    assert [read_number(found) for found in read_frames(ffmpeg, join(fragments), WIDTH, HEIGHT)] == [0, 1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"codec": "h264_nvenc"}, "h264_nvenc does not encode in this process"),
        ({"width": 95}, "even sides, not 95 × 64"),
        ({"height": 0}, "even sides"),
        ({"num_channels": 3}, "1 or 2 channels, not 3"),
        ({"preset": "warp9"}, "cannot open the encoders"),
        ({"tune": "loud"}, "cannot open the encoders"),
    ],
)
def test_settings_that_no_codec_takes_are_an_error(changes: dict[str, object], words: str) -> None:
    with pytest.raises(EncoderError, match=words):
        InProcessEncoder(encoder_settings()._replace(**changes))  # type: ignore[arg-type]


def test_without_pyav_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(EncoderError, match="needs PyAV") as caught:
        InProcessEncoder(encoder_settings())
    assert caught.value.hint == install_command("session")


def test_a_bitrate_replaces_the_quality(open_encoder: Open) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, HEIGHT * 3 // 2, WIDTH), np.uint8)
    sizes = {}
    for kbps in (None, 200):
        encoder = open_encoder(encoder_settings()._replace(video_kbps=kbps))
        sizes[kbps] = sum(len(encoder.encode([image], NO_AUDIO)[0].data) for image in noise)
    assert sizes[200] < sizes[None] / 2


def test_after_its_end_it_takes_nothing_and_closes_as_often_as_one_likes(open_encoder: Open) -> None:
    finished, closed = open_encoder(), open_encoder()
    finished.encode([draw_number(0)], FRAME_OF_AUDIO)
    finished.finish()
    closed.close()
    closed.close()
    for encoder in (finished, closed):
        with pytest.raises(EncoderError, match="finished or closed"):
            encoder.encode([draw_number(1)], FRAME_OF_AUDIO)
        with pytest.raises(EncoderError, match="finished or closed"):
            encoder.finish()


def test_importing_the_module_does_not_load_pyav() -> None:
    code = "import sys, musetalk_cli.engine.video.inprocess_encoder; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def list_tasks() -> list[str]:
    """The threads of this process, those of C libraries too."""
    return sorted(path.name for path in Path("/proc/self/task").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_an_encoder_starts_no_thread_and_leaves_the_cpus_to_its_caller(open_encoder: Open) -> None:
    tasks, cpus = list_tasks(), os.sched_getaffinity(0)
    for _ in range(5):
        encoder = open_encoder()
        encoder.encode([draw_number(0)], sweep(9_600))
        encoder.encode([draw_number(1)], sweep(9_600))
    assert list_tasks() == tasks
    assert os.sched_getaffinity(0) == cpus


def test_other_threads_run_while_it_encodes(open_encoder: Open) -> None:
    encoder = open_encoder(encoder_settings()._replace(width=1920, height=1080, preset="medium"))
    noise = np.random.default_rng(0).integers(0, 255, (1620, 1920), np.uint8)
    turns, is_over = [0], threading.Event()

    def count() -> None:
        while not is_over.is_set():
            turns[0] += 1
            time.sleep(0)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(60)  # so that a thread runs only where another lets it
    thread = threading.Thread(target=count)
    try:
        thread.start()
        before = turns[0]
        encoder.encode([noise], NO_AUDIO)
        assert turns[0] > before
    finally:
        sys.setswitchinterval(interval_s)
        is_over.set()
        thread.join()


def test_each_call_may_come_from_another_thread(open_encoder: Open, ffmpeg: str) -> None:
    encoder = open_encoder()
    fragments = [encoder.init_segment]

    def encode(number: int) -> None:
        fragments.extend(encoder.encode([draw_number(number)], FRAME_OF_AUDIO))

    for number in range(6):
        thread = threading.Thread(target=encode, args=(number,))
        thread.start()
        thread.join()
    assert [read_number(image) for image in read_frames(ffmpeg, join(fragments), WIDTH, HEIGHT)] == list(range(6))


def test_encoders_in_threads_of_their_own_do_not_disturb_each_other(open_encoder: Open) -> None:
    rate, audio = Fraction(25), sweep(30 * 1_920)
    expected = encode_numbers(open_encoder(), 30, audio, rate)
    encoders, found = [open_encoder() for _ in range(4)], [[] for _ in range(4)]  # type: ignore[var-annotated]

    def encode(index: int) -> None:
        found[index] = encode_numbers(encoders[index], 30, audio, rate)

    threads = [threading.Thread(target=encode, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
