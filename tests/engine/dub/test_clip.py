"""What ffmpeg says of a clip, its frames and their timestamps; frames with timestamps to ffmpeg."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.clips import moved_portrait, write_clip
from fixtures.media import describe, packet_times
from musetalk_cli.engine.avatar.inputs.tracks import ColourTags, choose_audio
from musetalk_cli.engine.dub.clip import (
    AudioTrack,
    Clip,
    ClipFrames,
    exact_rate,
    find_audio,
    open_clip,
)
from musetalk_cli.engine.dub.muxing import DubAudio, DubEncoding, build_mux_args
from musetalk_cli.engine.dub.raw_matroska import frame_header, header
from musetalk_cli.engine.dub.second_pass import read_timeline
from musetalk_cli.engine.dub.seeking import read_from
from musetalk_cli.engine.dub.timeline import plan_timeline
from musetalk_cli.errors import AvatarError

NTSC = Fraction(24000, 1001)


@pytest.fixture
def clip_file(ffmpeg: str, tmp_path: Path) -> Path:
    images = [moved_portrait(frame, 64) for frame in range(12)]
    return write_clip(ffmpeg, tmp_path / "a:'clip'.mp4", images, "24000/1001")


@pytest.mark.parametrize(
    ("shown", "rate"), [(23.98, NTSC), (29.97, Fraction(30000, 1001)), (25, Fraction(25)), (12.5, Fraction(25, 2))]
)
def test_rates_are_exact(shown: float, rate: Fraction) -> None:
    assert exact_rate(shown) == rate


def test_a_clip_is_described(ffmpeg: str, clip_file: Path) -> None:
    clip = open_clip(clip_file, ffmpeg)
    assert (clip.width, clip.height, clip.frame_rate, clip.timescale) == (64, 64, NTSC, 24000)
    assert (clip.colours.range, clip.colours.matrix, clip.audio.codec) == ("tv", "bt709", "")


def test_a_clip_whose_fields_are_swapped_is_one(ffmpeg: str, tmp_path: Path) -> None:
    path = tmp_path / "fields.mov"
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:d=0.2"]
    order = ["-field_order", "tb", "-color_primaries", "bt709"]  # "(…, top coded first (swapped))"
    subprocess.run([ffmpeg, "-v", "error", *source, "-c:v", "mjpeg", *order, str(path)], check=True)
    clip = open_clip(path, ffmpeg)
    assert (clip.width, clip.height, clip.pixel_format, clip.colours.range) == (64, 48, "yuvj444p", "pc")


def test_every_frame_comes_once_with_its_timestamp(ffmpeg: str, clip_file: Path) -> None:
    clip = open_clip(clip_file, ffmpeg)
    with ClipFrames(clip, ffmpeg) as frames:
        images = list(frames)
        assert frames.ticks.tolist() == [1001 * number for number in range(12)]
    assert len(images) == 12
    with ClipFrames(clip, ffmpeg, height_px=32) as small:
        assert next(iter(small)).shape == (48, 32)
    again = list(read_from(clip, np.arange(12) * 1001, 7, 3, ffmpeg))
    assert all(np.array_equal(one, other) for one, other in zip(again, images[7:10], strict=True))


@pytest.mark.parametrize("fill", ["hold", "loop", "ping-pong"])
def test_frames_are_read_in_the_order_of_the_output(
    ffmpeg: str, clip_file: Path, fill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musetalk_cli.engine.dub.second_pass.STEP_BYTES", 3 * 64 * 96)
    clip = open_clip(clip_file, ffmpeg)
    ticks = np.arange(12) * 1001
    with ClipFrames(clip, ffmpeg) as frames:
        images = list(frames)
    planned = plan_timeline(ticks, 1001, 28 * 1001, "voice", fill)  # type: ignore[arg-type]
    read = list(read_timeline(clip, ticks, planned, ffmpeg))
    assert len(read) == 28
    for image, source in zip(read, planned.sources, strict=True):
        assert np.array_equal(image, images[source])


def test_a_clip_that_is_none(ffmpeg: str, tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="does not exist"):
        open_clip(tmp_path / "no.mp4", ffmpeg)
    (tmp_path / "words.mp4").write_text("words")
    with pytest.raises(AvatarError, match=r"words\.mp4 cannot be used"):
        open_clip(tmp_path / "words.mp4", ffmpeg)


@pytest.mark.parametrize("times_us", [[0, 41_708, 83_417, 125_125], [80_000, 93_000, 180_000, 190_000]])
def test_ffmpeg_gets_frames_with_any_timestamps(ffmpeg: str, tmp_path: Path, times_us: list[int]) -> None:
    clip = Clip(
        tmp_path / "none", 0, 64, 64, timescale=24000, colours=ColourTags("pc", "smpte170m", "bt709", "iec61966-2-1")
    )
    output = tmp_path / "out.mp4"
    own = write_clip(ffmpeg, tmp_path / "own.mp4", [moved_portrait(0, 64)])
    args = build_mux_args(
        ffmpeg,
        Clip(own, 0, 64, 64, timescale=24000, colours=clip.colours, aspect="4/3"),
        DubAudio(),
        DubEncoding("ultrafast", 10, 128),
        times_us[0] / 1e6,
        times_us[-1] / 1e6 + 0.04,
        output,
    )
    data = header(64, 64)
    for frame, time_us in enumerate(times_us):
        image = np.full((96, 64), 30 + 40 * frame, np.uint8)
        data += frame_header(image, time_us - times_us[0]) + image.tobytes()
    subprocess.run(args, input=data, check=True)
    found = open_clip(output, ffmpeg)
    assert found.colours == clip.colours
    assert found.aspect == "4/3"
    with ClipFrames(found, ffmpeg) as frames:
        levels = [int(image[0, 0]) for image in frames]
    assert levels == pytest.approx([30, 70, 110, 150], abs=1)
    shown = packet_times(ffmpeg, output, "v:0")
    assert shown == pytest.approx([time_us / 1e6 for time_us in times_us], abs=0.5 / 24000 + 1e-6)


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_stay_fields(order: str, ffmpeg: str, tmp_path: Path) -> None:
    path, output = tmp_path / "fields.mpg", tmp_path / "out.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=50:d=0.4", "-vf", f"interlace=scan={order},format=yuv422p"]
    codec = ["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct"]
    subprocess.run([ffmpeg, "-v", "error", *source, *codec, str(path)], check=True)
    clip = open_clip(path, ffmpeg)
    assert clip.fields == order
    with ClipFrames(clip, ffmpeg) as frames:
        data = header(64, 64)
        data += b"".join(frame_header(image, 40_000 * n) + image.tobytes() for n, image in enumerate(frames))
    args = build_mux_args(ffmpeg, clip, DubAudio(), DubEncoding("ultrafast", 10, 128), 0.0, 0.4, output)
    subprocess.run(args, input=data, check=True)
    assert open_clip(output, ffmpeg).fields == order


def audio_args(audio: DubAudio, codec: str, output: str = "o.mp4") -> str:
    clip = Clip(Path("c.mp4"), 0, 64, 64, audio=AudioTrack(1, codec))
    return " ".join(build_mux_args("ffmpeg", clip, audio, DubEncoding("fast", 14, 192), 0.0, 9.0, Path(output)))


def test_audio_is_copied_where_nothing_is_mixed() -> None:
    voice, wav = (Path("v.m4a"), AudioTrack(3, "aac")), (Path("w.wav"), AudioTrack(0, "pcm_s16le"))
    assert "-map 1:1 -c:a copy" in audio_args(DubAudio(), "aac")
    assert "-map 1:1 -c:a aac" in audio_args(DubAudio(), "vorbis")
    assert "-map 1:1 -c:a copy" in audio_args(DubAudio(), "vorbis", "o.mkv")
    assert "-map 1:3 -c:a flac" in audio_args(DubAudio((voice,)), "", "o.mkv")
    other = Path("v.mka"), AudioTrack(3, "aac", is_matroska=True)
    assert "-map 1:3 -c:a copy" in audio_args(DubAudio((other,)), "", "o.mkv")
    assert " -an " in audio_args(DubAudio(()), "")
    assert "-map 1:3 -c:a copy" in audio_args(DubAudio((voice,)), "aac")
    assert "-map 1:0 -c:a aac" in audio_args(DubAudio((wav,)), "aac")
    mixed = audio_args(DubAudio((voice,), -18.0), "aac")
    assert "[1:3]aresample=48000,aformat" in mixed
    assert "[2:1]volume=-18dB" in mixed
    assert "amix=inputs=2" in mixed
    assert "-map 1:3 -c:a copy" in audio_args(DubAudio((voice,), -18.0), "")
    assert "amix=inputs=2" in audio_args(DubAudio((voice, wav)), "aac")


def test_tags_and_chapters_are_the_clips_and_the_rest_is_told(ffmpeg: str, clip_file: Path, tmp_path: Path) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:00,000 --> 00:00:00,200\nHello\n")
    chapter = ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
    (tmp_path / "c.txt").write_text(chapter)
    films = [tmp_path / "film.mp4", tmp_path / "other.mp4"]
    for film, title in zip(films, ("A film", "Other"), strict=True):
        inputs = [part for name in (clip_file, "s.srt", "c.txt") for part in ("-i", str(tmp_path / name))]
        inputs += ["-f", "lavfi", "-i", "sine=d=0.5", "-f", "lavfi", "-i", "sine=d=0.5"]
        maps = [part for number in (0, 1, 3, 4) for part in ("-map", str(number))]
        kept = ["-map_metadata", "2", "-map_chapters", "2", "-metadata", f"title={title}"]
        codecs = ["-c:v", "copy", "-c:s", "mov_text", "-timecode", "01:00:00:00"]
        subprocess.run([ffmpeg, "-v", "error", *inputs, *maps, *kept, *codecs, str(film)], check=True)
    clip = open_clip(films[0], ffmpeg)
    assert clip.left_out == ("subtitles", "a timecode", "further audio tracks")
    assert open_clip(clip_file, ffmpeg).left_out == ()
    voices = ((films[1], find_audio(films[1], ffmpeg)),)
    for name, brands in (("out.mp4", True), ("out.mkv", False)):
        output = tmp_path / name
        args = build_mux_args(ffmpeg, clip, DubAudio(voices), DubEncoding("ultrafast", 10, 128), 0.0, 0.08, output)
        image = np.full((96, 64), 30, np.uint8)
        frames = b"".join(frame_header(image, time_us) + image.tobytes() for time_us in (0, 40_000))
        subprocess.run(args, input=header(64, 64) + frames, check=True)
        log = describe(ffmpeg, output)
        assert re.search(r"title +: A film\n", log)
        assert log.count("Chapter #") == 1
        assert ("compatible_brands" in log.lower()) == brands


def test_the_track_that_is_heard_is_the_one_that_ffmpeg_decodes(tmp_path: Path, ffmpeg: str) -> None:
    tones = ["-f", "lavfi", "-i", "sine=200:d=0.1", "-f", "lavfi", "-i", "anullsrc=cl=5.1:d=0.1"]
    tones += ["-f", "lavfi", "-i", "sine=900:d=0.1"]
    for name, marks, index in (("default", ["-disposition:a:2", "default"], 2), ("none", [], 1)):
        path = tmp_path / f"{name}.mkv"
        tracks = ["-map", "0", "-map", "1", "-map", "2", "-c:a", "pcm_s16le", "-disposition:a", "0", *marks]
        subprocess.run([ffmpeg, "-v", "error", "-y", *tones, "-t", "0.1", *tracks, str(path)], check=True)
        taken = subprocess.run([ffmpeg, "-i", str(path), "-f", "null", "-"], capture_output=True, text=True).stderr
        assert f"Stream #0:{index} -> #0:0" in taken
        assert find_audio(path, ffmpeg) == AudioTrack(index, "pcm_s16le", is_matroska=True, is_mono=index == 2)
    log = ["Stream #0:0(und): Audio: aac (LC), 48000 Hz, 7 channels", "Stream #0:4: Audio: ac3, 48000 Hz, 5.1(side)"]
    assert (track := choose_audio(log)) and (track.index, track.codec, track.num_channels) == (0, "aac", 7)
    assert choose_audio(["Stream #0:0: Video: h264"]) is None
