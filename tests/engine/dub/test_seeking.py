"""Any frame of a clip is found again, also where ffmpeg cannot seek to it; tracks of a file keep their distance."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from fixtures.clips import moved_portrait, write_clip
from musetalk_cli.engine.audio.decoder import DecoderProcess
from musetalk_cli.engine.audio.sources import FileSource
from musetalk_cli.engine.dub.clip import ClipFrames, open_clip
from musetalk_cli.engine.dub.seeking import read_from

NUM_FRAMES = 60
MPEG4 = ("-c:v", "mpeg4", "-q:v", "2")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
KINDS = {
    "one-keyframe.ts": ("25", (*H264, "-bf", "3", "-g", "1000")),
    "some-keyframes.ts": ("25", (*H264, "-bf", "3", "-g", "20")),
    "one-keyframe.mpg": ("30000/1001", ("-c:v", "mpeg2video", "-q:v", "2", "-g", "1000")),
    "open.mp4": ("25", (*H264, "-bf", "4", "-g", "12", "-x264opts", "open-gop")),
    "ntsc.avi": ("30000/1001", MPEG4),
    "film.avi": ("24000/1001", MPEG4),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_frame_is_found_again(name: str, ffmpeg: str, tmp_path: Path) -> None:
    rate, options = KINDS[name]
    images = [moved_portrait(frame, 64) for frame in range(NUM_FRAMES)]
    clip = open_clip(write_clip(ffmpeg, tmp_path / name, images, rate, *options), ffmpeg)
    with ClipFrames(clip, ffmpeg) as frames:
        whole = list(frames)
        ticks = frames.ticks
    assert len(whole) == NUM_FRAMES
    for first in (1, 2, 19, 31, 45, NUM_FRAMES - 1):
        (found,) = read_from(clip, ticks, first, 1, ffmpeg)
        assert np.array_equal(found, whole[first]), first


def test_an_avi_has_the_times_of_its_rate(ffmpeg: str, tmp_path: Path) -> None:
    images = [moved_portrait(frame, 64) for frame in range(3)]
    clip = open_clip(write_clip(ffmpeg, tmp_path / "ntsc.avi", images, "30000/1001", *MPEG4), ffmpeg)
    with ClipFrames(clip, ffmpeg) as frames:
        assert len(list(frames)) == 3
        assert (clip.timescale, frames.ticks.tolist()) == (30000, [0, 1001, 2002])


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".mp4"])
@pytest.mark.parametrize(("video_s", "audio_s"), [(0.8, 0.0), (0.0, 0.8)])
def test_tracks_that_begin_apart_stay_apart(
    suffix: str, video_s: float, audio_s: float, ffmpeg: str, tmp_path: Path
) -> None:
    parts = {"v.mkv": ["testsrc=d=1:s=64x64:r=25", *H264], "a.mka": ["sine=440:d=1:r=48000"]}
    for name, (source, *options) in parts.items():
        subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", source, *options, str(tmp_path / name)], check=True)
    path = tmp_path / f"apart{suffix}"
    inputs = ["-itsoffset", str(video_s), "-i", str(tmp_path / "v.mkv")]
    inputs += ["-itsoffset", str(audio_s), "-i", str(tmp_path / "a.mka")]
    codecs = ["-fps_mode", "passthrough", "-c:v", "mpeg2video", "-c:a", "mp2"]
    subprocess.run([ffmpeg, "-v", "error", *inputs, *codecs, str(path)], check=True)

    clip = open_clip(path, ffmpeg)
    with ClipFrames(clip, ffmpeg) as frames:
        assert len(list(frames)) == 25
        assert frames.ticks[0] / clip.timescale == pytest.approx(video_s, abs=0.05)
    source = FileSource(DecoderProcess(str(path), ffmpeg, beside=clip.index if clip.is_loose else None))
    source.open()
    voice = []
    while (audio := source.read()) is not None:
        voice.append(audio)
    source.close()
    is_loud = np.abs(np.concatenate(voice)).max(axis=1) > 0.05
    assert int(is_loud.argmax()) / 48_000 == pytest.approx(audio_s, abs=0.05)
