"""What an image's or a video's file says of itself is obeyed, whatever its format."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fixtures.clips import write_clip
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.hdr import Colours, map_colours
from musetalk_cli.engine.avatar.inputs.images import read_image
from musetalk_cli.engine.avatar.inputs.probe import read_track
from musetalk_cli.engine.avatar.inputs.sources import is_still, open_frames
from musetalk_cli.engine.types.colour import ByteArray, i420_to_bgr

WIDTH, HEIGHT = 128, 96
SKIN = (220, 170, 140)  # red, green, blue


def drawing(mode: str = "RGB") -> Image.Image:
    """Skin, with a red square in the top left corner; the bottom half is transparent where ``mode`` can say so."""
    pixels = np.full((HEIGHT, WIDTH, 4), (*SKIN, 255), np.uint8)
    pixels[:32, :32, :3] = (230, 20, 20)
    if "A" in mode:
        pixels[HEIGHT // 2 :] = (255, 0, 255, 0)
    return Image.fromarray(pixels).convert(mode)


def frames_of(path: Path, ffmpeg: str, **clip: object) -> list[ByteArray]:
    with closing(open_frames(path, ffmpeg, ClipSettings(Fraction(25), **clip))) as frames:  # type: ignore[arg-type]
        return list(frames)


def encode(ffmpeg: str, path: Path, *options: str, image: Image.Image | None = None, seconds: float = 0.2) -> Path:
    """A video of one image."""
    still = path.with_suffix(".still.png")
    (image or drawing()).save(still)
    inputs = ["-loop", "1", "-framerate", "25", "-t", str(seconds), "-i", str(still)]
    subprocess.run([ffmpeg, "-v", "error", "-y", *inputs, *options, str(path)], check=True)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "avif", "jpg"])
def test_an_image_stands_upright(tmp_path: Path, suffix: str, mode: str) -> None:
    if (suffix, mode) == ("jpg", "RGBA"):
        pytest.skip("a JPEG has no transparency")
    exif = Image.Exif()
    exif[0x112] = 6
    path = tmp_path / f"held.{suffix}"
    drawing(mode).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    image = read_image(path)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image[10, 10, 2] > 180 > image[10, 10, 1] + 100
    if mode == "RGBA":
        assert image[-8:].min() > 250


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 177, 64)])
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff", "a.avif", "palette.png", "a.gif", "grey.png", "key.png"])
def test_what_is_transparent_shows_the_background(tmp_path: Path, name: str, background: tuple[int, int, int]) -> None:
    path, image = tmp_path / name, drawing("RGBA")
    if name == "grey.png":
        drawing("LA").save(path)
    elif name == "key.png":
        image.convert("RGB").save(path, transparency=(255, 0, 255))
    elif name == "palette.png":
        image.quantize(32, method=Image.Quantize.FASTOCTREE).save(path)
    else:
        image.save(path)
    read = read_image(path, background)
    assert np.abs(read[-20:].astype(int) - background[::-1]).max() <= 4
    assert np.abs(read[40, 100].astype(int) - (SKIN[::-1] if name != "grey.png" else 182)).max() <= 8


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-b:v", "2M"]),
        ("prores.mov", ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"]),
        ("png.mov", ["-c:v", "png"]),
    ],
)
def test_a_transparent_video_shows_the_background(tmp_path: Path, ffmpeg: str, name: str, options: list[str]) -> None:
    path = encode(ffmpeg, tmp_path / name, *options, image=drawing("RGBA"))
    for background in ((255, 255, 255), (0, 177, 64)):
        image = i420_to_bgr(frames_of(path, ffmpeg, background=background)[0])
        assert np.abs(image[-20:-4].astype(int) - background[::-1]).max() <= 8
        assert np.abs(image[40, 100].astype(int) - SKIN[::-1]).max() <= 10


def encoded_light(nits: float) -> float:
    """What PQ stores for so many cd/m²."""
    power = (nits / 10_000) ** (2610 / 16384)
    return float(((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


@pytest.mark.parametrize(("transfer", "white"), [("smpte2084", encoded_light(203)), ("arib-std-b67", 0.75)])
def test_white_in_hdr_becomes_white(tmp_path: Path, ffmpeg: str, transfer: str, white: float) -> None:
    level = round(white * 255)
    image = Image.new("RGB", (WIDTH, HEIGHT), (level, level, level))
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    matrix = f"scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,{tags}"
    path = encode(ffmpeg, tmp_path / "hdr.mkv", "-vf", matrix, "-c:v", "ffv1", image=image)
    frame = frames_of(path, ffmpeg)[0]
    assert 225 <= frame[HEIGHT // 2, WIDTH // 2] <= 236
    assert np.abs(frame[HEIGHT:].astype(int) - 128).max() <= 1


def test_what_is_brighter_than_white_keeps_its_order_and_hues_stay() -> None:
    levels = np.array([[encoded_light(nits)] * 3 for nits in (50, 203, 400, 1000)])
    mapped = map_colours(levels, Colours("bt2020", "smpte2084"), is_image=True)
    assert (np.diff(mapped[:, 0]) > 0).all()
    assert mapped.max() <= 1
    orange = map_colours(
        np.array([[encoded_light(200), encoded_light(100), encoded_light(50)]]), Colours("", "smpte2084"), is_image=True
    )
    assert orange[0, 0] > orange[0, 1] > orange[0, 2]


def test_a_png_and_an_avif_in_pq_are_mapped(tmp_path: Path, ffmpeg: str) -> None:
    level = round(encoded_light(203) * 255)
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (level, level, level)).save(buffer, "PNG")
    data, chunk = buffer.getvalue(), b"cICP" + bytes([9, 16, 0, 1])
    whole = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "hdr.png").write_bytes(data[:33] + whole + data[33:])
    assert read_image(tmp_path / "hdr.png").min() >= 245
    assert level < 160


@pytest.mark.parametrize("is_top_first", [True, False])
def test_fields_become_whole_frames_in_their_order(tmp_path: Path, ffmpeg: str, is_top_first: bool) -> None:
    """A bar that moves by 4 pixels a field; combed, neighbouring rows show it at two places."""
    images = [np.full((HEIGHT, WIDTH, 3), 40, np.uint8) for _ in range(20)]
    for number, image in enumerate(images):
        image[:, 10 + 4 * number : 30 + 4 * number] = 220
    order = "tff" if is_top_first else "bff"
    fields = f"interlace=lowpass=0:scan={order},setfield={order},format=yuv420p"
    path = write_clip(
        ffmpeg,
        tmp_path / "i.mpg",
        images,
        "50",
        "-vf",
        fields,
        "-c:v",
        "mpeg2video",
        "-flags",
        "+ildct+ilme",
        "-q:v",
        "2",
    )
    frames = frames_of(path, ffmpeg)
    assert 9 <= len(frames) <= 11
    for frame in frames[2:8]:
        luma = frame[8 : HEIGHT - 8].astype(int)
        combed = np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) // 2) > 60
        assert combed.mean() < 0.01


def profile_of(gamma: float) -> bytes:
    """An ICC profile of grey with a gamma."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    curve = b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(gamma * 256)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    tags = [(b"wtpt", white), (b"kTRC", curve)]
    head = bytearray(lab[:128])
    head[12:24] = b"mntrGRAYXYZ "
    table, body, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags:
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value
    head[0:4] = struct.pack(">I", at + len(body))
    return bytes(head) + table + body


def test_a_colour_profile_is_obeyed(tmp_path: Path) -> None:
    grey = Image.new("L", (WIDTH, HEIGHT), 128)
    grey.save(tmp_path / "plain.png")
    grey.save(tmp_path / "linear.png", icc_profile=profile_of(1.0))
    assert read_image(tmp_path / "plain.png")[5, 5].tolist() == [128] * 3
    assert np.abs(read_image(tmp_path / "linear.png")[5, 5].astype(int) - 188).max() <= 2
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    drawing().save(tmp_path / "srgb.png", icc_profile=srgb)
    np.testing.assert_array_equal(read_image(tmp_path / "srgb.png"), np.asarray(drawing())[:, :, ::-1])
    drawing().save(tmp_path / "broken.png", icc_profile=srgb[:200])
    np.testing.assert_array_equal(read_image(tmp_path / "broken.png"), np.asarray(drawing())[:, :, ::-1])


def test_a_print_shops_jpeg_is_read(tmp_path: Path) -> None:
    drawing().convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "cmyk.jpg")[40, 100].astype(int) - SKIN[::-1]).max() <= 6


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_an_animation_is_a_video_and_one_image_is_a_still(tmp_path: Path, ffmpeg: str, suffix: str) -> None:
    images = [Image.new("RGB", (WIDTH, HEIGHT), (60 * n, 60 * n, 60 * n)) for n in range(4)]
    images[0].save(tmp_path / f"one.{suffix}")
    moving = tmp_path / f"many.{suffix}"
    images[0].save(moving, save_all=True, append_images=images[1:], duration=120)
    assert is_still(tmp_path / f"one.{suffix}")
    assert not is_still(moving)
    frames = frames_of(moving, ffmpeg)
    assert len(frames) == 12
    assert np.abs(np.diff([float(frame[:HEIGHT].mean()) for frame in frames[::3]]) - 52).max() < 6
    assert len(frames_of(moving, ffmpeg, start_s=0.24, max_seconds=0.12)) == 3


def test_of_several_tracks_the_default_one_is_the_video() -> None:
    log = [
        "  Stream #0:0: Video: png, rgb24(pc), 900x900, 90k tbr (attached pic)",
        "  Stream #0:1(und): Video: h264 (High), yuv420p(tv, bt709, progressive), 640x480, 25 fps",
        "  Stream #0:2[0x3](eng): Video: hevc (Main 10) (hvc1 / 0x31637668), "
        "yuv420p10le(tv, bt2020nc/bt2020/smpte2084), 1920x1080, 25 fps (default)",
    ]
    track = read_track(log)
    assert track.index == 2
    assert track.colours == Colours("bt2020", "smpte2084")
    assert track.may_interlace
    assert not track.is_untagged_hd
    assert read_track(log[:2]).index == 1


@pytest.mark.parametrize("tag", [(), ("-colorspace", "smpte170m"), ("-colorspace", "bt470bg", "-color_range", "tv")])
def test_bt601_becomes_bt709_to_a_rounding(tmp_path: Path, ffmpeg: str, tag: tuple[str, ...]) -> None:
    check_conversion(tmp_path, ffmpeg, tag, bt601_to_bt709)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_full_range_becomes_limited_to_a_rounding(tmp_path: Path, ffmpeg: str, matrix: str) -> None:
    def convert(ycc: np.ndarray) -> np.ndarray:
        limited = (ycc - (0, 128, 128)) * np.array([219, 224, 224]) / 255 + (16, 128, 128)
        return limited if matrix == "bt709" else bt601_to_bt709(limited)

    # From version 7 on, ffmpeg converts what is not tagged to what is wanted, rather than tag it.
    tagged = ("-vf", f"setparams=range=pc:colorspace={matrix}")
    check_conversion(tmp_path, ffmpeg, (*tagged, "-colorspace", matrix, "-color_range", "pc"), convert)


def check_conversion(
    tmp_path: Path, ffmpeg: str, tag: tuple[str, ...], convert: Callable[[np.ndarray], np.ndarray]
) -> None:
    """A clip of plain squares with tags is read as ``convert`` computes their Y, Cb and Cr."""
    ycc = np.random.default_rng(5).integers((60, 100, 100), (200, 156, 156), (6, 8, 3))
    planes = np.repeat(np.repeat(ycc, 16, axis=0), 16, axis=1).astype(np.uint8)
    chroma = planes[::2, ::2, 1:].transpose(2, 0, 1)
    given = tmp_path / "given.yuv"
    given.write_bytes(planes[..., 0].tobytes() + chroma.tobytes())
    path = tmp_path / "clip.mkv"
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", str(given)]
    subprocess.run([ffmpeg, "-v", "error", *raw, "-c:v", "ffv1", *tag, str(path)], check=True)
    frame = frames_of(path, ffmpeg)[0]
    found = np.stack([frame[8:HEIGHT:16, 8::16], *frame[HEIGHT:].reshape(2, HEIGHT // 2, -1)[:, 4::8, 4::8]], axis=-1)
    away = found - convert(ycc)
    assert np.abs(away).max() < 1
    assert np.abs(away.mean(axis=(0, 1))).max() < 0.2


def bt601_to_bt709(ycc: np.ndarray) -> np.ndarray:
    """Y, Cb, Cr of limited range, (…, 3), between the two matrices of ITU-R BT.601 and BT.709."""

    def matrix(red: float, blue: float) -> np.ndarray:
        luma = np.array([red, 1 - red - blue, blue])
        rows = [luma, (np.eye(3)[2] - luma) / (2 * (1 - blue)), (np.eye(3)[0] - luma) / (2 * (1 - red))]
        return np.diag([219, 224, 224]) @ np.array(rows)

    zero = np.array([16, 128, 128])
    return (ycc - zero) @ (matrix(0.2126, 0.0722) @ np.linalg.inv(matrix(0.299, 0.114))).T + zero


@pytest.mark.parametrize(
    "about, space",
    [
        ("yuv420p, 640x480", ("smpte170m", "tv")),
        ("yuv420p(progressive), 640x480", ("smpte170m", "tv")),
        ("yuv422p(tv, smpte170m/bt470bg/smpte170m, top first), 720x576", ("smpte170m", "tv")),
        ("yuv420p(tv, bt470bg, progressive), 1920x1080", ("smpte170m", "tv")),
        ("yuv420p(tv, bt709, progressive), 640x480", None),
        ("yuv420p(pc, smpte170m), 640x480", ("smpte170m", "pc")),
        ("yuvj420p(pc), 640x480", ("smpte170m", "pc")),
        ("yuvj420p(pc, bt709), 640x480", ("bt709", "pc")),
        ("yuvj420p(pc), 1280x720", ("bt709", "pc")),
        ("yuv420p10le(tv, smpte170m), 640x480", None),
        ("yuv420p, 1280x720", None),
        ("yuv420p(tv, unknown/bt709/bt709), 1920x1080", None),
        ("yuv420p(tv, fcc), 640x480", None),
        ("yuvj420p(pc, fcc), 640x480", None),
    ],
)
def test_what_one_filter_makes_bt709(about: str, space: tuple[str, str] | None) -> None:
    assert read_track([f"  Stream #0:0: Video: h264 (High), {about}, 25 fps"]).plain_space == space
