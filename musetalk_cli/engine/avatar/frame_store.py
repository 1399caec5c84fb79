"""An avatar's images on disk: one file of JPEGs, or of PNGs without loss, that are read one by one, in any order."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.frames import check_indices
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, i420_to_bgr
from musetalk_cli.errors import AvatarError, system_words

# Chosen by measurement (docs/performance.md): 52 dB on clean video; grainy video costs twice the bytes.
JPEG_QUALITY = 90
# The fastest level and filter: a fifth larger than the best, stored in a quarter of its time.
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12 and newer; older ones choose for themselves
    PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# Images that wait for the one thread that compresses: enough that neither side waits for the other's slow frame.
MAX_WAITING_FRAMES = 4


def i420_to_sheet(image: ByteArray) -> ByteArray:
    """Planar I420 uint8 (h · 3/2, w) as the sheet that is stored: the same shape, luma above, Cb and Cr side by side.

    In I420 two rows of a chroma plane share a row of the array; side by side each plane is an image that compresses.
    """
    rows, columns = image.shape[0] * 2 // 3, image.shape[1]
    sheet = np.empty_like(image)
    sheet[:rows] = image[:rows]
    blue, red = image[rows:].reshape(2, rows // 2, columns // 2)
    sheet[rows:, : columns // 2], sheet[rows:, columns // 2 :] = blue, red
    return sheet


def sheet_to_i420(sheet: ByteArray) -> ByteArray:
    """The reverse of :func:`i420_to_sheet`, in place."""
    rows, columns = sheet.shape[0] * 2 // 3, sheet.shape[1]
    both = sheet[rows:].reshape(rows // 2, 2, columns // 2)
    sheet[rows:] = np.moveaxis(both, 1, 0).reshape(rows // 2, columns)
    return sheet


class FrameStoreWriter:
    """Compresses images on a thread of its own and appends them to a file, in the order of ``write``.

    Use it as a context: leaving it waits for the thread and closes the file. After that ``offsets`` int64 (n + 1,) are
    the bytes at which each image starts (the last: where the file ends), ``checksums`` uint32 (n,) their CRC-32.
    """

    def __init__(self, path: Path, *, is_lossless: bool = False) -> None:
        self._is_lossless = is_lossless
        self._file = path.open("wb")
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="musetalk-frames")
        self._waiting: deque[Future[tuple[int, int]]] = deque()
        self._offsets, self._checksums = [0], list[int]()

    def __enter__(self) -> FrameStoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=kind is not None)
        self._file.close()
        if kind is None:
            self._collect(0)

    def write(self, image: ByteArray) -> None:
        """Append a planar I420 image, which must not change afterwards. Raises OSError of an earlier one."""
        self._waiting.append(self._executor.submit(self._append, image))
        self._collect(MAX_WAITING_FRAMES)

    @property
    def offsets(self) -> NDArray[np.int64]:
        return np.array(self._offsets, dtype=np.int64)

    @property
    def checksums(self) -> NDArray[np.uint32]:
        return np.array(self._checksums, dtype=np.uint32)

    def _append(self, image: ByteArray) -> tuple[int, int]:
        data = self._encode(image)
        self._file.write(data)
        return len(data), zlib.crc32(data)

    def _encode(self, image: ByteArray) -> bytes:
        return encode_frame(image, is_lossless=self._is_lossless)

    def _collect(self, num_left: int) -> None:
        while len(self._waiting) > num_left:
            num_bytes, checksum = self._waiting.popleft().result()
            self._offsets.append(self._offsets[-1] + num_bytes)
            self._checksums.append(checksum)


class AlphaStoreWriter(FrameStoreWriter):
    """The same for the alpha of each frame, uint8 (h, w), which is kept without loss."""

    def _encode(self, image: ByteArray) -> bytes:
        return encode_alpha(image)


def encode_alpha(alpha: ByteArray) -> bytes:
    """Alpha uint8 (h, w) as a greyscale PNG."""
    is_done, data = cv2.imencode(".png", alpha, PNG_OPTIONS)
    if not is_done:
        raise AvatarError(f"an alpha of {alpha.shape[1]} × {alpha.shape[0]} pixels cannot be stored")
    return data.tobytes()


def encode_frame(image: ByteArray, *, is_lossless: bool = False) -> bytes:
    """One planar I420 image as a greyscale JPEG of its sheet, or a greyscale PNG without loss."""
    kind, options = (".png", PNG_OPTIONS) if is_lossless else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    is_done, data = cv2.imencode(kind, i420_to_sheet(image), options)
    if not is_done:
        raise AvatarError(f"a frame of {image.shape[1]} × {image.shape[0] * 2 // 3} pixels cannot be stored")
    return data.tobytes()


def read_image_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, or of a PNG by its first chunk (ISO 15948, 11.2.2); None when it is neither."""
    if not data.startswith(PNG_HEAD):
        return read_jpeg_size(data)
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG's frame header gives (ITU-T T.81, B.2.2); None when there is none.

    Nor is there where a decoder might read on at another place, and find another header: at markers without a length.
    """
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 9 <= len(data) and data[at] == 0xFF and 0xC0 <= data[at + 1] < 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xD0 <= marker <= 0xD9 or length < 2:
            return None
        if marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + length
    return None


class StoredFrames:
    """AvatarFrames from a file that :class:`FrameStoreWriter` wrote.

    It is read with pread, so that memory stays small and several threads may read at once.
    """

    def __init__(
        self, path: Path, width: int, height: int, offsets: NDArray[np.int64], checksums: NDArray[np.uint32]
    ) -> None:
        """Open the file.

        Args:
            path: what the writer wrote.
            width: of every frame, in pixels.
            height: likewise.
            offsets: int64 (n + 1,), where each frame begins, and the file's length.
            checksums: uint32 (n,), each frame's CRC-32.

        Raises:
            AvatarError: the file cannot be opened, or has another length than ``offsets`` say.
        """
        self.width, self.height, self.num_frames = width, height, len(checksums)
        self._path, self._offsets, self._checksums = path, offsets, checksums
        try:
            if path.exists() and not path.is_file():
                raise AvatarError(f"{path} is damaged: it is not a file", hint="prepare it again")
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise AvatarError(f"cannot read {path}: {system_words(error)}") from error
        size = os.fstat(self._file.fileno()).st_size
        if size != offsets[-1]:
            self._file.close()
            raise AvatarError(f"{path} is damaged: it has {size} bytes, not {offsets[-1]}", hint="prepare it again")

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        check_indices(indices, self.num_frames)
        return [self._read_one(index) for index in indices]

    def image(self, index: int = 0) -> ByteArray:
        return i420_to_bgr(self.read([index])[0])

    def close(self) -> None:
        self._file.close()

    def _read_one(self, index: int) -> ByteArray:
        return sheet_to_i420(self._read_sheet(index, (self.height * 3 // 2, self.width)))

    def _read_sheet(self, index: int, size: tuple[int, int]) -> ByteArray:
        """A stored image of so many rows and columns."""
        start, stop = (int(value) for value in self._offsets[index : index + 2])
        data = os.pread(self._file.fileno(), stop - start, start)
        if zlib.crc32(data) != self._checksums[index]:
            raise AvatarError(f"{self._path} is damaged: frame {index} is not what it was", hint="prepare it again")
        # An image of another size is not decoded: it might want gigabytes.
        is_right = read_image_size(data) == size
        sheet = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE) if is_right else None
        if sheet is None or sheet.shape != size:
            raise AvatarError(
                f"{self._path} is damaged: frame {index} is not an image of its size", hint="prepare it again"
            )
        return as_bytes(sheet)


class StoredAlphas(StoredFrames):
    """AvatarAlphas from a file that :class:`AlphaStoreWriter` wrote."""

    def _read_one(self, index: int) -> ByteArray:
        return self._read_sheet(index, (self.height, self.width))
