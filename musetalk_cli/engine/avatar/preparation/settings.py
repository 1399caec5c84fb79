"""How an avatar is made, what it is made with, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from musetalk_cli.engine.avatar.frame_store import JPEG_QUALITY
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.preparation.cutout.background import KEPT, Background
from musetalk_cli.engine.avatar.preparation.cutout.cut_frames import OpenCutter
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder

# Raised when the same input would come out differently: avatars made before are then rebuilt.
METHOD = 7


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

    @property
    def clip(self) -> ClipSettings:
        """Which part of a video is used, and how."""
        return ClipSettings(self.frame_rate, self.start_s, self.max_seconds, self.height_px)


@dataclass(frozen=True)
class PreparationTools:
    """What an avatar is made with: ``open_finder`` finds faces; it may download its nets, so it is called once there is
    an image to search. ``open_cutter`` likewise, where a person is to be cut out. ``ffmpeg``: path of the executable.
    """

    open_finder: Callable[[], FaceFinder]
    open_cutter: OpenCutter
    ffmpeg: str


class Progress(NamedTuple):
    """``stage`` is what is being done; ``done`` of ``total`` steps of it are finished, ``total`` None where unknown."""

    stage: str
    done: int
    total: int | None


Report = Callable[[Progress], None]
