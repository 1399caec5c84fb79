"""The programs and nets that the settings choose. What is wrong with one is told with where it was set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musetalk_cli.app.settings.folders import cache_folder, ffmpeg_records
from musetalk_cli.configuration.origins import blaming
from musetalk_cli.system.folders import expand

if TYPE_CHECKING:
    from pathlib import Path

    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.engine.video.encoder_choice import EncoderChoice


def find_ffmpeg(config: Config, tell: Tell, *, is_local: bool = False) -> str:
    """Path of an ffmpeg that works, as the setting ``ffmpeg`` wants it; see ``choose_ffmpeg``. Raises EncoderError."""
    from musetalk_cli.engine.runtime.ffmpeg_choice import choose_ffmpeg

    with blaming(config, "ffmpeg"):
        return choose_ffmpeg(config.ffmpeg, ffmpeg_records(), tell, is_local=is_local)


def find_codec(config: Config, ffmpeg: str, *, for_auto: EncoderChoice = "auto") -> str:
    """ffmpeg's name of the video encoder that ``stream.encoder`` wants, see ``choose_codec``; ``for_auto`` is taken for
    auto. Raises EncoderError."""
    from musetalk_cli.engine.video.encoder_choice import choose_codec

    with blaming(config, "stream.encoder"):
        return choose_codec(ffmpeg, for_auto if config.stream.encoder == "auto" else config.stream.encoder)


def find_face_nets(config: Config, tell: Tell) -> FaceModels:
    """The nets that find faces, as ``face_models`` wants them or downloaded; see ``find_face_models``. Raises
    AvatarError."""
    from musetalk_cli.engine.avatar.preparation.face_models import find_face_models

    with blaming(config, "face_models"):
        return find_face_models(_face_folder(config), cache_folder() / "face-models", tell)


def find_person_net(config: Config, tell: Tell) -> Path:
    """The net that cuts out a person, likewise; see ``find_segmenter``. Raises AvatarError."""
    from musetalk_cli.engine.avatar.preparation.face_models import find_segmenter

    with blaming(config, "face_models"):
        return find_segmenter(_face_folder(config), cache_folder() / "face-models", tell)


def _face_folder(config: Config) -> Path | None:
    return expand(config.face_models) if config.face_models else None
