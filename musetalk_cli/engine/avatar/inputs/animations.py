"""GIF, APNG and animated WebP and AVIF: images with times, read as the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.images import (
    COLOUR_BYTES,
    MAX_HEIGHT_PX,
    check_image,
    explain_damage,
    open_image,
    read_head,
    shrink_image,
    telling_damage,
)
from musetalk_cli.engine.avatar.inputs.pixels import to_bgr
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, planes_to_i420
from musetalk_cli.errors import AvatarError, system_words
from musetalk_cli.option_names import option

# Browsers show images that give less than 20 ms for 100 ms: such files were made when none could be faster.
LEAST_IMAGE_S, USUAL_IMAGE_S = 0.02, 0.1


class AnimationFile:
    """An animation's images as planar I420, uint8 (height · 3/2, width), at the clip's rate: a FrameSource."""

    num_frames: int | None = None  # only its end says how long it is

    def __init__(self, path: Path, clip: ClipSettings) -> None:
        self._path, self._clip = path, clip
        self.decode_error = ""

    def __iter__(self) -> Iterator[ByteArray]:
        rate, end_s, count = self._clip.frame_rate, 0.0, 0
        for image, image_s in self._images():
            end_s += image_s
            due = min(round((end_s - self._clip.start_s) * rate), max(1, round(self._clip.length_s * rate)))
            if due > count:
                frame = planes_to_i420(bgr_to_planes(image))
                for _ in range(due - count):
                    yield frame.copy()
                count = due
            if end_s >= self._clip.start_s + self._clip.length_s:
                break
        if not count:
            raise AvatarError(
                f"{self._path} has no frame after {self._clip.start_s:g} s", hint=f"give a smaller {option('--start')}"
            )

    def close(self) -> None:
        """Nothing to release."""

    def _images(self) -> Iterator[tuple[ByteArray, float]]:
        """Every image as BGR, all of the first one's size, and for how many seconds it is shown."""
        head, size = read_head(self._path, COLOUR_BYTES), None
        height_px = min(self._clip.height_px or MAX_HEIGHT_PX, MAX_HEIGHT_PX)
        with open_image(self._path) as animation:
            with telling_damage(self._path):
                check_image(self._path, animation)
                num_images = getattr(animation, "n_frames", 1)
            for index in range(num_images):
                try:
                    animation.seek(index)
                    image = shrink_image(to_bgr(animation, head, self._clip.background), height_px)
                except MemoryError:
                    raise
                except Exception as error:  # as telling_damage has it
                    if size is None:
                        raise explain_damage(self._path, error) from error
                    self.decode_error = system_words(error)
                    return
                size = size or (image.shape[1], image.shape[0])
                image_s = float(animation.info.get("duration", 0) or 0) / 1000
                yield resize_image(image, *size), image_s if image_s >= LEAST_IMAGE_S else USUAL_IMAGE_S
