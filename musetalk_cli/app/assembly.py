"""From a configuration to a pipeline: the one place that passes each part of the engine its settings."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from musetalk_cli.app.model_choice import choose_model, count_cores, open_musetalk
from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.types.addresses import is_address
from musetalk_cli.system.imports import load_apart

if TYPE_CHECKING:
    from musetalk_cli.app.avatars.choice import ChosenAvatar
    from musetalk_cli.app.avatars.loading import LoadingAvatar
    from musetalk_cli.engine.audio.sources import AudioSource
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.models.base import LipSyncModel
    from musetalk_cli.engine.outputs.sinks import Sink
    from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings
    from musetalk_cli.engine.types.messages import ByteArray, FrameBatch, Tell, WholeVoice
    from musetalk_cli.engine.video.encoder import EncoderSettings
    from musetalk_cli.engine.video.output import FrameOutput
    from musetalk_cli.engine.video.whole_file_encoder import ReadAlphas


# On so few cores, x264 at its quickest has one thread for frames of a file up to this size, with which it keeps up with
# what makes them, and for live frames of so many pixels a second, which take a quarter of a core.
FEW_CORES, FEW_PIXELS, FEW_PIXELS_S = 2, 1024 * 1024, 1920 * 1080 * 30


def build_file_pipeline(
    config: Config, voice: str | AudioSource, sink: Sink, started_at: float, tell: Tell
) -> Pipeline:
    """Build a pipeline from a file to a sink.

    Args:
        config: All settings.
        voice: Path or URL of the audio, - for stdin, or a source, which the pipeline owns from then on.
        sink: Where the video goes.
        started_at: When the command began, by ``time.perf_counter()``.
        tell: Takes lines for the user.

    Returns:
        A pipeline that is ready to start.

    Raises:
        MuseTalkError: Something is wrong with the input, the model, the avatar or ffmpeg.
    """
    is_local = not (isinstance(voice, str) and is_address(voice))
    ffmpeg = find_ffmpeg(config, tell, is_local=is_local)
    with ExitStack() as failing:
        # Both ffmpegs start in processes of their own: the decoder while we load what we need and the encoder, which
        # has to know how many channels are decoded, while the avatar is made ready.
        source = _start_source(voice, ffmpeg, tell, failing)
        from musetalk_cli.app.avatars.choice import choose_avatar, tell_opaque
        from musetalk_cli.engine.outputs.whole_file import WrittenBy

        name = choose_model(config, tell)
        chosen = choose_avatar(config, tell)
        loading = _begin_loading(chosen, failing, keeps_alpha=isinstance(sink, WrittenBy))
        from musetalk_cli.engine.pipeline import Pipeline, read_whole
        from musetalk_cli.engine.video.encoder import EncoderProcess
        from musetalk_cli.engine.video.whole_file_encoder import WholeFileOutput

        if name == "warp":
            import_module("musetalk_cli.engine.models.warp.model")
        source.open()
        encoding = encoder_settings(config, chosen, source.num_channels)
        process = None
        if not isinstance(sink, WrittenBy):
            process = EncoderProcess(ffmpeg, encoding)
            failing.callback(process.close)
            tell_opaque(config, chosen, tell)
        avatar = loading.wait()
        model = build_model(config, name, chosen, avatar, tell)
        encoder: FrameOutput = process or WholeFileOutput(
            ffmpeg, encoding, alphas_of(config, model, avatar, chosen.height_px)
        )
        settings = pipeline_settings(config, name)
        shown = avatar.resized(chosen.height_px)
        feed = read_whole(source, model, settings, voice=official_voice(config, voice, ffmpeg, tell))
        pipeline = Pipeline(feed, model, shown, encoder, sink, settings, started_at)
        failing.pop_all()
        return pipeline


def _start_source(voice: str | AudioSource, ffmpeg: str, tell: Tell, failing: ExitStack) -> AudioSource:
    """What the pipeline reads; ``failing`` closes it. A file's decoder runs while numpy is loaded. Raises
    SourceError."""
    if not isinstance(voice, str):
        failing.callback(voice.close)
        load_apart("numpy")
        return voice
    from musetalk_cli.engine.audio.decoder import DecoderProcess

    decoder = DecoderProcess(voice, ffmpeg)
    failing.callback(decoder.close)
    load_apart("numpy")
    from musetalk_cli.engine.audio.sources import FileSource

    return FileSource(decoder, tell)


def _begin_loading(chosen: ChosenAvatar, failing: ExitStack, *, keeps_alpha: bool) -> LoadingAvatar:
    """The avatar, which ``failing`` releases: its image is decoded and resized beside what follows, which is Python."""
    from musetalk_cli.app.avatars.loading import LoadingAvatar

    loading = LoadingAvatar((keeps_alpha and chosen.load_layers) or chosen.load, chosen.height_px)
    failing.callback(loading.close)
    return loading


def alphas_of(config: Config, model: LipSyncModel, avatar: Avatar, height_px: int) -> ReadAlphas | None:
    """The alpha of each frame that a model makes of an avatar, in the output's size; None where it is not transparent.
    Raises AvatarError."""
    if avatar.alphas is None:
        return None
    rate = config.video.frame_rate
    if model.name == "warp" and avatar.is_still and config.warp.life:
        import numpy as np

        from musetalk_cli.engine.models.warp.model import WarpModel
        from musetalk_cli.engine.models.warp.still_alpha import StillAlpha

        still, warp = StillAlpha(avatar, height_px=height_px), cast("WarpModel", model)
        silent = np.zeros(warp.num_features, np.float32)

        def follow(batch: FrameBatch) -> list[ByteArray]:
            rows = batch.cue.features if batch.cue.features is not None else [silent] * len(batch.frames)
            return [still.at(warp.life_of(row, frame)) for row, frame in zip(rows, batch.frames, strict=True)]

        return follow

    from musetalk_cli.engine.avatar.cycle import avatar_frame, cycle_index, double_turn_index

    alphas = avatar.resized(height_px).alphas
    cycle = double_turn_index if config.compat == "upstream" else cycle_index
    own_rate, count = avatar.frame_rate, avatar.frames.num_frames

    def read(batch: FrameBatch) -> list[ByteArray]:
        indices = [avatar_frame(frame, rate, own_rate, count, cycle) for frame in batch.frames]
        return alphas.read(indices) if alphas else []

    return read


def official_voice(config: Config, voice: str | AudioSource, ffmpeg: str, tell: Tell) -> WholeVoice | None:
    """With ``--compat upstream``, the samples and the number of frames that the official script has of a file."""
    if config.compat != "upstream":
        return None
    if not isinstance(voice, str) or is_address(voice) or not Path(voice).is_file():
        tell("warning: the official script reads files; of other inputs the samples are resampled from 48 kHz")
        return None
    from musetalk_cli.engine.audio.whole_voice import load_as_librosa
    from musetalk_cli.engine.models.musetalk.audio.windows import count_upstream_frames
    from musetalk_cli.engine.types.messages import WholeVoice

    samples = load_as_librosa(Path(voice), ffmpeg)
    return WholeVoice(samples, count_upstream_frames(len(samples), config.video.frame_rate))


def build_model(
    config: Config,
    name: str,
    chosen: ChosenAvatar,
    avatar: Avatar,
    tell: Tell,
    *,
    shares_nets: bool = False,
    starts_often: bool = False,
) -> LipSyncModel:
    """Open a lip-sync model for an avatar.

    Args:
        config: All settings.
        name: The model, see ``choose_model``.
        chosen: The avatar as it was chosen; its ``height_px`` is that of the video.
        avatar: The same avatar, loaded, in its own size.
        tell: Takes lines for the user.
        shares_nets: Whether MuseTalk may use the nets of a model that is open for another avatar.
        starts_often: Whether the model makes many streams, one after the other.

    Returns:
        The model, bound to the avatar.

    Raises:
        AvatarError: The avatar does not fit the model.
        ModelError: The model's files or its libraries are missing or damaged.
    """
    import cv2

    from musetalk_cli.engine.runtime.blas import use_one_blas_thread

    # The workers run in parallel; threads of OpenCV and BLAS would only make them wait for each other.
    cv2.setNumThreads(1)
    use_one_blas_thread()
    if name != "warp":
        return open_musetalk(config, name, chosen, avatar, tell, shares_nets=shares_nets)
    from musetalk_cli.engine.models.warp.model import WarpModel

    video, warp = config.video, config.warp
    return WarpModel(
        avatar,
        video.frame_rate,
        chosen.height_px,
        liveliness=warp.life,
        seed=warp.seed,
        expression=warp.expression,
        starts_often=starts_often,
    )


def count_workers(wanted: int) -> int:
    """``wanted``, but no more than the cores that we may use: more threads than cores slow a CPU model down."""
    return min(wanted, count_cores())


def count_devices(device: str) -> int:
    """How many are named, ``cuda:0,1`` being two."""
    return 1 + device.count(",")


def pipeline_settings(config: Config, name: str) -> PipelineSettings:
    """How the stages are set for the model called ``name``."""
    from musetalk_cli.engine.pipeline import PipelineSettings

    return PipelineSettings(
        block_s=config.audio.target_duration,
        buffer_blocks=config.audio.buffer_size,
        batch_size=config.video.batch_size,
        # A neural model computes one batch at a time on a device: a second worker blends the faces of the one before.
        num_workers=count_workers(
            config.performance.parallel_workers if name == "warp" else 2 * count_devices(config.device)
        ),
        frame_rate=config.video.frame_rate,
        has_double_turns=config.compat == "upstream",
    )


def encoder_settings(
    config: Config,
    chosen: ChosenAvatar,
    num_channels: int,
    *,
    codec: str = "libx264",
    fragment_s: float | None = None,
) -> EncoderSettings:
    """Collect what ffmpeg must know.

    Args:
        config: All settings.
        chosen: The avatar, which gives the shape of the frame.
        num_channels: Channels of the audio, 1 or 2.
        codec: ffmpeg's name of the video encoder.
        fragment_s: Longest MP4 fragment in seconds; None for one per keyframe.

    Returns:
        The encoder's settings.
    """
    from musetalk_cli.engine.types.colour import even_size
    from musetalk_cli.engine.video.encoder import EncoderSettings

    width, height = even_size(chosen.width, chosen.height, chosen.height_px)
    has_one_thread = codec == "libx264" and _needs_one_thread(config, width * height, is_live=fragment_s is not None)
    return EncoderSettings(
        width=width,
        height=height,
        frame_rate=config.video.frame_rate,
        num_channels=num_channels,
        preset=config.video.encoding_preset,
        tune=config.video.encoding_tune,
        crf=config.video.crf,
        video_kbps=config.video.bitrate_kbps,
        audio_kbps=config.audio.bitrate_kbps,
        keyframe_interval_s=config.video.keyframe_interval_s,
        codec=codec,
        fragment_s=fragment_s,
        num_threads=1 if has_one_thread else None,
    )


def _needs_one_thread(config: Config, num_pixels: int, *, is_live: bool) -> bool:
    """Whether an encoder keeps up on one core of few: a second thread, for slices of a frame, would take a tenth to a
    sixth more CPU."""
    is_quick = (config.video.encoding_preset, config.video.encoding_tune) == ("ultrafast", "zerolatency")
    is_small = num_pixels * config.video.frame_rate <= FEW_PIXELS_S if is_live else num_pixels <= FEW_PIXELS
    return is_quick and count_cores() <= FEW_CORES and is_small
