"""From settings and a request to the pipeline of a live stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.assembly import build_model, encoder_settings, pipeline_settings
from musetalk_cli.app.model_choice import choose_model
from musetalk_cli.app.settings.tools import find_codec, find_ffmpeg
from musetalk_cli.configuration.origins import blaming
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.choice import ChosenAvatar
    from musetalk_cli.engine.audio.block_feed import BlockFeed
    from musetalk_cli.engine.audio.sources import AudioSource
    from musetalk_cli.engine.live.clock import PacingBudget
    from musetalk_cli.engine.live.feed import LiveFeed
    from musetalk_cli.engine.live.hooks import RunHooks
    from musetalk_cli.engine.live.live_pace import LivePace
    from musetalk_cli.engine.live.voice_feed import VoiceFeed
    from musetalk_cli.engine.models.base import LipSyncModel
    from musetalk_cli.engine.outputs.fan_out import FanOut
    from musetalk_cli.engine.outputs.targets import Target
    from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.engine.video.encoder import EncoderSettings

STDIN = "-"
# At most half a frame, so that every frame leaves as a fragment of its own.
MOST_FRAGMENT_S = 0.02
# The block that ``video_send_interval`` is told for, seconds.
SEND_BLOCK_S = 2.0
# Beyond a block and its look-ahead: what the way from 48 to 16 kHz keeps back, and one piece of the feed.
HEAD_MARGIN_S = 0.05
DEFAULT_RATE_HZ = 24_000  # raw samples: what most speech synthesisers write


@dataclass(frozen=True)
class LiveInput:
    """Where the voice of a stream comes from: a microphone (``location`` None), or a file, URL or stdin, which with a
    ``sample_format`` holds raw samples."""

    location: str | None
    device: str | None = None
    sample_format: str | None = None
    rate_hz: int | None = None
    num_channels: int = 1
    is_paced: bool = True
    duration_s: float | None = None

    @property
    def is_microphone(self) -> bool:
        return self.location is None

    @property
    def pauses(self) -> bool:
        """Whether it may say nothing for a while without having ended."""
        return self.location is not None and (self.location == STDIN or "://" in self.location)


def open_targets(config: Config, input_: LiveInput, outputs: list[str], *, overwrite: bool, tell: Tell) -> FanOut:
    """Check every destination and make its target; nothing is created or called yet.

    Args:
        config: ffmpeg, the frame rate, and what happens when a target is lost.
        input_: a source that can be kept waiting is, for a single target that is slow.
        outputs: as ``-o`` names them.
        overwrite: whether older files may be replaced.
        tell: takes lines for the user.

    Raises:
        SinkError: a destination is wrong, or named twice.
    """
    from musetalk_cli.engine.outputs.destinations import open_sink, parse_destination
    from musetalk_cli.engine.outputs.fan_out import FanOut
    from musetalk_cli.engine.outputs.remux import RemuxTarget
    from musetalk_cli.engine.outputs.remuxed_file import Remuxer
    from musetalk_cli.engine.outputs.targets import LocalTarget

    ffmpeg = find_ffmpeg(config, tell)
    # ffmpeg 5.1 takes a Matroska file's rate from how long the first frame lasts, whatever -r says.
    of_files = find_ffmpeg(config, tell, is_local=True) if _repacks(outputs) else ffmpeg
    remuxer = Remuxer(of_files, config.video.frame_rate)
    targets: list[Target] = []
    places: set[str] = set()
    for output in outputs:
        destination = parse_destination(output, overwrite=overwrite)
        places.add(destination.url if destination else output)
        if destination:
            targets.append(RemuxTarget(destination, ffmpeg, config.video.frame_rate, tell))
        else:
            targets.append(LocalTarget(open_sink(output, overwrite=overwrite, remuxer=remuxer), tell))
    if len(places) < len(outputs):
        raise SinkError("one output is named twice", hint="name each target once")
    return FanOut(targets, config.stream.on_sink_loss, tell, waits=not input_.is_microphone)


def _repacks(outputs: Sequence[str]) -> bool:
    """Whether some output is a file in another container than MP4."""
    from musetalk_cli.engine.outputs.remuxed_file import FORMATS

    return any(Path(output).suffix.lower() in FORMATS for output in outputs)


def build_live_pipeline(
    config: Config, input_: LiveInput, fan_out: FanOut, started_at: float, tell: Tell, notify: Tell
) -> Pipeline:
    """A pipeline from a live source to its targets, ready to start.

    Args:
        config: all settings.
        input_: where the voice comes from.
        fan_out: takes the encoded stream.
        started_at: when the command began, by ``time.perf_counter()``.
        tell: takes lines for the user until it runs.
        notify: takes them from its threads while it runs.

    Raises:
        MuseTalkError: whatever is wrong with the input, the avatar or ffmpeg.
    """
    from musetalk_cli.app.avatars.choice import choose_avatar, tell_opaque
    from musetalk_cli.engine.pipeline import Pipeline
    from musetalk_cli.engine.video.encoder import EncoderProcess

    refuse_official_script(config)
    if input_.sample_format and input_.rate_hz is None:
        tell(f"taking {input_.sample_format} at {DEFAULT_RATE_HZ} Hz; --rate names another rate")
    ffmpeg = find_ffmpeg(config, tell)
    with ExitStack() as failing:
        source = _make_source(config, input_, ffmpeg, notify)
        failing.callback(source.close)
        name = choose_model(config, tell)
        chosen = choose_avatar(config, tell)
        codec = find_codec(config, ffmpeg)
        if not (input_.is_microphone or input_.location == STDIN):
            source.open()  # only its first bytes say how many channels it has
        has_file = any(target.is_file for target in fan_out.targets)
        settings = live_encoder_settings(config, chosen, source.num_channels, codec)._replace(has_index=has_file)
        encoder = EncoderProcess(ffmpeg, settings)
        failing.callback(encoder.close)
        tell_opaque(config, chosen, tell)
        avatar = chosen.load()
        failing.callback(avatar.close)
        model = build_model(config, name, chosen, avatar, tell)
        if input_.is_microphone or (input_.location == STDIN and not input_.is_paced):
            source.open()  # as late as possible: what it says while we still load would only be late
        shown, pipeline_settings_ = avatar.resized(chosen.height_px), live_pipeline_settings(config, name)
        feed, hooks = _build_feed(config, input_, source, model, pipeline_settings_, fan_out)
        failing.callback(feed.close)
        pipeline = Pipeline(feed, model, shown, encoder, fan_out, pipeline_settings_, started_at, hooks)
        failing.pop_all()
        return pipeline


def _make_source(config: Config, input_: LiveInput, ffmpeg: str, tell: Tell) -> AudioSource:
    from musetalk_cli.engine.audio.decoder import DecoderProcess
    from musetalk_cli.engine.audio.microphone import MicrophoneSource
    from musetalk_cli.engine.audio.raw_pcm import RawSource
    from musetalk_cli.engine.audio.sources import FileSource

    source: AudioSource
    if input_.location is None:
        source = MicrophoneSource(input_.device, input_.rate_hz, config.stream.on_source_loss, tell)
    elif input_.sample_format:
        source = RawSource(input_.sample_format, input_.rate_hz or DEFAULT_RATE_HZ, input_.num_channels)
    else:
        source = FileSource(DecoderProcess(input_.location, ffmpeg, is_live=True), tell)
    return source


def _build_feed(
    config: Config,
    input_: LiveInput,
    source: AudioSource,
    model: LipSyncModel,
    settings: PipelineSettings,
    fan_out: FanOut,
) -> tuple[BlockFeed, RunHooks | None]:
    """The source as the pipeline reads it, and what runs it against a clock; neither has one without ``is_paced``."""
    from musetalk_cli.engine.audio.sources import Limited
    from musetalk_cli.engine.pipeline import read_whole

    if not input_.is_paced:
        limited = source if input_.duration_s is None else Limited(source, input_.duration_s)
        return read_whole(limited, model, settings), None
    feed, hooks, budget = _put_on_clock(config, input_, source, model, fan_out)
    feed.open()
    return _plan_voice(input_, feed, model, settings, hooks, budget), hooks


def _plan_voice(
    input_: LiveInput,
    source: AudioSource,
    model: LipSyncModel,
    settings: PipelineSettings,
    hooks: LivePace,
    budget: PacingBudget,
) -> VoiceFeed:
    """One utterance that lasts as long as the source, after idle frames until its first block is there; a file has it
    at once. It is read no further ahead than the pipeline takes."""
    from musetalk_cli.engine.live.timeline import Timeline, TimelineSettings
    from musetalk_cli.engine.live.voice_feed import VoiceFeed

    after_s = model.look_ahead_s(settings.block_s)
    timeline = Timeline(
        TimelineSettings(
            settings.frame_rate,
            source.num_channels,
            settings.block_s,
            model.before_s,
            after_s,
            leads=True,
            low_pass=model.low_pass,
            is_idle_first=input_.is_microphone or input_.pauses,
            fills=False,
            max_queued_s=settings.block_s + after_s + HEAD_MARGIN_S,
            num_frames=None if input_.duration_s is None else max(1, round(input_.duration_s * settings.frame_rate)),
        ),
        lambda frame: budget.idle_wait_s(float(frame / settings.frame_rate)),
    )
    return VoiceFeed(timeline, source, hooks.process_audio, hooks.begin_utterance)


def _put_on_clock(
    config: Config, input_: LiveInput, source: AudioSource, model: LipSyncModel, fan_out: FanOut
) -> tuple[LiveFeed, LivePace, PacingBudget]:
    """The source in real time, and what a pipeline asks and tells meanwhile."""
    from musetalk_cli.engine.live.clock import PacingBudget, PacingSettings, StreamClock
    from musetalk_cli.engine.live.feed import LiveFeed
    from musetalk_cli.engine.live.live_pace import LivePace
    from musetalk_cli.engine.live.overload import Overload

    settings = PacingSettings(
        head_s=config.audio.target_duration + model.after_s + HEAD_MARGIN_S,
        lead_s=config.stream.buffer_s,
        generation_speed=config.video.generation_speed_multiplier,
        fill_rate=SEND_BLOCK_S / config.performance.video_send_interval,
        can_run_ahead=not input_.is_microphone,
    )
    budget = PacingBudget(StreamClock(), settings)
    opens_late = input_.location == STDIN
    feed = LiveFeed(source, budget, fills_gaps=input_.pauses, opens_late=opens_late)
    overload = Overload(config.stream.when_slow, config.stream.late_after_s)
    hooks = LivePace(budget, overload, config.video.frame_rate)
    hooks.health = fan_out.health
    hooks.drop_waiting = fan_out.drop_waiting
    hooks.count_filled = lambda: feed.num_filled
    hooks.count_overruns = lambda: getattr(source, "num_overruns", 0)
    fan_out.on_frames = hooks.note_out
    fan_out.on_wait = budget.clock.pause
    return feed, hooks, budget


def refuse_official_script(config: Config) -> None:
    """Raise ConfigError where settings ask for what only a whole file has."""
    if config.compat == "upstream":
        hint = "leave 'compat' out of the settings, or use musetalk render"
        with blaming(config, "compat"):
            raise ConfigError(
                "the official script uses up to 30 s of future audio, which a stream does not have", hint=hint
            )


def live_encoder_settings(config: Config, chosen: ChosenAvatar, num_channels: int, codec: str) -> EncoderSettings:
    """As for a file, but every frame leaves at once. ``codec`` is ffmpeg's name of the video encoder."""
    fragment_s = min(MOST_FRAGMENT_S, float(1 / (2 * config.video.frame_rate)))
    return encoder_settings(config, chosen, num_channels, codec=codec, fragment_s=fragment_s)


def live_pipeline_settings(config: Config, name: str) -> PipelineSettings:
    """As for a file, with batches that give every worker a part of even a short block."""
    settings = pipeline_settings(config, name)
    num_frames = ceil(settings.block_s * settings.frame_rate)
    share = max(1, ceil(num_frames / settings.num_workers))
    return settings._replace(batch_size=min(settings.batch_size, share))
