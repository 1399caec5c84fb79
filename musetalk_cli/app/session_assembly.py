"""From settings to sessions: any number of them share an avatar's frames and a model's weights."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from musetalk_cli.app.assembly import build_model, encoder_settings
from musetalk_cli.app.live_assembly import live_encoder_settings, refuse_official_script
from musetalk_cli.app.model_choice import choose_model
from musetalk_cli.app.settings.arguments import check_arguments
from musetalk_cli.app.settings.tools import find_codec, find_ffmpeg
from musetalk_cli.configuration.schema import BlockSeconds, LeadSeconds
from musetalk_cli.engine.types.session import PixelFormat
from musetalk_cli.errors import SessionError
from musetalk_cli.ui.console import say_nothing

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.choice import ChosenAvatar
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.live.clock import StreamClock
    from musetalk_cli.engine.models.base import LipSyncModel
    from musetalk_cli.engine.session import Session
    from musetalk_cli.engine.types.messages import ByteArray, Tell
    from musetalk_cli.engine.video.output import FragmentEncoder

Output = Literal["frames", "fragments"]
# As many frames share a call of the model as a block of a conversation has, and the first leave soon.
BATCH_SIZE = 4


@dataclass(frozen=True)
class SessionArguments:
    """What ``open_session`` takes besides settings; of ``block_s`` and ``lead_s``, None is the setting's value."""

    output: Output = "frames"
    pixel_format: PixelFormat = "i420"
    block_s: BlockSeconds | None = None
    lead_s: LeadSeconds | None = None
    num_channels: Literal[1, 2] = 1


@dataclass(frozen=True)
class OpenAvatar:
    """An avatar with a model bound to it, ready to speak in any number of sessions at once.

    ``width``, ``height`` of the video in pixels; ``frame_rate`` in frames per second. ``close`` it when all of its
    sessions are closed.
    """

    name: str
    width: int
    height: int
    frame_rate: Fraction
    _config: Config
    _chosen: ChosenAvatar
    _own: Avatar  # in its own size
    _shown: Avatar
    _model: LipSyncModel
    _closed: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    def open_session(
        self,
        *,
        output: Output = "frames",
        pixel_format: PixelFormat = "i420",
        block_s: float | None = None,
        lead_s: float | None = None,
        num_channels: int = 1,
        clock: StreamClock | None = None,
        is_patient: bool = False,
    ) -> Session:
        """Begin a session, which lives from now on.

        Args:
            output: ``frames`` hands out images with their audio, ``fragments`` one fragmented MP4.
            pixel_format: of the images, ``i420`` or ``rgb``.
            block_s: seconds of a voice in real time that are taken at once; the setting ``session.block_s`` by default.
            lead_s: how far ahead of the clock frames are handed out; ``session.lead_s`` by default.
            num_channels: of the audio that comes out, 1 or 2.
            clock: the session's time, by default the machine's.
            is_patient: every frame is made, however late.

        Raises:
            ConfigError: an argument is out of range.
            SessionError: the avatar has been closed.
            EncoderError: ``fragments`` were asked for, and the encoder cannot be used.
        """
        from musetalk_cli.engine.session import Session, SessionSettings

        check_arguments(
            SessionArguments,
            output=output,
            pixel_format=pixel_format,
            block_s=block_s,
            lead_s=lead_s,
            num_channels=num_channels,
        )
        if self._closed.is_set():
            raise SessionError(f"avatar '{self.name}' is closed")
        own = self._config.session
        settings = SessionSettings(
            frame_rate=self.frame_rate,
            num_channels=num_channels,
            pixel_format=pixel_format,
            block_s=own.block_s if block_s is None else block_s,
            lead_s=own.lead_s if lead_s is None else lead_s,
            batch_size=BATCH_SIZE,
            max_queued_s=own.max_queued_s,
            late_after_s=math.inf if is_patient else self._config.stream.late_after_s,
            when_slow=self._config.stream.when_slow,
        )
        encoder = open_encoder(self._config, self._chosen, num_channels) if output == "fragments" else None
        return Session(self._model.clone(shares_batches=True), self._shown, settings, encoder, clock=clock)

    def warm_up(self) -> None:
        """Load and run once all that a session of fragments runs, in this thread alone: for processes that are forked
        from here. An ffmpeg is left out."""
        import musetalk_cli.engine.session  # noqa: F401 - loaded for later
        from musetalk_cli.engine.audio.blocks import BlockCutter, split_block
        from musetalk_cli.engine.avatar.kept_frames import KeptFrames
        from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ
        from musetalk_cli.engine.video.compositing import composite

        model, block_s = self._model.clone(shares_batches=True), self._config.session.block_s
        after_s = model.look_ahead_s(block_s)
        cutter = BlockCutter(block_s, model.before_s, after_s, self.frame_rate, leads=False, low_pass=model.low_pass)
        silence = np.zeros((int((block_s + after_s + 0.1) * AUDIO_RATE_HZ), 1), np.int16)
        encoder = open_encoder(self._config, self._chosen, 1) if encodes_here(self._config) else None
        block = next(cutter.push(silence))
        for batch in split_block(block, model.features(block), BATCH_SIZE, self.frame_rate):
            indices = (0,) * len(batch.frames)
            images = tuple(self._shown.frames.read(indices))
            faces = model.make_faces(replace(batch, avatar_frames=indices, images=images))
            frames = composite(faces)
            if encoder:
                encoder.encode(frames.images, batch.audio)
        if encoder:
            encoder.close()
        if isinstance(self._shown.frames, KeptFrames):
            self._shown.frames.read_all()

    @property
    def kind(self) -> str:
        """``built in``, ``still`` or ``video``."""
        if self._chosen.folder is None:
            return "built in"
        return "still" if self._own.is_still else "video"

    def image(self) -> ByteArray:
        """Its first frame, uint8 BGR (height, width, 3), in the video's size."""
        return self._shown.frames.image()

    def close(self) -> None:
        """Release the avatar's frames. Twice is once."""
        self._closed.set()
        self._shown.close()
        self._own.close()

    def __enter__(self) -> OpenAvatar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_avatar(config: Config, tell: Tell) -> OpenAvatar:
    """Open the avatar and the model that the settings name. Raises MuseTalkError."""
    from musetalk_cli.app.avatars.choice import choose_avatar

    refuse_official_script(config)
    name = choose_model(config, tell)
    chosen = choose_avatar(config, tell)
    own = chosen.load()
    try:
        model = build_model(config, name, chosen, own, tell, shares_nets=True)
        shown = own.resized(chosen.height_px)
    except BaseException:
        own.close()
        raise
    return OpenAvatar(
        config.avatar, shown.width, shown.height, config.video.frame_rate, config, chosen, own, shown, model
    )


def open_encoder(config: Config, chosen: ChosenAvatar, num_channels: int) -> FragmentEncoder:
    """What makes a session's fragments: an encoder in this process, or an ffmpeg where that cannot be.

    ``stream.encoder`` decides: ``auto`` and ``x264`` encode in this process where PyAV is installed, a hardware encoder
    in an ffmpeg. Raises EncoderError when a hardware encoder does not work here, or there is no ffmpeg.
    """
    if encodes_here(config):
        from musetalk_cli.engine.video.inprocess_encoder import InProcessEncoder

        return InProcessEncoder(encoder_settings(config, chosen, num_channels))
    from musetalk_cli.engine.video.child_encoder import ChildEncoder

    ffmpeg = find_ffmpeg(config, say_nothing)
    codec = find_codec(config, ffmpeg, for_auto="x264")
    settings = live_encoder_settings(config, chosen, num_channels, codec)
    return ChildEncoder(ffmpeg, settings._replace(has_index=False))


def encodes_here(config: Config) -> bool:
    """Whether ``open_encoder`` encodes in this process."""
    return config.stream.encoder in ("auto", "x264") and find_spec("av") is not None


class SharedAvatars:
    """Opens each avatar once for all sessions that name it, and closes it with the last of them.

    Sessions of other avatars do not wait while one is opened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # never held while anything is opened or closed
        self._shared: dict[Config, _SharedAvatar] = {}

    def open_session(self, config: Config, arguments: SessionArguments) -> Session:
        """A session of the avatar that the settings name. Raises MuseTalkError as ``open_avatar``."""
        with self._lock:
            shared = self._shared.setdefault(config, _SharedAvatar())
            shared.num_sessions += 1
        try:
            session = shared.open(config).open_session(**vars(arguments))
        except BaseException:
            self._release(config)
            raise
        session.on_close(lambda: self._release(config))
        return session

    def _release(self, config: Config) -> None:
        with self._lock:
            shared = self._shared[config]
            shared.num_sessions -= 1
            if shared.num_sessions:
                return
            del self._shared[config]
        shared.close()


class _SharedAvatar:
    """One avatar, opened by the first session that needs it while the others of its own wait."""

    def __init__(self) -> None:
        self.num_sessions = 0
        self._opening = threading.Lock()
        self._avatar: OpenAvatar | None = None

    def open(self, config: Config) -> OpenAvatar:
        with self._opening:
            self._avatar = self._avatar or open_avatar(config, say_nothing)
            return self._avatar

    def close(self) -> None:
        if self._avatar:
            self._avatar.close()


SHARED = SharedAvatars()
