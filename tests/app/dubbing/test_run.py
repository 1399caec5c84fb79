"""Clips of every kind, dubbed: as many frames at the same times, and nothing changed where nobody speaks."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.dub_clips import (
    CASES,
    LEAST_PSNR_DB,
    NUM_FRAMES,
    RATE_HZ,
    DubCase,
    find_changes,
    offset_s,
    psnr_db,
    read,
    speech_samples,
    write_rotated,
)
from fixtures.media import packet_times, read_audio, write_wav
from musetalk_cli import ending
from musetalk_cli.app.dubbing import run as dubbing
from musetalk_cli.app.dubbing.run import DubRequest, FaceVoice, dub_clip
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.engine.dub.clip import AudioTrack, Clip, open_clip
from musetalk_cli.errors import AvatarError, ConfigError, SinkError, SourceError

BY_NAME = {case.name: case for case in CASES}
# Two kinds in each; tools/campaign/dub.py takes every kind by itself.
MIXED = (
    replace(BY_NAME["film"], num_channels=6),
    replace(BY_NAME["variable"], options=(*BY_NAME["variable"].options, "-pix_fmt", "yuv420p10le")),
    replace(BY_NAME["leaves"], rate="30000/1001", suffix=".mkv"),
)


@pytest.fixture
def config(face_models: FaceModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    return Config(face_models=str(face_models.detector.parent))


def dub(config: Config, clip: Path, *faces: FaceVoice, output: str = "dubbed.mp4", **options: Any) -> Path:
    path = clip.with_name(output)
    request = DubRequest(clip, faces or (FaceVoice(None, None),), path, is_quiet=True, **options)
    dub_clip(config, request)
    return path


@pytest.mark.parametrize("case", MIXED, ids=lambda case: case.name)
def test_frames_times_colours_and_audio_are_kept(case: DubCase, config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = case.write(ffmpeg, tmp_path)
    dubbed = dub(config, source, output=f"dubbed{case.suffix}")
    assert find_changes(ffmpeg, source, dubbed, from_frame=None if case.name != "leaves" else 2 * NUM_FRAMES // 3) == []
    assert open_clip(dubbed, ffmpeg).audio.codec == open_clip(source, ffmpeg).audio.codec


def test_audio_with_a_delay_moves_no_frame_of_a_matroska_file(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = BY_NAME["silent"].write(ffmpeg, tmp_path)
    voice = tmp_path / "voice.m4a"
    wav = write_wav(tmp_path / "voice.wav", speech_samples(1.44))
    subprocess.run([ffmpeg, "-v", "error", "-i", str(wav), "-c:a", "aac", str(voice)], check=True)
    dubbed = dub(config, source, FaceVoice(None, voice), output="dubbed.mkv")
    log = subprocess.run([ffmpeg, "-hide_banner", "-i", str(dubbed)], capture_output=True, text=True).stderr
    shown = packet_times(ffmpeg, dubbed, "v:0")
    assert shown[0] == 0, log
    assert abs(offset_s(read_audio(ffmpeg, voice, 1).ravel(), read_audio(ffmpeg, dubbed, 1).ravel())) < 0.001


def test_a_clip_that_lies_on_its_side_is_dubbed_upright(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = write_rotated(ffmpeg, tmp_path)
    _, images, times = read(ffmpeg, source)
    _, dubbed, dubbed_times = read(ffmpeg, dub(config, source))
    assert np.array_equal(times, dubbed_times)
    changes = [psnr_db(one[100:170], other[100:170]) for one, other in zip(images, dubbed, strict=True)]
    assert min(changes) < LEAST_PSNR_DB - 2
    assert max(changes) >= LEAST_PSNR_DB


def test_each_shot_has_its_own_face(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = BY_NAME["cut"].write(ffmpeg, tmp_path)
    voice = write_wav(tmp_path / "voice.wav", speech_samples(4)[: int(1.4 * RATE_HZ)])  # no pause
    _, images, _ = read(ffmpeg, source)
    _, dubbed, _ = read(ffmpeg, dub(config, source, FaceVoice(None, voice)))
    changes = np.array([psnr_db(one[100:170], other[100:170]) for one, other in zip(images, dubbed, strict=True)])
    assert (changes[2:16] < LEAST_PSNR_DB).any()
    assert (changes[20:34] < LEAST_PSNR_DB).any()


def test_two_people_speak_two_voices(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = BY_NAME["two-faces"].write(ffmpeg, tmp_path)
    whole = speech_samples(4)[: int(0.7 * RATE_HZ)]
    left = write_wav(tmp_path / "left.wav", whole)
    right = write_wav(tmp_path / "right.wav", np.concatenate([np.zeros_like(whole), whole]))
    _, images, times = read(ffmpeg, source)
    dubbed_file = dub(config, source, FaceVoice("left", left), FaceVoice("right", right), kept_db=-30.0)
    _, dubbed, _ = read(ffmpeg, dubbed_file)
    both = [
        np.array([psnr_db(one[100:170, part], other[100:170, part]) for one, other in zip(images, dubbed, strict=True)])
        for part in (slice(0, 256), slice(256, 512))
    ]
    assert both[0][times < 0.6].min() < LEAST_PSNR_DB - 2
    assert both[1][times < 0.6].min() >= LEAST_PSNR_DB - 1
    assert both[1][times > 0.8].min() < LEAST_PSNR_DB - 2
    assert len(read_audio(ffmpeg, dubbed_file, 2)) == pytest.approx(1.44 * RATE_HZ, abs=0.03 * RATE_HZ)


def test_a_second_voice_costs_no_first_pass(
    config: Config, ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = BY_NAME["silent"].write(ffmpeg, tmp_path)
    voice = write_wav(tmp_path / "voice.wav", speech_samples(2.0))
    with pytest.raises(SourceError, match="holds no audio"):
        dub(config, source)
    dub(config, source, FaceVoice(None, voice))
    monkeypatch.setattr("musetalk_cli.engine.avatar.preparation.faces.FaceFinder.__init__", None)
    longer = dub(config, source, FaceVoice(None, voice), output="longer.mp4", length="longest", fill="ping-pong")
    _, dubbed, times = read(ffmpeg, longer)
    assert len(dubbed) == 50
    assert times[-1] == pytest.approx(1.96, abs=0.001)
    assert len(read_audio(ffmpeg, longer, 1)) == pytest.approx(2.0 * RATE_HZ, abs=0.03 * RATE_HZ)


def test_a_long_clip_is_followed_in_parts(
    config: Config, ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musetalk_cli.engine.dub.first_pass.PART_S", 0.5)
    source = replace(BY_NAME["leaves"], num_channels=1).write(ffmpeg, tmp_path)
    voice = write_wav(tmp_path / "voice.wav", speech_samples(4)[: int(1.4 * RATE_HZ)])
    _, images, times = read(ffmpeg, source)
    _, dubbed, dubbed_times = read(ffmpeg, dub(config, source, FaceVoice(None, voice)))
    assert np.array_equal(times, dubbed_times)
    changes = np.array([psnr_db(one[100:170], other[100:170]) for one, other in zip(images, dubbed, strict=True)])
    assert (changes[:12] < LEAST_PSNR_DB).any()
    assert (changes[13:23] < LEAST_PSNR_DB).any()
    assert (changes[25:] >= LEAST_PSNR_DB).all()


def test_a_voice_without_audio_is_said_before_the_first_pass(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = BY_NAME["silent"].write(ffmpeg, tmp_path)
    mute = tmp_path / "mute.mp4"
    mute.write_bytes(source.read_bytes())
    with pytest.raises(SourceError, match=r"mute\.mp4 holds no audio"):
        dub(config, source, FaceVoice(None, mute))
    assert not (tmp_path / "home" / "cache" / "dubs").exists()


def test_a_damaged_first_pass_is_no_bug(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    source = BY_NAME["film"].write(ffmpeg, tmp_path)
    dub(config, source)
    (part,) = (tmp_path / "home").rglob("part-*.npz")
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(AvatarError, match="first pass is damaged") as raised:
        dub(config, source, output="again.mp4")
    assert str(part.parent) in raised.value.hint


def test_a_face_that_speaks_the_clips_own_audio_is_heard(config: Config, tmp_path: Path) -> None:
    clip, voice = Clip(tmp_path / "c.mp4", 0, 64, 64, audio=AudioTrack(1, "aac")), tmp_path / "v.wav"
    write_wav(voice, speech_samples(0.1))
    for faces, kept_db in (((None, voice), 0.0), ((voice, voice), None)):
        request = DubRequest(clip.path, tuple(FaceVoice(None, each) for each in faces), tmp_path / "o.mp4")
        run = dubbing._Dub.__new__(dubbing._Dub)
        run._request, run._clip, run._ffmpeg = request, clip, "ffmpeg"
        assert run._find_audio().kept_db == kept_db


def test_a_clip_without_a_face_is_refused(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    grey = DubCase("grey", lambda: [np.full((128, 128, 3), 90, np.uint8)] * 5).write(ffmpeg, tmp_path)
    with pytest.raises(AvatarError, match="has a usable face"):
        dub(config, grey)
    assert not (tmp_path / "dubbed.mp4").exists()


def test_what_cannot_be_written_is_said_before_frames_are_read(
    ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.mp4").touch()
    clip = BY_NAME["film"].write(ffmpeg, tmp_path)
    monkeypatch.setattr(dubbing._Dub, "run", lambda self: pytest.fail("it runs"))
    for output, words in (("old.mp4", "exists already"), ("a.webm", "such files"), (clip.name, "same file")):
        with pytest.raises(SinkError, match=words):
            dub(Config(), clip, output=output, overwrite=output == clip.name)
    with pytest.raises(ConfigError, match="only the warp model"):
        dub(Config(model="musetalk-1.5"), clip)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    with pytest.raises(KeyError), dubbing.staged(output) as path:
        path.touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with dubbing.staged(output) as path:
        path.touch()
        assert not output.exists()
    assert list(tmp_path.iterdir()) == [output]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    left = tmp_path / ".a.mp4.999999999-0"
    left.touch()
    with dubbing.staged(output) as path:
        path.touch()
    assert list(tmp_path.iterdir()) == [output]


def test_a_signal_that_leaves_no_time_leaves_no_file(tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    with dubbing.staged(output) as path:
        path.touch()
        ending._callbacks[-1]()
        assert list(tmp_path.iterdir()) == []
        path.touch()
    assert list(tmp_path.iterdir()) == [output]


def test_a_track_that_begins_late_in_a_transport_stream_stays_late(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    whole = BY_NAME["fifty"].write(ffmpeg, tmp_path)
    source = tmp_path / "late.ts"
    late = ["-i", str(whole), "-itsoffset", "0.5", "-i", str(whole), "-map", "1:v", "-map", "0:a", "-c", "copy"]
    subprocess.run([ffmpeg, "-v", "error", *late, str(source)], check=True)
    dubbed = dub(config, source)
    assert packet_times(ffmpeg, dubbed, "v:0")[0] - packet_times(ffmpeg, dubbed, "a:0")[0] == pytest.approx(
        packet_times(ffmpeg, source, "v:0")[0] - packet_times(ffmpeg, source, "a:0")[0], abs=0.03
    )


def test_a_voice_is_as_loud_where_the_clips_audio_is_mixed_below(config: Config, ffmpeg: str, tmp_path: Path) -> None:
    clip = BY_NAME["fifty"].write(ffmpeg, tmp_path)
    samples = speech_samples(2.0)[: int(0.6 * RATE_HZ)]
    voice = write_wav(tmp_path / "voice.wav", samples)
    mixed = read_audio(ffmpeg, dub(config, clip, FaceVoice(None, voice), output="mixed.mkv", kept_db=-60.0), 2)
    powers = [np.square(each[: len(samples)].astype(np.float64)).mean(axis=0) for each in (samples, mixed)]
    assert powers[1] == pytest.approx(powers[0][[0, 0]], rel=0.05)
