"""Frames of a clip from any one on, whether or not ffmpeg finds their place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.inputs.video import LEAD_S
from musetalk_cli.engine.dub.clip import Clip, ClipFrames, Skip
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import AvatarError

# MPEG streams have no index, so a seek may end behind the wanted frame, or behind the last keyframe; one into an MP4
# with many B-frames, too. Then more is decoded: from so many seconds before it on, then from the beginning.
LEADS_S = (0.0, LEAD_S)
# By how much of a frame's distance to the one before a seek is early. Not half of it: where a tick lasts as long as a
# frame, ffmpeg rounds the times behind a seek to whole frames.
MARGIN = 0.4


def read_from(clip: Clip, ticks: NDArray[np.int64], first: int, num_frames: int, ffmpeg: str) -> Iterator[ByteArray]:
    """Frames of a clip from the one numbered ``first`` on.

    Args:
        clip: the clip.
        ticks: its timestamps.
        first: the first frame.
        num_frames: how many.
        ffmpeg: path of the executable.

    Raises:
        AvatarError: it has fewer.
    """
    with closing(_open_at(clip, ticks, first, num_frames, ffmpeg)) as frames:
        count = 0
        for image in frames:
            count += 1
            yield image
        if count < num_frames:
            raise AvatarError(f"{clip.path} has {count} frames where it had {num_frames}", hint=frames.decode_error)


def _open_at(clip: Clip, ticks: NDArray[np.int64], first: int, num_frames: int, ffmpeg: str) -> ClipFrames:
    for lead_s in LEADS_S:
        start = int(np.searchsorted(ticks, ticks[first] - lead_s * clip.timescale))
        if start == 0:
            break
        seek_ticks = float(ticks[start]) - MARGIN * float(ticks[start] - ticks[start - 1])
        skip_ticks = float(ticks[first] - ticks[start]) - MARGIN * float(ticks[first] - ticks[first - 1])
        skip = Skip(seek_ticks / clip.timescale, skip_ticks / clip.timescale if start < first else 0.0)
        try:
            frames = ClipFrames(clip, ffmpeg, skip=skip, num_frames=num_frames)
        except AvatarError:  # no frame behind that place
            continue
        if _begins_with(frames, ticks, first, seek_ticks):
            return frames
        frames.close()
    return ClipFrames(clip, ffmpeg, skip=Skip(num_frames=first), num_frames=num_frames)


def _begins_with(frames: ClipFrames, ticks: NDArray[np.int64], first: int, seek_ticks: float) -> bool:
    """Whether the first of these frames is the one numbered ``first``."""
    found = frames.ticks
    step = int(np.diff(ticks[first - 1 : first + 2]).min())
    return len(found) > 0 and abs(float(found[0]) + seek_ticks - float(ticks[first])) <= step / 2
