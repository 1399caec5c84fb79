"""A track made whole and calm: gaps filled from both sides, jitter taken out, real motion kept."""

from __future__ import annotations

from fractions import Fraction

from musetalk_cli.engine.avatar.tracking import FaceTrack


def smooth_track(track: FaceTrack, frame_rate: Fraction) -> FaceTrack:
    """The same track with finite points in every frame, smoothed without lag within each shot.

    Frames that had no usable face get theirs from their neighbours in the same shot; a shot without any takes the
    nearest found frame's. ``is_found`` and ``trouble`` stay as they were. Raises AvatarError when no frame has a face.
    """
    raise NotImplementedError
