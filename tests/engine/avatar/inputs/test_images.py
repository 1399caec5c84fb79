"""Input images: rotated upright, checked before they are decoded, scaled down."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.inputs import animations, images
from musetalk_cli.engine.avatar.inputs.animations import AnimationFile
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.images import list_images, read_image
from musetalk_cli.engine.types.signatures import looks_like_image
from musetalk_cli.errors import AvatarError

CORNERS = np.zeros((80, 120, 3), dtype=np.uint8)
CORNERS[:40, :60] = (0, 0, 250)  # red, top left


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int) -> bytes:
    """A valid PNG of black pixels: about 3 bytes a thousand pixels."""
    packer = zlib.compressobj(1)
    rows = b"\0" * (1 + 3 * width) * 50
    data = b"".join(packer.compress(rows) for _ in range(height // 50)) + packer.flush()
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF segment that says how the camera was held behind the JPEG's start."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face{suffix}"
    cv2.imwrite(str(path), CORNERS)
    assert looks_like_image(path.read_bytes()[:32])
    read = read_image(path)
    for y, x in ((10, 10), (10, 110), (70, 10), (70, 110)):
        np.testing.assert_allclose(read[y, x], CORNERS[y, x], atol=6)


@pytest.mark.parametrize(("orientation", "red"), [(1, (20, 30)), (3, (60, 90)), (6, (30, 60)), (8, (90, 20))])
def test_a_image_is_turned_as_its_camera_was_held(tmp_path: Path, orientation: int, red: tuple[int, int]) -> None:
    jpeg = cv2.imencode(".jpg", CORNERS)[1].tobytes()
    path = tmp_path / "held.jpg"
    path.write_bytes(with_orientation(jpeg, orientation))
    image = read_image(path)
    assert image.shape[:2] == ((80, 120) if orientation < 5 else (120, 80))
    assert image[red][2] > 200


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    image = np.zeros((64, 64, 4), dtype=np.uint8)
    image[16:48, 16:48] = (10, 20, 200, 255)
    cv2.imwrite(str(tmp_path / "cut-out.png"), image)
    read = read_image(tmp_path / "cut-out.png")
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[32, 32].tolist() == [10, 20, 200]


def test_sixteen_bit_and_grey_images_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((64, 64, 3), 0x8000, dtype=np.uint16))
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64), 99, dtype=np.uint8))
    assert read_image(tmp_path / "deep.png").dtype == np.uint8
    assert read_image(tmp_path / "grey.png")[5, 5].tolist() == [99, 99, 99]


def test_a_large_image_is_scaled_down(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.jpg"), np.zeros((3000, 5000, 3), dtype=np.uint8))
    assert read_image(tmp_path / "large.jpg").shape == (2160, 3600, 3)


def test_an_odd_row_is_cut_off_not_resampled(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (101, 77, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "odd.png"), noise)
    np.testing.assert_array_equal(read_image(tmp_path / "odd.png"), noise[:100, :76])


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(20_000, 20_000))
    assert path.stat().st_size < 8_000_000
    code = (
        "import sys, pathlib\n"
        "from fixtures.media import peak_memory_bytes\n"
        "from musetalk_cli.engine.avatar.inputs.images import read_image\n"
        "try: read_image(pathlib.Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
        "print(peak_memory_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    message, peak = done.stdout.splitlines()
    assert "20000 × 20000 pixels, more than 128 million" in message
    assert int(peak) < 400_000_000, "unpacked it would take 1200 MB"


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\x10JFIF", b"RIFF\0\0\0\0WEBPVP8X", b"BM", b"II*\0\xff\xff\xff\xff"],
)
def test_a_broken_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "broken").write_bytes(data)
    with pytest.raises(AvatarError, match="broken"):
        read_image(tmp_path / "broken")


def test_a_folder_is_read_in_the_order_people_mean(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "1.png", ".hidden.png"):
        cv2.imwrite(str(tmp_path / name), CORNERS)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in list_images(tmp_path)] == ["1.png", "9.png", "10.png"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="no image in the folder"):
        list_images(tmp_path)


def test_a_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(*given: object) -> None:
        raise MemoryError

    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((96, 96, 3), 90, np.uint8))
    for room in (images, animations):
        monkeypatch.setattr(room, "to_bgr", lack)
    with pytest.raises(MemoryError):
        read_image(path)
    with pytest.raises(MemoryError):
        list(AnimationFile(path, ClipSettings(Fraction(25))))
