"""The model under test, bound to frames of one size, and the pipelines that are run on it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from musetalk_cli.app.assembly import build_model
from musetalk_cli.app.avatars.choice import ChosenAvatar
from musetalk_cli.app.live_assembly import live_encoder_settings, live_pipeline_settings
from musetalk_cli.app.settings.tools import find_codec, find_ffmpeg
from musetalk_cli.benchmark.workload.endpoints import PushSource, TimestampSink
from musetalk_cli.benchmark.workload.figures import FrameSize
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings, read_whole
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.engine.video.encoder import EncoderProcess

if TYPE_CHECKING:
    from musetalk_cli.engine.models.musetalk.model import MuseTalkModel

PORTRAIT = "nora"


@dataclass(frozen=True)
class Subject:
    """``model`` makes faces for ``shown``, which is ``avatar`` (in its own size) in frames of ``size``."""

    config: Config
    name: str
    size: FrameSize
    avatar: Avatar
    shown: Avatar
    model: LipSyncModel
    ffmpeg: str
    codec: str

    @property
    def settings(self) -> PipelineSettings:
        """As a live stream's."""
        return live_pipeline_settings(self.config, self.name)

    def start_encoder(self) -> EncoderProcess:
        """A fresh ffmpeg with a live stream's options. Raises EncoderError."""
        chosen = _choose(self.avatar, self.size)
        return EncoderProcess(self.ffmpeg, live_encoder_settings(self.config, chosen, 1, self.codec))

    def build_pipeline(self, voice: PushSource, clock: TimestampSink) -> Pipeline:
        """A pipeline with no pace, ready to start. Raises EncoderError."""
        started_at = time.perf_counter()
        feed = read_whole(voice, self.model, self.settings)
        return Pipeline(feed, self.model, self.shown, self.start_encoder(), clock, self.settings, started_at)

    def clone_for(self, size: FrameSize) -> Subject:
        """The same for frames of another size, or for another stream of this one; nets are shared."""
        avatar = draw_avatar(size)
        if self.name == "warp":
            model = build_model(self.config, self.name, _choose(avatar, size), avatar, lambda text: None)
        else:
            from musetalk_cli.engine.models.musetalk.face.face_parts import PartSettings, derive_face_parts

            parts = derive_face_parts(avatar, PartSettings())
            model = cast("MuseTalkModel", self.model).clone_for(avatar, parts, size.height)
        return replace(self, size=size, avatar=avatar, shown=avatar.resized(size.height), model=model)


def open_subject(config: Config, name: str, size: FrameSize, tell: Tell) -> Subject:
    """Load the model called ``name``. Raises MuseTalkError."""
    ffmpeg = find_ffmpeg(config, tell)
    codec = find_codec(config, ffmpeg)
    avatar = draw_avatar(size)
    model = build_model(config, name, _choose(avatar, size), avatar, tell)
    return Subject(config, name, size, avatar, avatar.resized(size.height), model, ffmpeg, codec)


def draw_avatar(size: FrameSize) -> Avatar:
    """A drawn portrait as high as the frame, its background carried on to both sides to the frame's shape."""
    portrait = open_portrait(describe_portrait(PORTRAIT))
    width = 2 * round(portrait.height * size.width / size.height / 2)
    left, right = (width - portrait.width) // 2, (width - portrait.width + 1) // 2
    if not width > portrait.width:
        return portrait
    image = as_bytes(cv2.copyMakeBorder(portrait.frames.image(), 0, 0, left, right, cv2.BORDER_REPLICATE))
    shift = np.array([left, 0], np.float32)
    face = Landmarks(**{name: points + shift for name, points in vars(portrait.landmarks[0]).items()})
    lids = portrait.eyelids
    if lids:
        x, *rest = lids.box
        lids = replace(lids, box=(x + left, rest[0], rest[1], rest[2]))
    return replace(portrait, frames=StillFrames(image), landmarks=(face,), eyelids=lids)


def _choose(avatar: Avatar, size: FrameSize) -> ChosenAvatar:
    return ChosenAvatar(avatar.width, avatar.height, size.height, lambda: avatar)
