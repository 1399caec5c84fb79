"""The functions that ``import musetalk_cli`` gives. docs/python.md has examples of each.

Each checks its arguments, makes a Config of them and calls what the command of the same name calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musetalk_cli.app.avatars.listing import AvatarInfo
from musetalk_cli.app.settings.arguments import PreparationArguments, check_arguments, check_path
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ConfigError
from musetalk_cli.ui.console import say_nothing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from musetalk_cli.app.session_assembly import OpenAvatar, Output
    from musetalk_cli.engine.async_session import AsyncSession
    from musetalk_cli.engine.audio.sources import AudioSource
    from musetalk_cli.engine.avatar.preparation.settings import Progress
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.session import Session
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.engine.types.session import PixelFormat

Settings = Mapping[str, Any]
KEYS = {"size": "video.size", "fps": "video.fps"}  # of arguments that are called otherwise in the settings


@dataclass(frozen=True)
class RenderResult:
    """A finished video: its ``path``, how many ``frames`` and ``seconds`` it has, and how long it took."""

    path: Path
    frames: int
    seconds: float
    elapsed_s: float


def render(
    voice: str | Path | NDArray[Any],
    output: str | Path,
    *,
    rate_hz: int | None = None,
    avatar: str | Path | None = None,
    model: str | None = None,
    size: int | None = None,
    fps: float | None = None,
    overwrite: bool = False,
    settings: Settings | None = None,
    on_progress: Callable[[Snapshot], None] = lambda snapshot: None,
) -> RenderResult:
    """Render a video of an avatar that speaks a voice. Works from any thread, and prints nothing.

    Args:
        voice: a file or URL, or samples: int16, or float32 in ±1, of shape (n,) or (n, channels).
        output: the MP4 file to write.
        rate_hz: of samples; not for files.
        avatar: a name, an avatar's folder, or an image or video of a face; ``nora`` by default.
        model: ``auto``, ``warp``, ``musetalk-1.5`` or ``musetalk-1.0``.
        size: height in pixels, even.
        fps: frames per second.
        overwrite: whether an older file may be replaced.
        settings: any other, nested as in a configuration file: ``{"video": {"crf": 18}}``.
        on_progress: called several times a second; an exception in it ends the run.

    Raises:
        MuseTalkError: the voice, the avatar, a setting or the output is wrong. What was made until then plays.
    """
    from musetalk_cli.app.runner import render_file, run_to_end

    started_at = time.perf_counter()
    config = _name_settings(avatar, model, size, fps, settings)
    path = check_path("output", output)
    snapshot, _ = render_file(
        config,
        _as_source(voice, rate_hz),
        [path],
        lambda pipeline: run_to_end(pipeline, lambda: on_progress(pipeline.snapshot())),
        overwrite=overwrite,
        started_at=started_at,
        tell=say_nothing,
    )
    return RenderResult(Path(path), snapshot.num_frames, snapshot.media_s, snapshot.elapsed_s)


def prepare_avatar(
    source: str | Path,
    name: str | None = None,
    *,
    force: bool = False,
    start_s: float = 0.0,
    max_seconds: float | None = None,
    size: int | None = None,
    fps: float | None = None,
    face: int | None = None,
    bbox_shift: int = 0,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tell: Tell = say_nothing,
) -> AvatarInfo:
    """Prepare an avatar from an image, a video or a folder of images of a face.

    Args:
        source: the file or folder.
        name: of the avatar; the source's name by default.
        force: whether an avatar of that name, made from another source, may be replaced.
        start_s: seconds of a video that are skipped.
        max_seconds: how much of it is used at most.
        size: scale down to this height in pixels.
        fps: frames per second that a video is resampled to.
        face: which of several faces, 1 the largest.
        bbox_shift: moves MuseTalk's crop box down by so many pixels.
        settings: any other, as for ``render``.
        on_progress: called with every step: its ``stage``, and how many of it are ``done`` of the ``total``.
        tell: called with what its user should know, a line at a time: a download, several faces, frames without one.

    Raises:
        ConfigError: an argument is out of range; nothing was done.
        AvatarError: no usable face was found, or the name is taken.
    """
    from musetalk_cli.app.avatars.listing import describe_avatar
    from musetalk_cli.app.avatars.preparation import prepare_named
    from musetalk_cli.engine.avatar.library import ListedAvatar

    arguments = check_arguments(
        PreparationArguments,
        name=name,
        start_s=start_s,
        max_seconds=max_seconds,
        size=size,
        face=face,
        bbox_shift=bbox_shift,
    )
    path, config = Path(check_path("source", source)), _configure(settings, fps=fps)
    prepared = prepare_named(config, path, arguments, force=force, report=on_progress, tell=tell)
    return describe_avatar(ListedAvatar(prepared.folder, prepared.record))


def list_avatars(*, settings: Settings | None = None) -> list[AvatarInfo]:
    """The avatars that are built in, and those that were prepared."""
    from musetalk_cli.app.avatars import listing

    return listing.list_avatars(_configure(settings))


def open_avatar(
    avatar: str | Path | None = None,
    *,
    model: str | None = None,
    size: int | None = None,
    fps: float | None = None,
    settings: Settings | None = None,
) -> OpenAvatar:
    """Open an avatar and the model that speaks for it, for any number of sessions.

    Args:
        avatar: a name, an avatar's folder, or an image or video of a face; ``nora`` by default.
        model: as for ``render``.
        size: height of the video in pixels, even.
        fps: frames per second of the video.
        settings: any other, as for ``render``.

    Raises:
        MuseTalkError: there is no such avatar, or the model cannot be used.
    """
    from musetalk_cli.app.session_assembly import open_avatar as open_it

    return open_it(_name_settings(avatar, model, size, fps, settings), say_nothing)


def open_session(
    avatar: str | Path | OpenAvatar | None = None,
    *,
    model: str | None = None,
    size: int | None = None,
    fps: float | None = None,
    output: Output = "frames",
    pixel_format: PixelFormat = "i420",
    block_s: float | None = None,
    lead_s: float | None = None,
    num_channels: int = 1,
    settings: Settings | None = None,
) -> Session:
    """Begin a session of an avatar, which lives from now on.

    Sessions that name the same avatar with the same settings share its frames and the model's weights, as those of one
    ``OpenAvatar`` do.

    Args:
        avatar: what ``open_avatar`` takes, or what it returned.
        model: as for ``open_avatar``, and so are ``size``, ``fps`` and ``settings``: where a name is given.
        size: height of the video in pixels, even.
        fps: frames per second of the video.
        output: ``frames`` hands out images with their audio, ``fragments`` one fragmented MP4.
        pixel_format: of the images, ``i420`` or ``rgb``.
        block_s: seconds of a voice in real time that are taken at once.
        lead_s: how far ahead of the clock frames are handed out.
        num_channels: of the audio that comes out, 1 or 2.
        settings: any other.

    Raises:
        ConfigError: an argument is out of range.
        MuseTalkError: as ``open_avatar``; the encoder cannot be used.
    """
    from musetalk_cli.app.session_assembly import SHARED, OpenAvatar, SessionArguments

    own = check_arguments(
        SessionArguments,
        output=output,
        pixel_format=pixel_format,
        block_s=block_s,
        lead_s=lead_s,
        num_channels=num_channels,
    )
    if isinstance(avatar, OpenAvatar):
        if (model, size, fps, settings) != (None, None, None, None):
            raise ConfigError("model, size, fps and settings were chosen when the avatar was opened")
        return avatar.open_session(**vars(own))
    return SHARED.open_session(_name_settings(avatar, model, size, fps, settings), own)


def open_async_session(avatar: str | Path | OpenAvatar | None = None, **options: Any) -> AsyncSession:
    """As ``open_session``, for asyncio: ``async with open_async_session("nora") as session: …``, which opens it."""
    from musetalk_cli.engine.async_session import AsyncSession

    return AsyncSession(lambda: open_session(avatar, **options))


def _name_settings(
    avatar: str | Path | None,
    model: str | None = None,
    size: int | None = None,
    fps: float | None = None,
    settings: Settings | None = None,
) -> Config:
    return _configure(settings, avatar=avatar, model=model, size=size, fps=fps)


def _configure(settings: Settings | None, **named: Any) -> Config:
    """The configuration from nested ``settings`` and from arguments. Raises ConfigError."""
    from musetalk_cli.configuration.loading import known_items, load_config

    items = known_items({} if settings is None else settings, lambda key: "settings")
    given = {key: ("settings", value) for key, value in items}
    for name, value in named.items():
        if value is not None:
            given[KEYS.get(name, name)] = (name, str(value) if isinstance(value, Path) else value)
    return load_config((), given).config


def _as_source(voice: str | Path | NDArray[Any], rate_hz: int | None) -> str | AudioSource:
    """What a pipeline reads: a location, or the samples as a source. Raises SourceError or SessionError."""
    from musetalk_cli.errors import SourceError

    if isinstance(voice, str | Path):
        if rate_hz is not None:
            raise SourceError("rate_hz is for samples; a file says its own")
        return str(voice)
    from musetalk_cli.engine.audio.voice_input import ArraySource

    if rate_hz is None:
        import numpy as np

        if not isinstance(voice, np.ndarray):
            raise SourceError(f"the voice must be a path, a URL or samples, not {type(voice).__name__}")
        raise SourceError("samples need rate_hz, their rate in Hz")
    return ArraySource(voice, rate_hz)
