"""Avatars and models of a batch: each is opened once, and serves every item that names it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from musetalk_cli.app.assembly import alphas_of, build_model, encoder_settings, official_voice, pipeline_settings
from musetalk_cli.app.model_choice import choose_model
from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.configuration.schema import AudioConfig, Config, ServeConfig, SessionConfig, StreamConfig, VideoConfig
from musetalk_cli.engine.types.addresses import is_address
from musetalk_cli.errors import MuseTalkError

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.choice import ChosenAvatar
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.models.base import LipSyncModel
    from musetalk_cli.engine.outputs.sinks import Sink
    from musetalk_cli.engine.pipeline import Pipeline
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.engine.video.output import FrameOutput

_Key = tuple[Config, bool]
# Avatars that stay open while nobody uses them. One takes the memory of its frames; a neural model's nets are shared.
MAX_IDLE = 4
# How long one that cannot be opened is not tried again.
FAILED_S = 60.0


@dataclass
class _Opened:
    """An avatar with its model. ``num_users``: pipelines that use it now."""

    name: str
    chosen: ChosenAvatar
    own: Avatar  # in its own size
    shown: Avatar
    model: LipSyncModel
    num_users: int = 0

    def close(self) -> None:
        self.shown.close()
        self.own.close()


class OpenAvatars:
    """Opens avatars and models when an item needs them first, and closes those that were not used for longest."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._opened: OrderedDict[_Key, _Opened] = OrderedDict()
        self._failed: dict[_Key, tuple[float, MuseTalkError]] = {}  # and when they were tried

    @contextmanager
    def use(self, config: Config, *, keeps_alpha: bool = False) -> Iterator[_Opened]:
        """The avatar and model that the settings name, open at least until the block is left; one that is transparent
        has its alpha, or is put on the background. Raises MuseTalkError."""
        key = (_only_face(config), keeps_alpha)
        with self._lock:  # one is opened at a time, and once
            opened = self._opened.get(key) or self._open_once(key)
            self._opened[key] = opened
            self._opened.move_to_end(key)
            opened.num_users += 1
            self._close_idle(MAX_IDLE)
        try:
            yield opened
        finally:
            with self._lock:
                opened.num_users -= 1

    def close(self) -> None:
        """Close all that nobody uses."""
        with self._lock:
            self._close_idle(0)

    def _close_idle(self, num_left: int) -> None:
        idle = [key for key, opened in self._opened.items() if not opened.num_users]
        for key in idle[: max(0, len(idle) - num_left)]:
            self._opened.pop(key).close()

    def _open_once(self, key: _Key) -> _Opened:
        """Raise the same error as last time, unless that is long ago: a queue may go on for days."""
        now = time.monotonic()
        self._failed = {other: found for other, found in self._failed.items() if now < found[0] + FAILED_S}
        if key in self._failed:
            # Each time it is raised, it would keep alive what the caller had at hand.
            raise self._failed[key][1].with_traceback(None)
        try:
            return self._open(*key)
        except MuseTalkError as error:
            self._failed[key] = (now, error)
            raise

    def _open(self, config: Config, keeps_alpha: bool) -> _Opened:
        from musetalk_cli.app.avatars.choice import choose_avatar

        name = choose_model(config, self._tell)
        chosen = choose_avatar(config, self._tell)
        own = (chosen.load_layers or chosen.load)() if keeps_alpha else chosen.load()
        try:
            model = build_model(config, name, chosen, own, self._tell, shares_nets=True, starts_often=True)
            return _Opened(name, chosen, own, own.resized(chosen.height_px), model)
        except BaseException:
            own.close()
            raise


def _only_face(config: Config) -> Config:
    """The settings without those that change neither the avatar nor the model."""
    video = VideoConfig(fps=config.video.fps, size=config.video.size)
    return replace(
        config, audio=AudioConfig(), video=video, stream=StreamConfig(), session=SessionConfig(), serve=ServeConfig()
    )


@contextmanager
def open_pipeline(config: Config, voice: str, sink: Sink, avatars: OpenAvatars, tell: Tell) -> Iterator[Pipeline]:
    """A pipeline from a voice to a sink, with an avatar of a batch; closed when the block is left.

    Args:
        config: all settings.
        voice: path or URL of the audio, - for stdin.
        sink: where the video goes.
        avatars: the batch's.
        tell: takes lines for the user.

    Raises:
        MuseTalkError: something is wrong with the input, the model, the avatar or ffmpeg.
    """
    from musetalk_cli.engine.audio.decoder import DecoderProcess
    from musetalk_cli.engine.audio.sources import FileSource
    from musetalk_cli.engine.outputs.whole_file import WrittenBy
    from musetalk_cli.engine.pipeline import Pipeline, read_whole
    from musetalk_cli.engine.video.encoder import EncoderProcess
    from musetalk_cli.engine.video.whole_file_encoder import WholeFileOutput

    ffmpeg = find_ffmpeg(config, tell, is_local=not is_address(voice))
    with ExitStack() as cleanup:
        opening = cleanup.enter_context(ExitStack())  # what a pipeline closes, once there is one
        decoder = DecoderProcess(voice, ffmpeg)
        opening.callback(decoder.close)
        source = FileSource(decoder, tell)
        opened = cleanup.enter_context(avatars.use(config, keeps_alpha=isinstance(sink, WrittenBy)))
        source.open()
        encoder: FrameOutput
        encoding = encoder_settings(config, opened.chosen, source.num_channels)
        if isinstance(sink, WrittenBy):
            alphas = alphas_of(config, opened.model, opened.own, opened.chosen.height_px)
            encoder = WholeFileOutput(ffmpeg, encoding, alphas)
        else:
            process = encoder = EncoderProcess(ffmpeg, encoding)
            opening.callback(process.close)
        model, settings = opened.model.clone(), pipeline_settings(config, opened.name)
        feed = read_whole(source, model, settings, voice=official_voice(config, voice, ffmpeg, tell))
        pipeline = Pipeline(feed, model, opened.shown.shared(), encoder, sink, settings, 0.0)
        opening.pop_all()
        cleanup.callback(pipeline.close)
        yield pipeline
