"""Lists avatars, finds the one that the settings name, and prepares those that are not prepared yet."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli import ending
from musetalk_cli.app.arguments import PreparationArguments
from musetalk_cli.app.folders import avatars_folder, cache_folder, ffmpeg_records
from musetalk_cli.app.running.preparation import command_for, tell_result
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import AvatarError
from musetalk_cli.system.folders import expand

if TYPE_CHECKING:
    from fractions import Fraction

    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.avatar.avatar_files import AvatarRecord
    from musetalk_cli.engine.avatar.library import ListedAvatar
    from musetalk_cli.engine.avatar.preparation.cutout.background import Background
    from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationResult, PreparationSettings, Report
    from musetalk_cli.engine.types.messages import Tell

# Where no size is asked for: a still has no detail that moves, and 768 rows of it are made faster than they are shown.
STILL_HEIGHT_PX = 768


@dataclass(frozen=True)
class ChosenAvatar:
    """An avatar that is known but not loaded: ``height_px`` is the video's height, its width follows from ``width`` and
    ``height``, which are the avatar's own. ``load`` raises AvatarError. ``folder`` is a prepared avatar's, None for a
    built-in one. ``load_layers``, of one that is transparent, keeps its alpha, which ``load`` puts on a background.
    """

    width: int
    height: int
    height_px: int
    load: Callable[[], Avatar]
    folder: Path | None = None
    load_layers: Callable[[], Avatar] | None = None


@dataclass(frozen=True)
class AvatarInfo:
    """``kind`` is ``built in``, ``still``, ``video`` or ``damaged``; ``folder`` None for one that is built in.

    ``width``, ``height`` in pixels; ``frame_rate`` None for a still. ``num_missing``: frames without a usable face,
    which take their neighbours'. ``num_bytes`` on disk. ``source``: the name of the file that it was made from.
    ``models``: those for which everything that is derived from the frames is cached. Of a damaged one, ``problem`` says
    what is wrong.
    """

    name: str
    kind: str
    width: int = 0
    height: int = 0
    num_frames: int = 1
    frame_rate: Fraction | None = None
    num_missing: int = 0
    num_bytes: int = 0
    source: str = ""
    models: tuple[str, ...] = ()
    folder: Path | None = None
    problem: str = ""


def list_avatars(config: Config) -> list[AvatarInfo]:
    """The avatars that are built in, and those that were prepared. Raises AvatarError when the folder is unreadable."""
    from musetalk_cli.engine.avatar import library
    from musetalk_cli.engine.avatar.portrait import describe_portrait, portrait_names

    portraits = [describe_portrait(name) for name in portrait_names()]
    built_in = [AvatarInfo(each.name, "built in", each.width, each.height, models=("warp",)) for each in portraits]
    return built_in + [describe_avatar(listed) for listed in library.list_avatars(avatars_folder(config.avatar_dir))]


def describe_avatar(listed: ListedAvatar) -> AvatarInfo:
    """What a program is told of an avatar in a folder."""
    from musetalk_cli.engine.models.musetalk.face.avatar_cache import LATENTS, has_cached

    record, folder = listed.record, listed.folder
    if record is None:
        return AvatarInfo(folder.name, "damaged", num_bytes=listed.num_bytes, folder=folder, problem=listed.problem)
    return AvatarInfo(
        folder.name,
        "still" if record.frame_rate is None else "video",
        record.width,
        record.height,
        record.num_frames,
        record.frame_rate,
        record.num_missing,
        listed.num_bytes,
        record.source_name,
        ("warp", "musetalk") if has_cached(folder, LATENTS) else ("warp",),
        folder,
    )


def choose_avatar(config: Config, tell: Tell | None = None) -> ChosenAvatar:
    """Find the avatar that ``config.avatar`` names: built in, prepared, an avatar's folder, an image or a video.

    An image or video is prepared first and cached. A ``tell`` that says nothing hides the progress of that, too.
    Raises AvatarError when there is none, or it cannot be prepared.
    """
    from musetalk_cli.engine.avatar.portrait import portrait_names

    if config.avatar in portrait_names():
        if tell and config.background != "keep":
            tell("warning: a built-in avatar keeps its background")
        from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait

        portrait = describe_portrait(config.avatar)
        height_px = config.video.size or STILL_HEIGHT_PX
        return ChosenAvatar(portrait.width, portrait.height, height_px, lambda: open_portrait(portrait))

    from musetalk_cli.engine.avatar.avatar_files import has_alpha, open_avatar_folder, read_record

    folder = _find_folder(config, tell)
    record = read_record(folder)
    is_whole = record.frame_rate is not None or config.compat == "upstream"
    if config.compat == "upstream" and tell and record.frame_rate and record.parameters.get("jpeg_quality"):
        tell(f"warning: the frames of avatar '{folder.name}' are JPEGs; prepare it with --lossless to compare frames")
    own_px = record.height if is_whole else min(record.height, STILL_HEIGHT_PX)
    height_px = config.video.size or own_px
    is_prepared = folder.parent != cache_folder() / "avatars"
    if tell and is_prepared and config.background != "keep" and record.parameters.get("background") == "#ffffff":
        again = "prepare it with --background transparent"
        tell(f"warning: avatar '{folder.name}' keeps the background that it was prepared with; {again}")
    behind = _background(config).pixels
    layers = (lambda: open_avatar_folder(folder, None)) if has_alpha(record) else None
    size = record.width, record.height
    return ChosenAvatar(*size, height_px, lambda: open_avatar_folder(folder, behind), folder, layers)


def tell_opaque(config: Config, chosen: ChosenAvatar, tell: Tell) -> None:
    """Say that a transparent avatar goes to where nothing is transparent, unless its background was named."""
    if chosen.load_layers is not None and config.background in ("keep", "transparent"):
        tell("warning: the background is white, as only .webm, .mov and .png keep it transparent; see --background")


def is_transparent(config: Config) -> bool:
    """Whether the avatar that the settings name has alpha, or will have it once it is prepared.

    For a portrait nothing heavy is loaded: the decoder has not been started yet.
    """
    library, location = avatars_folder(config.avatar_dir), Path(config.avatar)
    places = [library / location] if location.name == config.avatar else []
    folders = [place for place in (*places, location) if place.is_dir()]
    if folders:
        from musetalk_cli.engine.avatar.avatar_files import has_alpha, is_avatar_folder, read_record

        folder = next(filter(is_avatar_folder, folders), None)
        if folder is not None:
            return has_alpha(read_record(folder))
    return config.background == "transparent" and location.exists()


def check_avatar(config: Config) -> None:
    """Raises AvatarError where nothing has the name of ``config.avatar``. Whether it can be prepared is not tried."""
    from musetalk_cli.engine.avatar.library import explain_unknown
    from musetalk_cli.engine.avatar.portrait import portrait_names

    name, library = config.avatar, avatars_folder(config.avatar_dir)
    if name not in portrait_names() and not Path(name).exists() and not (library / name).exists():
        raise explain_unknown(name, library)


def _find_folder(config: Config, tell: Tell | None) -> Path:
    """The folder of an avatar that is not built in; it is made when an image or a video was named."""
    from musetalk_cli.engine.avatar.avatar_files import is_avatar_folder
    from musetalk_cli.engine.avatar.library import explain_unknown

    library, location = avatars_folder(config.avatar_dir), Path(config.avatar)
    if location.name == config.avatar and is_avatar_folder(library / location):
        return library / location
    if is_avatar_folder(location):
        return location
    if not location.exists():
        raise explain_unknown(config.avatar, library)
    return _prepare_on_the_fly(config, location, tell)


def _prepare_on_the_fly(config: Config, source: Path, tell: Tell | None) -> Path:
    from musetalk_cli.engine.avatar.avatar_files import read_record
    from musetalk_cli.engine.avatar.inputs.sources import check_source
    from musetalk_cli.engine.avatar.library import cached_name
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationSettings
    from musetalk_cli.ui.console import say_nothing
    from musetalk_cli.ui.progress import ProgressDisplay

    check_source(source)
    settings = PreparationSettings(
        frame_rate=config.video.frame_rate, background=_background(config), is_lossless=_is_lossless(config)
    )
    display = ProgressDisplay(is_quiet=tell is say_nothing)
    try:
        sha256 = _hash(source, display)
        folder = cache_folder() / "avatars" / cached_name(source, sha256, settings.as_parameters())
        try:
            read_record(folder)
        except AvatarError:
            display.tell(f"preparing {source} as an avatar; it is cached in {folder.parent}")
            prepared = _prepare(config, source, folder, settings, sha256, display, display.tell)
            tell_result(prepared, folder, command_for(source, None), "; --avatar then takes its name", display.tell)
    finally:
        display.close()
    return folder


@dataclass(frozen=True)
class PreparedAvatar:
    """An avatar with a name, its ``folder`` and ``record``. ``is_new``: it was made now, and was not up to date."""

    name: str
    folder: Path
    record: AvatarRecord
    is_new: bool


def prepare_named(
    config: Config, source: Path, arguments: PreparationArguments, *, force: bool, report: Report, tell: Tell
) -> PreparedAvatar:
    """Prepare an input as an avatar with a name. One of the same input with other settings is built again.

    Args:
        config: where avatars and face nets are, and the frame rate of a video.
        source: an image, a video or a folder of images.
        arguments: the avatar's name, and how it is made.
        force: replace whatever avatar has the name.
        report: called with every step.
        tell: takes lines for the user: what is downloaded, which settings are others, what to know of the result.

    Raises:
        AvatarError: it cannot be prepared, or the name belongs to another input's avatar and ``force`` is not given.
    """
    from musetalk_cli.engine.avatar.avatar_files import read_record
    from musetalk_cli.engine.avatar.inputs.sources import check_source
    from musetalk_cli.engine.avatar.library import check_avatar_name, name_for
    from musetalk_cli.engine.avatar.portrait import portrait_names

    if source.name == str(source) in portrait_names() and not source.exists():
        hint = f"it is ready for use: musetalk render --demo --avatar {source}"
        raise AvatarError(f"{source} is a built-in avatar", hint=hint)
    name = name_for(source) if arguments.name is None else arguments.name
    check_avatar_name(name)
    check_source(source)
    folder, settings = avatars_folder(config.avatar_dir) / name, _as_settings(config, arguments)
    sha256 = _hash(source, report)
    if folder.exists() and not force and _is_up_to_date(folder, name, sha256, settings, tell):
        return PreparedAvatar(name, folder, read_record(folder), is_new=False)
    if folder.exists():
        _check_is_avatar(folder)
    prepared = _prepare(config, source, folder, settings, sha256, report, tell, ending.final_step)
    tell_result(prepared, folder, command_for(source, arguments.name), "", tell)
    return PreparedAvatar(name, folder, prepared.record, is_new=True)


def _as_settings(config: Config, given: PreparationArguments) -> PreparationSettings:
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationSettings

    return PreparationSettings(
        config.video.frame_rate,
        given.start_s,
        given.max_seconds,
        given.size,
        given.face,
        given.bbox_shift,
        _background(config),
        _is_lossless(config),
    )


def _is_lossless(config: Config) -> bool:
    """The official script works on the video's own frames."""
    return config.lossless_frames or config.compat == "upstream"


def _background(config: Config) -> Background:
    from musetalk_cli.engine.avatar.preparation.cutout.background import Background

    return Background.parse(config.background)


def _is_up_to_date(folder: Path, name: str, sha256: str, settings: PreparationSettings, tell: Tell) -> bool:
    from musetalk_cli.engine.avatar.avatar_files import read_record
    from musetalk_cli.engine.avatar.library import changes_since

    _check_is_avatar(folder)
    record = read_record(folder)
    if record.source_sha256 != sha256:
        raise AvatarError(
            f"avatar '{name}' exists already, made from another input ({record.source_name})",
            hint="choose another --name, or replace it with --force",
        )
    changes = changes_since(record, settings.as_parameters())
    if changes:
        tell(f"avatar '{name}' was made with other settings and is built again: {'; '.join(changes)}")
    return not changes


def _check_is_avatar(folder: Path) -> None:
    from musetalk_cli.engine.avatar.avatar_files import is_avatar_folder

    if not is_avatar_folder(folder):
        raise AvatarError(f"{folder} exists and is not an avatar", hint="choose another --name; it is not touched")


def _hash(source: Path, report: Report) -> str:
    from musetalk_cli.engine.avatar.inputs.sources import hash_source
    from musetalk_cli.engine.avatar.preparation.prepare import Progress

    return hash_source(source, lambda done, total: report(Progress("hash", done >> 20, total >> 20)))


def _prepare(
    config: Config,
    source: Path,
    folder: Path,
    settings: PreparationSettings,
    sha256: str,
    report: Report,
    tell: Tell,
    completing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> PreparationResult:
    import cv2

    from musetalk_cli.engine.avatar.preparation.face_models import find_face_models, find_segmenter
    from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
    from musetalk_cli.engine.avatar.preparation.prepare import prepare_avatar
    from musetalk_cli.engine.runtime.ffmpeg_choice import choose_ffmpeg

    gc.enable()  # see __main__.py
    cv2.setNumThreads(1)  # decoding, following and storing run beside each other; that keeps two cores busy
    given = expand(config.face_models) if config.face_models else None

    def open_finder() -> FaceFinder:
        return FaceFinder(find_face_models(given, cache_folder() / "face-models", tell))

    def open_cutter() -> PersonCutter:
        from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter

        return PersonCutter(find_segmenter(given, cache_folder() / "face-models", tell))

    return prepare_avatar(
        source,
        folder,
        settings,
        open_finder,
        open_cutter,
        choose_ffmpeg(config.ffmpeg, ffmpeg_records(), tell),
        source_sha256=sha256,
        is_replacing=True,
        report=report,
        completing=completing,
    )
