"""Stored frames: what comes back, in which order, and what happens when the file is damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fixtures.prepared_avatars import write_frames
from musetalk_cli.engine.avatar.frame_store import (
    FrameStoreWriter,
    StoredFrames,
    encode_frame,
    i420_to_sheet,
    read_image_size,
    read_jpeg_size,
    sheet_to_i420,
)
from musetalk_cli.engine.avatar.portrait import describe_portrait, load_portrait
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, i420_to_bgr, planes_to_i420
from musetalk_cli.errors import AvatarError

WIDTH, HEIGHT = 320, 256


@pytest.fixture(scope="module")
def images() -> list[ByteArray]:
    """Crops that wander over a portrait, as video frames."""
    portrait = load_portrait(describe_portrait("nora")).image
    crops = [portrait[300 + 4 * n : 300 + 4 * n + HEIGHT, 300 + 2 * n : 300 + 2 * n + WIDTH] for n in range(12)]
    return [planes_to_i420(bgr_to_planes(np.ascontiguousarray(crop))) for crop in crops]


@pytest.fixture
def stored(tmp_path: Path, images: list[ByteArray]) -> StoredFrames:
    return StoredFrames(tmp_path / "frames", WIDTH, HEIGHT, *write_frames(tmp_path / "frames", images))


def psnr(one: ByteArray, other: ByteArray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_frames_come_back_nearly_as_they_were(stored: StoredFrames, images: list[ByteArray]) -> None:
    for image, read in zip(images, stored.read(range(12)), strict=True):
        assert psnr(image, read) > 42
    stored.close()


def test_without_loss_they_come_back_as_they_were(tmp_path: Path, images: list[ByteArray]) -> None:
    with FrameStoreWriter(tmp_path / "whole", is_lossless=True) as writer:
        for image in images:
            writer.write(image)
    stored = StoredFrames(tmp_path / "whole", WIDTH, HEIGHT, writer.offsets, writer.checksums)
    for image, read in zip(images, stored.read(range(12)), strict=True):
        np.testing.assert_array_equal(image, read)
    stored.close()


def test_a_png_of_another_size_is_not_decoded(tmp_path: Path, images: list[ByteArray]) -> None:
    with FrameStoreWriter(tmp_path / "whole", is_lossless=True) as writer:
        writer.write(images[0])
    stored = StoredFrames(tmp_path / "whole", WIDTH * 2, HEIGHT, writer.offsets, writer.checksums)
    with pytest.raises(AvatarError, match="not an image of its size"):
        stored.read([0])
    stored.close()
    assert read_image_size(b"\x89PNG\r\n\x1a\n" + bytes(8)) is None


def hide_header(data: bytes, marker: bytes) -> bytes:
    """A JPEG whose header stands behind a marker without a length; who takes the next bytes for one finds another."""
    at = data.index(b"\xff\xc0")
    hidden = data[:at] + marker + data[at:]
    beyond = at + 2 + int.from_bytes(hidden[at + 2 : at + 4], "big")
    return hidden.ljust(beyond, b"\0") + data[at : at + 19]


@pytest.mark.parametrize("marker", [b"\xff", b"\xff\x01", b"\xff\xd0"])
def test_a_jpegs_size_is_that_which_a_decoder_finds(images: list[ByteArray], marker: bytes) -> None:
    data = encode_frame(images[0])
    assert read_jpeg_size(data) == images[0].shape
    assert read_jpeg_size(hide_header(data, marker)) is None
    assert read_jpeg_size(b"BM" + data[2:]) is None


def test_any_order_gives_the_same_bytes(stored: StoredFrames) -> None:
    forward = stored.read(range(12))
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 3)).tolist()
    with ThreadPoolExecutor(4) as threads:
        for index, (image,) in zip(order, threads.map(lambda n: stored.read([n]), order), strict=True):
            np.testing.assert_array_equal(image, forward[index])
    stored.close()


def test_what_is_read_may_be_written_into(stored: StoredFrames) -> None:
    first, again = stored.read([3, 3])
    first[:] = 0
    assert again.any()
    np.testing.assert_array_equal(stored.read([3])[0], again)
    stored.close()


def test_a_sheet_is_the_image_in_another_order(images: list[ByteArray]) -> None:
    sheet = i420_to_sheet(images[0])
    assert sorted(sheet.ravel()) == sorted(images[0].ravel())
    np.testing.assert_array_equal(sheet_to_i420(sheet), images[0])


def test_colours_survive_the_way_to_bgr() -> None:
    colours = np.array([[[200, 30, 40], [20, 180, 90]], [[10, 60, 220], [128, 128, 128]]], dtype=np.uint8)
    image = np.repeat(np.repeat(colours, 32, axis=0), 32, axis=1)
    back = i420_to_bgr(planes_to_i420(bgr_to_planes(image)))
    centres = back[16::32, 16::32].astype(int)
    assert np.abs(centres - colours).max() <= 2


def test_a_shorter_file_is_refused(stored: StoredFrames, tmp_path: Path) -> None:
    stored.close()
    path = tmp_path / "frames"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AvatarError, match="damaged"):
        StoredFrames(path, WIDTH, HEIGHT, stored._offsets, stored._checksums)


def test_a_changed_byte_is_noticed(stored: StoredFrames, tmp_path: Path) -> None:
    path = tmp_path / "frames"
    data = bytearray(path.read_bytes())
    data[stored._offsets[5] + 700] ^= 1
    path.write_bytes(data)
    stored.read([4, 6])
    with pytest.raises(AvatarError, match="frame 5"):
        stored.read([5])
    stored.close()


def test_a_writer_that_fails_leaves_no_thread(tmp_path: Path, images: list[ByteArray]) -> None:
    with pytest.raises(ZeroDivisionError), FrameStoreWriter(tmp_path / "frames") as writer:
        for image in images:
            writer.write(image)
        raise ZeroDivisionError


def test_there_is_no_frame_beyond_the_last(stored: StoredFrames) -> None:
    with pytest.raises(IndexError, match="frame 12 of 12"):
        stored.read([12])
    stored.close()
