"""The functions that ``import musetalk_cli`` gives. docs/python.md has examples of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musetalk_cli.config import Config
from musetalk_cli.ui.console import say_nothing

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

    from musetalk_cli.app.session_assembly import OpenAvatar, Output
    from musetalk_cli.engine.async_session import AsyncSession
    from musetalk_cli.engine.audio.sources import AudioSource
    from musetalk_cli.engine.avatar.library import ListedAvatar
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.session import Session
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


@dataclass(frozen=True)
class AvatarInfo:
    """``kind`` is ``built in``, ``still``, ``video`` or ``damaged``; ``folder`` None for one that is built in.

    ``width``, ``height`` in pixels; ``frame_rate`` None for a still. Of a damaged one, ``problem`` says what is wrong.
    """

    name: str
    kind: str
    width: int = 0
    height: int = 0
    num_frames: int = 1
    frame_rate: Fraction | None = None
    folder: Path | None = None
    problem: str = ""


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
    from musetalk_cli.app.assembly import build_file_pipeline
    from musetalk_cli.app.runner import run_to_end
    from musetalk_cli.engine.outputs.destinations import open_sink

    started_at = time.perf_counter()
    config = _name_settings(avatar, model, size, fps, settings)
    source = _as_source(voice, rate_hz)
    sink = open_sink(str(output), overwrite=overwrite)
    pipeline = build_file_pipeline(config, source, sink, started_at, say_nothing)
    snapshot = run_to_end(pipeline, lambda: on_progress(pipeline.snapshot()))
    return RenderResult(Path(output), snapshot.num_frames, snapshot.media_s, snapshot.elapsed_s)


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

    Raises:
        AvatarError: no usable face was found, or the name is taken.
    """
    from musetalk_cli.app.avatar_library import prepare_named
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationSettings
    from musetalk_cli.ui.progress import ProgressDisplay

    config, path = _configure(settings, fps=fps), Path(source)
    chosen = name or (path.name if path.is_dir() else path.stem)
    wanted = PreparationSettings(config.video.frame_rate, start_s, max_seconds, size, face, bbox_shift)
    display = ProgressDisplay(is_quiet=True)
    try:
        folder, _ = prepare_named(config, path, chosen, wanted, force=force, display=display)
    finally:
        display.close()
    return next(each for each in list_avatars(settings=settings) if each.folder == folder)


def list_avatars(*, settings: Settings | None = None) -> list[AvatarInfo]:
    """The avatars that are built in, and those that were prepared."""
    from musetalk_cli.app.folders import avatars_folder
    from musetalk_cli.engine.avatar import library
    from musetalk_cli.engine.avatar.portrait import describe_portrait, portrait_names

    portraits = [describe_portrait(name) for name in portrait_names()]
    built_in = [AvatarInfo(each.name, "built in", each.width, each.height) for each in portraits]
    prepared = library.list_avatars(avatars_folder(_configure(settings).avatar_dir))
    return built_in + [_describe(listed) for listed in prepared]


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
    output: Output = "frames",
    pixel_format: PixelFormat = "i420",
    block_s: float | None = None,
    lead_s: float | None = None,
    num_channels: int = 1,
    **opening: Any,
) -> Session:
    """Begin a session of an avatar, which lives from now on.

    Sessions that name the same avatar with the same settings share its frames and the model's weights, as those of one
    ``OpenAvatar`` do.

    Args:
        avatar: what ``open_avatar`` takes, or what it returned.
        output: ``frames`` hands out images with their audio, ``fragments`` one fragmented MP4, encoded in process.
        pixel_format: of the images, ``i420`` or ``rgb``.
        block_s: seconds of a voice in real time that are taken at once.
        lead_s: how far ahead of the clock frames are handed out.
        num_channels: of the audio that comes out, 1 or 2.
        opening: ``model``, ``size``, ``fps`` and ``settings`` of ``open_avatar``, where a name is given.

    Raises:
        MuseTalkError: as ``open_avatar``; ``fragments`` need PyAV.
    """
    from musetalk_cli.app.session_assembly import OpenAvatar

    own: dict[str, Any] = {
        "output": output,
        "pixel_format": pixel_format,
        "block_s": block_s,
        "lead_s": lead_s,
        "num_channels": num_channels,
    }
    if isinstance(avatar, OpenAvatar):
        return avatar.open_session(**own)
    return _SHARED.open_session(_name_settings(avatar, **opening), own)


def open_async_session(avatar: str | Path | OpenAvatar | None = None, **options: Any) -> AsyncSession:
    """As ``open_session``, for asyncio: ``async with open_async_session("nora") as session: …``, which opens it."""
    from musetalk_cli.engine.async_session import AsyncSession

    return AsyncSession(lambda: open_session(avatar, **options))


class _SharedAvatars:
    """Opens each avatar once for all sessions that name it, and closes it with the last of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Config, tuple[OpenAvatar, int]] = {}

    def open_session(self, config: Config, own: Mapping[str, Any]) -> Session:
        from musetalk_cli.app.session_assembly import open_avatar as open_it

        with self._lock:
            shared, users = self._open.get(config) or (open_it(config, say_nothing), 0)
            self._open[config] = (shared, users + 1)
        try:
            session = shared.open_session(**own)
        except BaseException:
            self._release(config)
            raise
        session.on_close(lambda: self._release(config))
        return session

    def _release(self, config: Config) -> None:
        with self._lock:
            shared, users = self._open[config]
            self._open[config] = (shared, users - 1)
            if users == 1:
                del self._open[config]
                shared.close()


_SHARED = _SharedAvatars()


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
    from musetalk_cli.config import known_items, load_config

    given = {key: ("settings", value) for key, value in known_items(dict(settings or {}), "settings")}
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
        raise SourceError("samples need rate_hz, their rate in Hz")
    return ArraySource(voice, rate_hz)


def _describe(listed: ListedAvatar) -> AvatarInfo:
    record, name = listed.record, listed.folder.name
    if record is None:
        return AvatarInfo(name, "damaged", folder=listed.folder, problem=listed.problem)
    kind = "still" if record.frame_rate is None else "video"
    return AvatarInfo(
        name, kind, record.width, record.height, record.num_frames, record.frame_rate, folder=listed.folder
    )
