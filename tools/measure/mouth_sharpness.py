"""Whether the warp model draws mouths as sharp as the faces around them.

    python -m tools.measure.mouth_sharpness [FILE …] [--height 1080]

Faces as tools.measure.gallery takes them. Of each, at this height, and with each mouth: the steepest hundredth of the
slopes of luma within and around the lips, as a share of that of the image's own eyes and brows. Prints a Markdown
table; ``own`` is the image with its own mouth.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait, portrait_names
from musetalk_cli.engine.avatar.preparation.face_models import find_face_models
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.video.compositing import write_face
from musetalk_cli.system.folders import cache_folder
from tools.measure.gallery import MOUTHS, open_face, packaged_photographs

SHOWN = ("a", "o", "ee", "f")
PERCENTILE = 99
EYES = ("left_upper_lid", "left_lower_lid", "right_upper_lid", "right_lower_lid", "left_brow", "right_brow")
LIPS = ("outer_upper_lip", "outer_lower_lip")
MARGIN = 0.15  # around them, widths of the mouth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="an image, or VIDEO@SECONDS")
    parser.add_argument("--height", type=int, default=1080)
    arguments = parser.parse_args()
    finder = FaceFinder(find_face_models(None, cache_folder() / "face-models", print))
    avatars = [open_portrait(describe_portrait(name)) for name in portrait_names()]
    files = [*packaged_photographs(), *arguments.files]
    avatars += [avatar for file in files if (avatar := open_face(str(file), finder))]
    print("| face | own |", " | ".join(SHOWN), "|\n|---|---|" + "---|" * len(SHOWN))
    for avatar in avatars:
        print(f"| {avatar.name} |", " | ".join(f"{share:.2f}" for share in shares_of(avatar, arguments.height)), "|")


def shares_of(avatar: Avatar, height_px: int) -> list[float]:
    """The shares of the own mouth, and of those in SHOWN."""
    renderer = StillAvatarRenderer(avatar, height_px=height_px, has_idle_motion=False)
    shown = avatar.resized(height_px)
    face, image = shown.landmarks[0], shown.frames.read([0])[0]
    luma = image[: shown.height]
    lips, eyes = (mask_around(face, names, luma.shape) for names in (LIPS, EYES))
    expected = steepest(luma, eyes)
    shares = [steepest(luma, lips) / expected]
    for name in SHOWN:
        drawn = image.copy()
        write_face(drawn, renderer.render(np.array(MOUTHS[name], np.float32)))
        shares.append(steepest(drawn[: shown.height], lips) / expected)
    return shares


def mask_around(face: Landmarks, names: tuple[str, ...], shape: tuple[int, ...]) -> ByteArray:
    """1 where a pixel is near one of the face's lines, or between two."""
    mask = np.zeros(shape, np.uint8)
    for first, second in zip(names[::2], names[1::2], strict=True):
        points = np.concatenate([getattr(face, first), getattr(face, second)])
        cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), 1)
    side = round(MARGIN * float(np.ptp(face.outer_upper_lip[:, 0]))) * 2 + 1
    return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)))


def steepest(luma: ByteArray, mask: ByteArray) -> float:
    across, down = (cv2.Sobel(luma, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5) for dx in (1, 0))
    return float(np.percentile(cv2.magnitude(across, down)[mask > 0], PERCENTILE))


if __name__ == "__main__":
    main()
