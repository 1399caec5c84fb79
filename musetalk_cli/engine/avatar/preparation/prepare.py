"""Makes an avatar from an image or a video of a face. Each frame is read once, and they are never all in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musetalk_cli.engine.avatar.avatar_files import (
    ALPHA_FILE,
    ALPHAS_FILE,
    FACES_FILE,
    FRAMES_FILE,
    IMAGE_FILE,
    LISTING_FILE,
    RECORD_FILE,
    AvatarRecord,
    describe_files,
)
from musetalk_cli.engine.avatar.frame_store import JPEG_QUALITY, AlphaStoreWriter, FrameStoreWriter, encode_alpha
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.images import encode_png
from musetalk_cli.engine.avatar.inputs.sources import FrameSource, is_still, open_frames, read_still
from musetalk_cli.engine.avatar.preparation.checks.coverings import DOUBTFUL_UNSTEADINESS
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason
from musetalk_cli.engine.avatar.preparation.contact_sheet import draw_faces
from musetalk_cli.engine.avatar.preparation.cutout.background import KEPT, Background
from musetalk_cli.engine.avatar.preparation.cutout.cut_frames import CutFrames, OpenCutter, cut_still
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.avatar.preparation.frame_tee import FrameTee, check_size
from musetalk_cli.engine.avatar.preparation.smoothing import smooth_track
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack, track_face
from musetalk_cli.engine.avatar.visibility import Area, Visibility, mouth_opacity
from musetalk_cli.engine.avatar.whole_folder import create_folder
from musetalk_cli.engine.types.colour import ByteArray, i420_to_bgr
from musetalk_cli.errors import AvatarError

# Raised when the same input would come out differently: avatars made before are then rebuilt.
METHOD = 6
LEAST_FOUND_SHARE = 0.5


@dataclass(frozen=True)
class PreparationSettings:
    """How an avatar is made.

    ``frame_rate``: frames a second that a video is resampled to. ``start_s``, ``max_seconds``: the part of it that is
    used (None: to the end, MAX_CLIP_S at most). ``height_px``: scaled down to this height if it is higher. ``face``:
    which one, 1 the largest; None the largest. ``bbox_shift``: pixels by which MuseTalk's box moves down.
    ``background``: what is behind the person. ``is_lossless``: a video's frames are stored without loss.
    """

    frame_rate: Fraction = Fraction(25)
    start_s: float = 0.0
    max_seconds: float | None = None
    height_px: int | None = None
    face: int | None = None
    bbox_shift: int = 0
    background: Background = KEPT
    is_lossless: bool = False

    def as_parameters(self) -> dict[str, Any]:
        """Everything that decides what comes out, as JSON has it: an avatar is rebuilt when any of it differs.

        Raises AvatarError when the image of a background cannot be read.
        """
        own = {**asdict(self), "frame_rate": str(self.frame_rate), **self.background.as_parameters()}
        own["jpeg_quality"] = None if own.pop("is_lossless") else JPEG_QUALITY
        return {**own, "method": METHOD}


class Progress(NamedTuple):
    """``stage`` is what is being done; ``done`` of ``total`` steps of it are finished, ``total`` None where unknown."""

    stage: str
    done: int
    total: int | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class PreparationResult:
    """The ``record`` of an avatar that was made, and what its user should know about it.

    ``gaps``: runs of frames that stay as they are, first and last frame and why. ``num_faces``: the most seen at once.
    ``decode_error``: why the video ended before its time, or empty. ``is_doubtful``: the face may not be a person's, or
    something may hide its mouth.
    """

    record: AvatarRecord
    gaps: tuple[tuple[int, int, RejectReason], ...]
    num_faces: int
    decode_error: str
    is_doubtful: bool = False


def prepare_avatar(
    source: Path,
    target: Path,
    settings: PreparationSettings,
    open_finder: Callable[[], FaceFinder],
    open_cutter: OpenCutter,
    ffmpeg: str,
    *,
    source_sha256: str,
    is_replacing: bool,
    report: Report,
    completing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> PreparationResult:
    """Make the avatar folder ``target`` from an image, a video or a folder of images.

    Nothing is left behind when it fails or is interrupted.

    Args:
        source: the input.
        target: the folder to be made.
        settings: how the avatar is made.
        open_finder: may download its nets, so it is called once there is an image to search.
        open_cutter: likewise; called where a person is to be cut out.
        ffmpeg: path of the executable.
        source_sha256: the input's, for the record.
        is_replacing: whether an existing ``target`` is replaced.
        report: called with every step.
        completing: what the folder gets its name inside of, as with ``create_folder``.

    Raises:
        AvatarError: the input cannot be decoded, fewer than half of its frames have a usable face, the folder cannot be
            written, or it exists and is not to be replaced.
    """
    clip_settings = ClipSettings(settings.frame_rate, settings.start_s, settings.max_seconds, settings.height_px)
    get_finder = cache(open_finder)
    with create_folder(target, is_replacing=is_replacing, completing=completing) as folder:
        clip = _take_still(source, folder, settings, get_finder, open_cutter) if is_still(source) else None
        clip = clip or _take_video(source, folder, clip_settings, settings, get_finder, open_cutter, ffmpeg, report)
        visibility = visibility_of(clip.track, clip.size, clip.frame_rate)
        check_track(clip.track, visibility, source, is_still=clip.frame_rate is None)
        report(Progress("smooth", 0, 1))
        points = smooth_track(clip.track, settings.frame_rate).points
        arrays = {"points": points, "is_found": clip.track.is_found, **visibility.as_arrays(), **clip.index}
        np.savez(folder / FACES_FILE, **arrays)
        if clip.track.num_faces > 1:
            listing = draw_faces(clip.first(), [mesh.points for mesh in clip.track.first_faces])
            folder.joinpath(LISTING_FILE).write_bytes(encode_png(listing))
        record = AvatarRecord(
            width=clip.size[0],
            height=clip.size[1],
            num_frames=len(points),
            frame_rate=clip.frame_rate,
            source_name=source.name,
            source_sha256=source_sha256,
            parameters=settings.as_parameters(),
            num_missing=int((~clip.track.is_found).sum()),
            files=describe_files(folder),
        )
        folder.joinpath(RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
        gaps = tuple(clip.track.gaps(visibility.opacity > 0))
        is_doubtful = clip.track.unsteadiness > DOUBTFUL_UNSTEADINESS
        return PreparationResult(record, gaps, clip.track.num_faces, clip.decode_error, is_doubtful)


@dataclass(frozen=True)
class _Clip:
    """Frames that have been written: their size (width, height), the face in them, the arrays that find them, and
    what gives the ``first``."""

    size: tuple[int, int]
    frame_rate: Fraction | None
    track: FaceTrack
    index: dict[str, Any]
    first: Callable[[], ByteArray]
    decode_error: str = ""


def _take_still(
    source: Path,
    folder: Path,
    settings: PreparationSettings,
    get_finder: Callable[[], FaceFinder],
    open_cutter: OpenCutter,
) -> _Clip:
    if settings.background.is_kept:
        return _write_still(read_still(source, settings.height_px), None, folder, settings, get_finder())
    image, alpha = cut_still(source, settings.height_px, settings.background, open_cutter)
    return _write_still(image, alpha, folder, settings, get_finder())


def _write_still(
    image: ByteArray, alpha: ByteArray | None, folder: Path, settings: PreparationSettings, finder: FaceFinder
) -> _Clip:
    height, width = image.shape[:2]
    check_size(width, height)
    track = track_face([image], finder, face=settings.face)
    folder.joinpath(IMAGE_FILE).write_bytes(encode_png(image))
    if alpha is not None:
        folder.joinpath(ALPHA_FILE).write_bytes(encode_alpha(alpha))
    return _Clip((width, height), None, track, {}, lambda: image)


def _take_video(
    source: Path,
    folder: Path,
    clip_settings: ClipSettings,
    settings: PreparationSettings,
    get_finder: Callable[[], FaceFinder],
    open_cutter: OpenCutter,
    ffmpeg: str,
    report: Report,
) -> _Clip:
    """Decode, follow the face and store, each frame once; of a video that shows one image all the time, a still.

    ``get_finder`` is called when ffmpeg has found an image in ``source``, though it may be one that cannot be decoded.
    """
    path = folder / FRAMES_FILE
    with ExitStack() as opened:
        alphas = AlphaStoreWriter(folder / ALPHAS_FILE) if settings.background.is_transparent else None
        if alphas is not None:
            opened.enter_context(alphas)
        frames = opened.enter_context(closing(_open(source, ffmpeg, clip_settings, settings, open_cutter, alphas)))
        tee = FrameTee(frames, lambda done: report(Progress("frames", done, frames.num_frames)))
        with FrameStoreWriter(path, is_lossless=settings.is_lossless) as writer:
            track = track_face(tee.images(writer), get_finder(), face=settings.face)
        decode_error = frames.decode_error
    if tee.last is None or tee.first is None:
        raise AvatarError(f"{source} holds no frame that can be decoded", hint=decode_error)
    if not tee.is_moving:
        path.unlink()
        folder.joinpath(ALPHAS_FILE).unlink(missing_ok=True)
        alpha = frames.first_alpha if isinstance(frames, CutFrames) else None
        return _write_still(i420_to_bgr(tee.first), alpha, folder, settings, get_finder())
    size = (tee.last.shape[1], tee.last.shape[0] * 2 // 3)
    index = {"offsets": writer.offsets, "checksums": writer.checksums}
    if alphas is not None:
        index |= {"alpha_offsets": alphas.offsets, "alpha_checksums": alphas.checksums}
    return _Clip(size, clip_settings.frame_rate, track, index, partial(i420_to_bgr, tee.first), decode_error)


def _open(
    source: Path,
    ffmpeg: str,
    clip: ClipSettings,
    settings: PreparationSettings,
    open_cutter: OpenCutter,
    alphas: AlphaStoreWriter | None,
) -> FrameSource:
    if settings.background.is_kept:
        return open_frames(source, ffmpeg, clip)
    return CutFrames(source, ffmpeg, clip, settings.background, open_cutter, alphas)


def visibility_of(track: FaceTrack, size: tuple[int, int], frame_rate: Fraction | None) -> Visibility:
    """In which frames of a track the mouth can be replaced; ``size``: their width and height, ``frame_rate`` None for a
    still."""
    area = track.area or Area.whole(*size)
    if frame_rate is None:
        return Visibility(track.is_found.astype(np.float32), track.is_cut, area)
    opacity = mouth_opacity(track.is_found, track.is_cut, track.is_alike, track.points, float(frame_rate))
    return Visibility(opacity, track.is_cut, area)


def check_track(track: FaceTrack, visibility: Visibility, source: Path, *, is_still: bool) -> None:
    """Raise AvatarError, with the figure and the most frequent reason, when too few frames have a usable face."""
    is_shown = visibility.opacity > 0
    count, found = len(is_shown), int(is_shown.sum())
    if found and found >= LEAST_FOUND_SHARE * count:
        return
    reasons: Counter[RejectReason] = Counter()
    for first, last, why in track.gaps(is_shown):
        reasons[why] += last - first + 1
    reason = reasons.most_common(1)[0][0]
    hint = _HINTS.get(reason, "")
    if is_still:
        raise AvatarError(f"{source}: {reason.value}", hint=hint)
    share = f"only {found} of {count} frames ({100 * found / count:.0f} %) have a usable face"
    raise AvatarError(f"{source}: {share}; most often: {reason.value}", hint=hint)


_HINTS = {
    RejectReason.NO_FACE: "it must show a face from the front, lit and sharp",
    RejectReason.CUT_OFF: "the whole face must be in the image, chin and forehead included",
    RejectReason.PROFILE: "the face must look at the camera, not aside",
    RejectReason.TOO_SMALL: "crop the image so that the face is larger",
    RejectReason.COVERED: "take off what hides the mouth: a mask, a hand, a microphone",
    RejectReason.NO_PERSON: "it must show a person's face, with the mouth in sight",
    RejectReason.IMPLAUSIBLE: "it must show a face from the front, lit and sharp",
}
