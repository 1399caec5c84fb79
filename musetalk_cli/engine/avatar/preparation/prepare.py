"""Makes an avatar from an image or a video of a face. Frames are never all in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from musetalk_cli.engine.avatar.avatar_files import (
    FACES_FILE,
    LISTING_FILE,
    RECORD_FILE,
    AvatarRecord,
    describe_files,
)
from musetalk_cli.engine.avatar.inputs.images import encode_png
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.checks.coverings import DOUBTFUL_UNSTEADINESS
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason
from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings, PreparationTools, Progress, Report
from musetalk_cli.engine.avatar.preparation.smoothing import smooth_track
from musetalk_cli.engine.avatar.preparation.stored_clip import StoredClip, store_clip
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack
from musetalk_cli.engine.avatar.visibility import Area, Visibility, mouth_opacity
from musetalk_cli.engine.avatar.whole_folder import create_folder
from musetalk_cli.errors import AvatarError

LEAST_FOUND_SHARE = 0.5


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
    tools: PreparationTools,
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
        tools: what it is made with.
        source_sha256: the input's, for the record.
        is_replacing: whether an existing ``target`` is replaced.
        report: called with every step.
        completing: what the folder gets its name inside of, as with ``create_folder``.

    Raises:
        AvatarError: the input cannot be decoded, fewer than half of its frames have a usable face, the folder cannot be
            written, or it exists and is not to be replaced.
    """
    with create_folder(target, is_replacing=is_replacing, completing=completing) as folder:
        clip = store_clip(source, folder, settings, tools, report)
        visibility = visibility_of(clip.track, clip.size, clip.frame_rate)
        check_track(clip.track, visibility, source, is_still=clip.frame_rate is None)
        report(Progress("smooth", 0, 1))
        points = smooth_track(clip.track, settings.frame_rate).points
        _write_faces(folder, clip, points, visibility)
        record = AvatarRecord(
            width=clip.size[0],
            height=clip.size[1],
            num_frames=len(points),
            frame_rate=clip.frame_rate,
            source_name=os.fsencode(source.name).decode("utf-8", "replace"),
            source_sha256=source_sha256,
            parameters=settings.as_parameters(),
            num_missing=int((~clip.track.is_found).sum()),
            files=describe_files(folder),
        )
        folder.joinpath(RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
        gaps = tuple(clip.track.gaps(visibility.opacity > 0))
        is_doubtful = clip.track.unsteadiness > DOUBTFUL_UNSTEADINESS
        return PreparationResult(record, gaps, clip.track.num_faces, clip.decode_error, is_doubtful)


def _write_faces(folder: Path, clip: StoredClip, points: FloatArray, visibility: Visibility) -> None:
    """Where the face is in each frame, ``points`` float32 (n, 468, 2); where there are several, an image of them."""
    arrays = {"points": points, "is_found": clip.track.is_found, **visibility.as_arrays(), **clip.index}
    np.savez(folder / FACES_FILE, **arrays)
    if clip.track.num_faces > 1:
        from musetalk_cli.engine.avatar.preparation.contact_sheet import draw_faces

        listing = draw_faces(clip.first(), [mesh.points for mesh in clip.track.first_faces])
        folder.joinpath(LISTING_FILE).write_bytes(encode_png(listing))


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
