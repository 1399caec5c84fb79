"""What the transfer of detail gives to faces that a network generates smaller than they are shown.

    python -m tools.measure.face_detail AVATAR_FOLDER… [--side 96]

No trained decoder is needed: the face of another frame of the same video, some frames later, stands in for a generated
one, scaled down to ``--side`` pixels and up again. Peak signal-to-noise ratio and gradient (root mean square ÷ that of
the true face) are those of luma where the mask is full. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.avatar_files import open_avatar_folder
from musetalk_cli.engine.models.musetalk.face.blend import Box, resize_face
from musetalk_cli.engine.models.musetalk.face.detail import FaceDetail
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts, PartSettings, derive_face_parts
from musetalk_cli.engine.models.musetalk.face.placement import Placement
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_luma

FIRST, STEP, NUM_FRAMES = 10, 12, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", nargs="+", type=Path, metavar="AVATAR_FOLDER")
    parser.add_argument("--side", type=int, default=96, help="of the generated faces, pixels")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print("| avatar, box | frames later | PSNR, dB: enlarged → with detail | gradient | ms |\n|---|---|---|---|---|")
    for folder in arguments.avatars:
        avatar = open_avatar_folder(folder)
        parts = derive_face_parts(avatar, PartSettings())
        for later in (3, 8):
            rows = [
                measure(avatar, parts, first, first + later, arguments.side)
                for first in range(FIRST, min(FIRST + STEP * NUM_FRAMES, avatar.frames.num_frames - later), STEP)
            ]
            psnr, with_detail, gradient, more, ms = np.median(rows, axis=0)
            left, top, right, bottom = parts.boxes[FIRST]
            print(
                f"| {avatar.name}, {right - left} × {bottom - top} | {later} | {psnr:.1f} → {with_detail:.1f} "
                f"| {gradient:.2f} → {more:.2f} | {ms:.1f} |"
            )


def measure(avatar: Avatar, parts: FaceParts, index: int, later: int, side: int) -> tuple[float, ...]:
    """PSNR and gradient of a later face put on a frame, each without and with detail, and the milliseconds it takes."""
    box, other = (Box(*map(int, parts.boxes[each])) for each in (index, later))
    image, truth = avatar.frames.image(index), _part(avatar.frames.image(later), other)
    truth = np.asarray(cv2.resize(truth, (box.width, box.height), interpolation=cv2.INTER_LINEAR), np.uint8)
    small = (side, side)
    made = np.asarray(cv2.resize(truth, small, interpolation=cv2.INTER_AREA), np.uint8)
    own = np.asarray(cv2.resize(_part(image, box), small, interpolation=cv2.INTER_AREA), np.uint8)
    placement = Placement(box, parts.masks[index])
    detail = FaceDetail(image, box, placement.region, own)
    enlarged, true = (
        bgr_to_luma(placement._cut(each, cv2.BORDER_REPLICATE))
        for each in (resize_face(made, box.width, box.height), truth)
    )
    started_at = time.perf_counter()
    with_detail = detail.add(enlarged, made)
    ms = (time.perf_counter() - started_at) * 1e3
    is_full = placement._mask > 200
    gradients = [_gradient(each, is_full) for each in (enlarged, with_detail, true)]
    return (
        _psnr(enlarged, true, is_full),
        _psnr(with_detail, true, is_full),
        gradients[0] / gradients[2],
        gradients[1] / gradients[2],
        ms,
    )


def _part(image: ByteArray, box: Box) -> ByteArray:
    return image[box.top : box.bottom, box.left : box.right]


def _psnr(luma: ByteArray, true: ByteArray, where: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(luma.astype(np.float32) - true)[where].mean()))


def _gradient(luma: ByteArray, where: np.ndarray) -> float:
    across, down = (cv2.Sobel(luma, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (1, 0))
    return float(np.sqrt((np.square(across) + np.square(down))[where].mean()))


if __name__ == "__main__":
    main()
