"""Video in: rates, turned and odd-sized images, parts, colours, and what is no video."""

from __future__ import annotations

import subprocess
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fixtures.clips import write_clip
from fixtures.media import describe
from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.probe import VideoTrack, read_track
from musetalk_cli.engine.avatar.inputs.sources import ImageFolder, check_source, hash_source, is_still
from musetalk_cli.engine.avatar.inputs.video import VideoFile, build_frames_args
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, i420_to_bgr, planes_to_i420
from musetalk_cli.errors import AvatarError

CUT = ClipSettings(Fraction(25))


def numbered(count: int, width: int = 128, height: int = 96) -> list[ByteArray]:
    """Grey images whose brightness is their number: 40, 44, 48 …, a red patch in the top left corner."""
    images = [np.full((height, width, 3), 40 + 4 * n, dtype=np.uint8) for n in range(count)]
    for image in images:
        image[: height // 4, : width // 4] = (30, 30, 220)
    return images


def numbers(frames: list[ByteArray]) -> list[int]:
    """Which number each frame shows."""
    return [round((float(i420_to_bgr(frame)[-10:, -10:].mean()) - 40) / 4) for frame in frames]


def read_all(path: Path, ffmpeg: str, cut: ClipSettings = CUT) -> list[ByteArray]:
    with closing(VideoFile(path, ffmpeg, cut)) as video:
        return list(video)


def test_frames_are_those_of_the_video(tmp_path: Path, ffmpeg: str) -> None:
    images = numbered(20)
    path = write_clip(ffmpeg, tmp_path / "clip.mp4", images)
    with closing(VideoFile(path, ffmpeg, CUT)) as video:
        assert (video.width, video.height, video.num_frames) == (128, 96, 20)
        frames = list(video)
        assert video.decode_error == ""
    assert numbers(frames) == list(range(20))
    for frame, image in zip(frames, images, strict=True):
        expected = planes_to_i420(bgr_to_planes(image))
        assert np.abs(frame.astype(int) - expected).mean() < 1


@pytest.mark.parametrize(("rate", "expected"), [("50", 10), ("30000/1001", 17), ("12.5", 40), ("25", 20)])
def test_every_rate_becomes_the_avatars(tmp_path: Path, ffmpeg: str, rate: str, expected: int) -> None:
    frames = read_all(write_clip(ffmpeg, tmp_path / "clip.mp4", numbered(20), rate), ffmpeg)
    assert abs(len(frames) - expected) <= 1
    assert numbers(frames) == sorted(numbers(frames))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.webm", ("-c:v", "libvpx", "-b:v", "2M")),
        ("clip.avi", ("-c:v", "mpeg4", "-q:v", "2")),
        ("clip.gif", ("-f", "gif")),
        ("clip.mkv", ("-c:v", "ffv1")),
        ("clip.mov", ("-c:v", "prores_ks",)),
    ],
)  # fmt: skip
def test_any_codec_is_read(tmp_path: Path, ffmpeg: str, name: str, options: tuple[str, ...]) -> None:
    frames = read_all(write_clip(ffmpeg, tmp_path / name, numbered(10), "25", *options), ffmpeg)
    assert len(frames) == 10
    assert np.abs(np.diff(numbers(frames)) - 1).max() <= 1


def test_a_turned_phone_video_comes_upright(tmp_path: Path, ffmpeg: str) -> None:
    flat = write_clip(ffmpeg, tmp_path / "flat.mp4", numbered(3))
    turned = tmp_path / "turned.mp4"
    # ffmpeg 5 writes a rotation from metadata, later ones from an input option.
    command = [ffmpeg, "-v", "error", "-display_rotation", "90", "-i", flat, "-c", "copy", turned]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        command = [ffmpeg, "-v", "error", "-i", flat, "-c", "copy", "-metadata:s:v", "rotate=90", turned]
        subprocess.run(command, check=True, capture_output=True)
    is_left = "rotation of 90.00" in describe(ffmpeg, turned)
    frame = read_all(turned, ffmpeg)[0]
    assert frame.shape == (128 * 3 // 2, 96)
    image = i420_to_bgr(frame)
    red = {corner: image[corner][2] > 150 for corner in ((8, 8), (8, -8), (-8, 8), (-8, -8))}
    # A quarter turn to the left takes the top left corner to the bottom left, one to the right to the top right.
    assert [corner for corner in red if red[corner]] == [(-8, 8) if is_left else (8, -8)]


def test_start_and_length(tmp_path: Path, ffmpeg: str) -> None:
    path = write_clip(ffmpeg, tmp_path / "clip.mp4", numbered(25))
    frames = read_all(path, ffmpeg, ClipSettings(Fraction(25), start_s=0.4, max_seconds=0.2))
    assert numbers(frames) == [10, 11, 12, 13, 14]


@pytest.mark.parametrize("name", ["clip.ts", "clip.mpg"])
def test_a_stream_without_an_index_starts_where_it_shall(tmp_path: Path, ffmpeg: str, name: str) -> None:
    codec = "libx264" if name.endswith(".ts") else "mpeg2video"
    options = ["-c:v", codec, "-q:v", "2", "-g", "1000", "-bf", "2", "-pix_fmt", "yuv420p"]
    path = write_clip(ffmpeg, tmp_path / name, numbered(25), "25", *options)
    frames = read_all(path, ffmpeg, ClipSettings(Fraction(25), start_s=0.4, max_seconds=0.2))
    assert numbers(frames) == [10, 11, 12, 13, 14]


def test_a_start_behind_the_end_is_reported(tmp_path: Path, ffmpeg: str) -> None:
    path = write_clip(ffmpeg, tmp_path / "clip.mp4", numbered(5))
    with pytest.raises(AvatarError, match="no frame after 9 s"):
        read_all(path, ffmpeg, ClipSettings(Fraction(25), start_s=9))


@pytest.mark.parametrize(("height_px", "size"), [(48, (64, 48)), (None, (128, 96)), (720, (128, 96))])
def test_size_only_scales_down(tmp_path: Path, ffmpeg: str, height_px: int | None, size: tuple[int, int]) -> None:
    path = write_clip(ffmpeg, tmp_path / "clip.mp4", numbered(2))
    with closing(VideoFile(path, ffmpeg, ClipSettings(Fraction(25), height_px=height_px))) as video:
        assert (video.width, video.height) == size
        assert len(list(video)) == 2


def test_pixels_that_are_not_square_become_square(tmp_path: Path, ffmpeg: str) -> None:
    options = ("-vf", "setsar=2/1", "-c:v", "mpeg4", "-q:v", "2")
    frames = read_all(write_clip(ffmpeg, tmp_path / "wide.mkv", numbered(2), "25", *options), ffmpeg)
    assert frames[0].shape == (96 * 3 // 2, 256)


def test_an_odd_size_is_cut_by_a_row_and_a_column(tmp_path: Path, ffmpeg: str) -> None:
    images = numbered(2, width=129, height=97)
    path = write_clip(ffmpeg, tmp_path / "odd.mkv", images, "25", "-c:v", "ffv1")
    assert read_all(path, ffmpeg)[0].shape == (96 * 3 // 2, 128)


@pytest.mark.parametrize("height", [480, 720])
def test_untagged_colours_are_taken_for_what_they_are_in_practice(tmp_path: Path, ffmpeg: str, height: int) -> None:
    image = np.full((height, height, 3), (40, 60, 200), dtype=np.uint8)
    matrix = "bt709" if height >= 720 else "bt601"
    untagged = ("-vf", f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p", "-c:v", "mpeg4", "-q:v", "2")
    path = write_clip(ffmpeg, tmp_path / "plain.avi", [image], "25", *untagged)
    read = i420_to_bgr(read_all(path, ffmpeg)[0])
    assert np.abs(read[::50, ::50].astype(int) - (40, 60, 200)).max() <= 8


def test_a_video_cut_short_gives_what_is_there_and_says_so(tmp_path: Path, ffmpeg: str) -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (50, 96, 128, 3), dtype=np.uint8))
    options = ("-c:v", "mpeg4", "-q:v", "4")
    whole = write_clip(ffmpeg, tmp_path / "whole.mkv", noise, "25", *options).read_bytes()
    (tmp_path / "part.mkv").write_bytes(whole[: len(whole) // 2])
    frames = read_all(tmp_path / "part.mkv", ffmpeg)
    assert 10 < len(frames) < 45


def test_what_is_no_video_is_reported(tmp_path: Path, ffmpeg: str, tone_wav: object) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    with pytest.raises(AvatarError, match="it is text"):
        VideoFile(tmp_path / "text.mp4", ffmpeg, CUT)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(AvatarError, match="neither an image nor a video"):
        VideoFile(tmp_path / "noise.mp4", ffmpeg, CUT)
    audio = tone_wav(0.5)  # type: ignore[operator]
    with pytest.raises(AvatarError, match="has no video track"):
        VideoFile(audio, ffmpeg, CUT)


def test_a_name_is_not_an_option_nor_a_pattern(tmp_path: Path, ffmpeg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_clip(ffmpeg, tmp_path / "clip.mkv", numbered(2), "25", "-c:v", "ffv1").rename("-y %03d.mkv")
    assert len(read_all(Path("-y %03d.mkv"), ffmpeg)) == 2
    assert f"file:{path}" in build_frames_args(ffmpeg, path, CUT, VideoTrack(0))


def test_frames_that_are_as_they_should_be_pass_the_scaler() -> None:
    """ffmpeg's scaler copies what it is given a matrix for; without one it hands frames of the wanted size on."""

    def scaling(track: VideoTrack) -> str:
        (filters,) = (arg for arg in build_frames_args("ffmpeg", Path("a.mp4"), CUT, track) if "scale=" in arg)
        return filters

    assert "color_matrix" not in scaling(VideoTrack(0, is_bt709=True))
    assert "color_matrix" not in scaling(VideoTrack(0, plain_space=("smpte170m", "tv")))
    assert "out_color_matrix=bt709" in scaling(VideoTrack(0))
    assert "out_color_matrix=bt709" in scaling(VideoTrack(0, is_bt709=True, has_alpha=True))


@pytest.mark.parametrize(
    "pixels, is_bt709",
    [
        ("yuv420p(tv, bt709, progressive), 1280x720", True),
        ("yuv420p(progressive), 1280x720", True),
        ("yuv420p(progressive), 640x360", False),
        ("yuv420p(pc, bt709), 1280x720", False),
        ("yuv444p(tv, bt709), 1280x720", False),
        ("yuv420p10le(tv, bt709), 1280x720", False),
        ("yuv420p(tv, smpte170m), 1280x720", False),
    ],
)
def test_planes_of_bt709_are_told_from_others(pixels: str, is_bt709: bool) -> None:
    track = read_track([f"  Stream #0:0(und): Video: h264 (High) (avc1 / 0x31637661), {pixels}, 900 kb/s, 25 fps"])
    assert track.is_bt709 == is_bt709


def test_closing_in_the_middle_leaves_nothing(tmp_path: Path, ffmpeg: str) -> None:
    video = VideoFile(write_clip(ffmpeg, tmp_path / "clip.mp4", numbered(50)), ffmpeg, CUT)
    frames = iter(video)
    next(frames)
    video.close()


def test_a_folder_of_images_is_a_clip(tmp_path: Path) -> None:
    for n, image in enumerate(numbered(12)):
        cv2.imwrite(str(tmp_path / f"{n}.png"), image if n else resize_image(image, 128, 96))
    cv2.imwrite(str(tmp_path / "3.png"), resize_image(numbered(4)[3], 256, 192))
    frames = list(ImageFolder(tmp_path, ClipSettings(Fraction(25), start_s=0.08, max_seconds=0.2)))
    assert numbers(frames) == [2, 3, 4, 5, 6]
    assert {frame.shape for frame in frames} == {(144, 128)}


def test_images_of_different_shapes_are_no_clip(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((96, 128, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((128, 96, 3), dtype=np.uint8))
    with pytest.raises(AvatarError, match=r"2\.png is 96 × 128 pixels"):
        list(ImageFolder(tmp_path, CUT))


def test_a_hash_tells_contents_apart_not_names(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    cv2.imwrite(str(one), np.zeros((64, 64, 3), dtype=np.uint8))
    other.write_bytes(one.read_bytes())
    first = hash_source(one, lambda *progress: told.append(progress))
    assert hash_source(other, lambda *_: None) == first
    assert told[-1] == (one.stat().st_size, one.stat().st_size)
    folder = hash_source(tmp_path, lambda *_: None)
    other.rename(tmp_path / "another.png")
    assert hash_source(tmp_path, lambda *_: None) != folder
    assert is_still(one)
    assert not is_still(tmp_path)


def test_what_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(AvatarError, match="is empty"):
        check_source(tmp_path / "empty.png")
    with pytest.raises(AvatarError, match="does not exist"):
        check_source(tmp_path / "nothing.png")
    with pytest.raises(AvatarError, match=r"https://example\.org/face\.mp4 is an address") as caught:
        check_source(Path("https://example.org/face.mp4"))
    assert caught.value.hint.startswith("download it first: curl -LO https://")
    with pytest.raises(AvatarError, match="is not a file"):
        check_source(Path("/dev/null"))
