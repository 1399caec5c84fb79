"""Frames whose background is replaced: by the alpha that they have, or else by that of a person who is cut out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from musetalk_cli.engine.avatar.frame_store import AlphaStoreWriter
from musetalk_cli.engine.avatar.frames import put_on
from musetalk_cli.engine.avatar.inputs.clip import WHITE, ClipSettings
from musetalk_cli.engine.avatar.inputs.sources import open_frames, read_still
from musetalk_cli.engine.avatar.preparation.cutout.background import Background
from musetalk_cli.engine.avatar.preparation.cutout.matte import clean_colours
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes, i420_to_bgr, planes_to_i420
from musetalk_cli.errors import AvatarError
from musetalk_cli.option_names import option

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter

BLACK = (0, 0, 0)
# A frame on black and on white differs by so many levels where it is transparent; what differs by less is noise.
LEAST_DIFFERENCE = 3
LUMA_LEVELS = 219  # from black to white

OpenCutter: TypeAlias = "Callable[[], PersonCutter]"


def cut_still(
    source: Path, height_px: int | None, background: Background, open_cutter: OpenCutter
) -> tuple[ByteArray, ByteArray | None]:
    """An image on its new background, uint8 BGR (h, w, 3), and its alpha (h, w) where that is transparent.

    Args:
        source: an image, or a folder with one.
        height_px: it is scaled down to this height, if it is higher.
        background: what comes behind.
        open_cutter: loads the net, where the image is not transparent by itself.

    Raises:
        AvatarError: it cannot be read, or shows no person.
    """
    on_black, on_white = (read_still(source, height_px, colour) for colour in (BLACK, WHITE))
    if (on_black != on_white).any():
        alpha = 255 - as_bytes(cv2.absdiff(on_white, on_black).max(axis=2))
        colours = own_colours(on_black, alpha)
    else:
        cutter = open_cutter()
        colours, alpha = cutter.cut(on_black)
        if not cutter.has_person:
            raise _no_person(source)
    if background.is_transparent:
        return colours, alpha
    return put_on(colours, alpha[:, :, None], background.pixels(alpha.shape[1], alpha.shape[0])), None


def own_colours(on_black: ByteArray, alpha: ByteArray) -> ByteArray:
    """The colours of a transparent image that was put on black, carried on where nothing shows."""
    share = np.maximum(alpha, 1)[:, :, None].astype(np.float32) / 255
    colours = as_bytes(np.rint(np.clip(on_black / share, 0, 255)))
    spread = clean_colours(colours, np.where(alpha > 16, alpha, 0).astype(np.uint8))
    return np.where((alpha > 16)[:, :, None], colours, spread)


class CutFrames:
    """A FrameSource of frames on another background.

    ``is_transparent``: ``alphas`` then takes each frame's alpha, and ``first_alpha`` is that of the first.
    """

    def __init__(
        self,
        source: Path,
        ffmpeg: str,
        clip: ClipSettings,
        background: Background,
        open_cutter: OpenCutter,
        alphas: AlphaStoreWriter | None,
    ) -> None:
        """Open a video or a folder.

        Args:
            source: the input.
            ffmpeg: path of the executable.
            clip: which part of it.
            background: what comes behind.
            open_cutter: loads the net, where the first frame is not transparent by itself.
            alphas: takes the alpha of each frame, where the background is transparent.

        Raises:
            AvatarError: there is no frame in it.
        """
        self.first_alpha: ByteArray | None = None
        self.decode_error = ""
        self._source, self._background, self._open_cutter, self._alphas = source, background, open_cutter, alphas
        self._files = ExitStack()
        try:
            self._on_black, self._on_white = (
                self._files.enter_context(closing(open_frames(source, ffmpeg, replace(clip, background=colour))))
                for colour in (BLACK, WHITE)
            )
        except BaseException:
            self._files.close()
            raise
        self.num_frames = self._on_black.num_frames

    def __iter__(self) -> Iterator[ByteArray]:
        behind: ByteArray | None = None
        for colours, alpha in self._layers():
            if self._alphas is not None:
                self.first_alpha = alpha if self.first_alpha is None else self.first_alpha
                self._alphas.write(alpha)
            else:
                if behind is None:
                    behind = self._background.pixels(alpha.shape[1], alpha.shape[0])
                colours = put_on(colours, alpha[:, :, None], behind)
            yield planes_to_i420(bgr_to_planes(colours))
        self.decode_error = self._on_black.decode_error

    def close(self) -> None:
        self._files.close()

    def _layers(self) -> Iterator[tuple[ByteArray, ByteArray]]:
        """Colours, BGR, and alpha of every frame."""
        frames, white = iter(self._on_black), iter(self._on_white)
        first, first_on_white = next(frames, None), next(white, None)
        if first is None or first_on_white is None:
            return
        own = alpha_of(first, first_on_white)
        if own.min() == 255:
            self._on_white.close()
            yield from self._cut(first, frames)
            return
        yield own_colours(i420_to_bgr(first), own), own
        for on_black, on_white in zip(frames, white, strict=False):
            alpha = alpha_of(on_black, on_white)
            yield own_colours(i420_to_bgr(on_black), alpha), alpha

    def _cut(self, first: ByteArray, rest: Iterator[ByteArray]) -> Iterator[tuple[ByteArray, ByteArray]]:
        cutter = self._open_cutter()
        yield cutter.cut(i420_to_bgr(first))
        for image in rest:
            yield cutter.cut(i420_to_bgr(image))
        if not cutter.has_person:
            raise _no_person(self._source)


def alpha_of(on_black: ByteArray, on_white: ByteArray) -> ByteArray:
    """Alpha uint8 (h, w) of a frame that was put on both, planar I420."""
    height = on_black.shape[0] * 2 // 3
    difference = as_bytes(cv2.subtract(on_white[:height], on_black[:height]))
    levels = np.rint(255 - np.arange(256) * 255 / LUMA_LEVELS).clip(0, 255).astype(np.uint8)
    levels[:LEAST_DIFFERENCE], levels[LUMA_LEVELS - LEAST_DIFFERENCE + 1 :] = 255, 0
    return levels[difference]


def _no_person(source: Path) -> AvatarError:
    hint = f"{option('--background')} keep leaves it as it is"
    return AvatarError(f"{source} shows no person that could be cut out", hint=hint)
