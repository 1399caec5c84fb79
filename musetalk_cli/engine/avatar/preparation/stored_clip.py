"""From an input to frames in an avatar's folder, and the face that was followed in them. Each frame is read once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

from musetalk_cli.engine.avatar.avatar_files import ALPHA_FILE, ALPHAS_FILE, FRAMES_FILE, IMAGE_FILE
from musetalk_cli.engine.avatar.frame_store import AlphaStoreWriter, FrameStoreWriter, encode_alpha
from musetalk_cli.engine.avatar.inputs.images import encode_png
from musetalk_cli.engine.avatar.inputs.sources import FrameSource, is_still, open_frames, read_still
from musetalk_cli.engine.avatar.preparation.cutout.cut_frames import CutFrames, cut_still
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.avatar.preparation.frame_tee import FrameTee, check_size
from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings, PreparationTools, Progress, Report
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack, track_face
from musetalk_cli.engine.types.colour import ByteArray, i420_to_bgr
from musetalk_cli.errors import AvatarError


@dataclass(frozen=True)
class StoredClip:
    """Frames that have been written.

    ``size``: width and height, pixels. ``frame_rate``: None for a still. ``track``: the face in them. ``index``: the
    arrays that find them in their files. ``first``: gives the first, uint8 BGR. ``decode_error``: why the video ended
    before its time, or empty.
    """

    size: tuple[int, int]
    frame_rate: Fraction | None
    track: FaceTrack
    index: dict[str, Any]
    first: Callable[[], ByteArray]
    decode_error: str = ""


def store_clip(
    source: Path, folder: Path, settings: PreparationSettings, tools: PreparationTools, report: Report
) -> StoredClip:
    """Write the frames of an image, a video or a folder of images, and follow the face in them.

    Args:
        source: the input.
        folder: takes the files.
        settings: how the avatar is made.
        tools: what reads and searches the frames.
        report: called with every frame.

    Raises:
        AvatarError: it cannot be decoded, or has fewer faces than were asked for.
    """
    writing = _Writing(source, folder, settings, tools, report)
    return writing.take_still() if is_still(source) else writing.take_video()


class _Writing:
    """One input on its way into a folder."""

    def __init__(
        self, source: Path, folder: Path, settings: PreparationSettings, tools: PreparationTools, report: Report
    ) -> None:
        self._source, self._folder, self._settings, self._tools = source, folder, settings, tools
        self._report = report
        self._get_finder: Callable[[], FaceFinder] = cache(tools.open_finder)

    def take_still(self) -> StoredClip:
        source, settings = self._source, self._settings
        if settings.background.is_kept:
            return self._write_still(read_still(source, settings.height_px), None)
        return self._write_still(*cut_still(source, settings.height_px, settings.background, self._tools.open_cutter))

    def take_video(self) -> StoredClip:
        """Decode, follow the face and store; of a video that shows one image all the time, a still.

        The nets are opened when ffmpeg has found an image, though it may be one that cannot be decoded.
        """
        with ExitStack() as opened:
            has_alpha = self._settings.background.is_transparent
            alphas = AlphaStoreWriter(self._folder / ALPHAS_FILE) if has_alpha else None
            if alphas is not None:
                opened.enter_context(alphas)
            frames = opened.enter_context(closing(self._open_frames(alphas)))
            tee = FrameTee(frames, lambda done: self._report(Progress("frames", done, frames.num_frames)))
            writer = FrameStoreWriter(self._folder / FRAMES_FILE, is_lossless=self._settings.is_lossless)
            with writer:
                track = track_face(tee.images(writer), self._get_finder(), face=self._settings.face)
            decode_error = frames.decode_error
        if tee.last is None or tee.first is None:
            raise AvatarError(f"{self._source} holds no frame that can be decoded", hint=decode_error)
        if not tee.is_moving:
            return self._replace_by_still(tee.first, frames)
        size = (tee.last.shape[1], tee.last.shape[0] * 2 // 3)
        index = _index_of(writer, alphas)
        return StoredClip(size, self._settings.frame_rate, track, index, partial(i420_to_bgr, tee.first), decode_error)

    def _open_frames(self, alphas: AlphaStoreWriter | None) -> FrameSource:
        settings, tools = self._settings, self._tools
        if settings.background.is_kept:
            return open_frames(self._source, tools.ffmpeg, settings.clip)
        return CutFrames(self._source, tools.ffmpeg, settings.clip, settings.background, tools.open_cutter, alphas)

    def _replace_by_still(self, image: ByteArray, frames: FrameSource) -> StoredClip:
        """Store an image, planar I420, in place of the frames that all show it."""
        self._folder.joinpath(FRAMES_FILE).unlink()
        self._folder.joinpath(ALPHAS_FILE).unlink(missing_ok=True)
        return self._write_still(i420_to_bgr(image), frames.first_alpha if isinstance(frames, CutFrames) else None)

    def _write_still(self, image: ByteArray, alpha: ByteArray | None) -> StoredClip:
        height, width = image.shape[:2]
        check_size(width, height)
        track = track_face([image], self._get_finder(), face=self._settings.face)
        self._folder.joinpath(IMAGE_FILE).write_bytes(encode_png(image))
        if alpha is not None:
            self._folder.joinpath(ALPHA_FILE).write_bytes(encode_alpha(alpha))
        return StoredClip((width, height), None, track, {}, lambda: image)


def _index_of(frames: FrameStoreWriter, alphas: AlphaStoreWriter | None) -> dict[str, Any]:
    """The arrays that find the frames in their files."""
    index = {"offsets": frames.offsets, "checksums": frames.checksums}
    if alphas is not None:
        index |= {"alpha_offsets": alphas.offsets, "alpha_checksums": alphas.checksums}
    return index
