"""From a configuration to a pipeline: the one place that hands each part of the engine its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musetalk_cli.config import Config
from musetalk_cli.engine.ffmpeg_process import find_ffmpeg

if TYPE_CHECKING:
    from musetalk_cli.engine.encoder import EncoderSettings
    from musetalk_cli.engine.models.base import LipSyncModel
    from musetalk_cli.engine.pipeline import Pipeline
    from musetalk_cli.engine.sinks import Sink
    from musetalk_cli.engine.sources import AudioSource


def build_file_pipeline(config: Config, location: str, sink: Sink, started_at: float) -> Pipeline:
    """A pipeline from a file, URL or stdin to ``sink``, ready to start. ``started_at`` is when the command began,
    by ``time.perf_counter()``.

    Raises MuseTalkError for whatever is wrong with the input, the avatar or ffmpeg.
    """
    from musetalk_cli.engine.sources import FileSource

    ffmpeg = find_ffmpeg(config.ffmpeg)
    # Decoding starts in its own process while we load the avatar; only then do we ask whether it found any sound.
    source = FileSource(location, ffmpeg)
    try:
        model = build_model(config)
        source.open()
        return _connect(config, ffmpeg, source, model, sink, started_at)
    except BaseException:
        source.close()
        raise


def build_model(config: Config) -> LipSyncModel:
    """The lip-sync model with its avatar. Raises AvatarError or ModelError."""
    import cv2

    from musetalk_cli.engine.avatar.portrait import load_portrait
    from musetalk_cli.engine.models.warp.model import WarpModel

    # The workers are the parallelism; OpenCV's own threads would only make them wait for each other.
    cv2.setNumThreads(1)
    portrait = load_portrait(config.avatar)
    video, warp = config.video, config.warp
    return WarpModel(portrait, video.frame_rate, video.size, life=warp.life, seed=warp.seed)


def _connect(
    config: Config, ffmpeg: str, source: AudioSource, model: LipSyncModel, sink: Sink, started_at: float
) -> Pipeline:
    from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings

    settings = PipelineSettings(
        ffmpeg=ffmpeg,
        block_s=config.audio.target_duration,
        buffer_blocks=config.audio.buffer_size,
        batch_size=config.video.batch_size,
        num_workers=config.performance.parallel_workers,
        frame_rate=config.video.frame_rate,
        encoder=_encoder_settings(config, model, source.num_channels),
    )
    return Pipeline(source, model, sink, settings, started_at)


def _encoder_settings(config: Config, model: LipSyncModel, num_channels: int) -> EncoderSettings:
    from musetalk_cli.engine.encoder import EncoderSettings

    height, width = model.resting.shape[0] * 2 // 3, model.resting.shape[1]
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
    )
