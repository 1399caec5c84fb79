"""Prepares avatars: with a name, or in the cache when an image or a video is named where an avatar is wanted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from musetalk_cli.app.avatars.result_lines import command_for, tell_result
from musetalk_cli.app.settings.arguments import PreparationArguments
from musetalk_cli.app.settings.folders import avatars_folder, cache_folder
from musetalk_cli.app.settings.tools import find_face_nets, find_ffmpeg, find_person_net
from musetalk_cli.configuration.origins import blaming
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import AvatarError
from musetalk_cli.option_names import option
from musetalk_cli.system import heap

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.avatar_files import AvatarRecord
    from musetalk_cli.engine.avatar.preparation.cutout.background import Background
    from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter
    from musetalk_cli.engine.avatar.preparation.prepare import PreparationResult
    from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings, PreparationTools, Report
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.ui.progress import ProgressDisplay

# Opened around the step that completes a preparation: a program that a signal ends counts as done from there on.
Completing: TypeAlias = Callable[[], AbstractContextManager[None]]


def prepare_cached(config: Config, source: Path, tell: Tell | None) -> Path:
    """The folder of the avatar that an image or a video is; it is prepared in the cache where it is not there yet.

    A ``tell`` that says nothing hides the progress, too. Raises AvatarError when it cannot be prepared.
    """
    from musetalk_cli.engine.avatar.avatar_files import read_record
    from musetalk_cli.engine.avatar.inputs.sources import check_source
    from musetalk_cli.engine.avatar.library import cached_name
    from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings
    from musetalk_cli.ui.console import say_nothing
    from musetalk_cli.ui.progress import ProgressDisplay

    check_source(source)
    settings = PreparationSettings(
        frame_rate=config.video.frame_rate, background=background_of(config), is_lossless=_is_lossless(config)
    )
    display = ProgressDisplay(is_quiet=tell is say_nothing)
    try:
        sha256 = _hash(source, display)
        with blaming(config, "background"):
            name = cached_name(source, sha256, settings.as_parameters())
        folder = cache_folder() / "avatars" / name
        try:
            read_record(folder)
        except AvatarError:
            _prepare_in_cache(config, source, folder, settings, sha256, display)
    finally:
        display.close()
    return folder


def _prepare_in_cache(
    config: Config,
    source: Path,
    folder: Path,
    settings: PreparationSettings,
    sha256: str,
    display: ProgressDisplay,
) -> None:
    tell = display.tell

    @cache
    def announce() -> None:
        tell(f"preparing {source} as an avatar; it is cached in {folder.parent}")

    _check_background(config)
    tools = _choose_tools(config, tell, announce)
    prepared = _prepare(config, source, folder, settings, tools, sha256, display)
    tell_result(prepared, folder, command_for(source, None), f"; {option('--avatar')} then takes its name", tell)


@dataclass(frozen=True)
class PreparedAvatar:
    """An avatar with a name, its ``folder`` and ``record``. ``is_new``: it was made now, and was not up to date."""

    name: str
    folder: Path
    record: AvatarRecord
    is_new: bool


def prepare_named(
    config: Config,
    source: Path,
    arguments: PreparationArguments,
    *,
    force: bool,
    report: Report,
    tell: Tell,
    completing: Completing = nullcontext,
) -> PreparedAvatar:
    """Prepare an input as an avatar with a name. One of the same input with other settings is built again.

    Args:
        config: where avatars and face nets are, and the frame rate of a video.
        source: an image, a video or a folder of images.
        arguments: the avatar's name, and how it is made.
        force: replace whatever avatar has the name.
        report: called with every step.
        tell: takes lines for the user: what is downloaded, which settings are others, what to know of the result.
        completing: a context for the step that gives the folder its name.

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
    _check_background(config)
    folder, settings = avatars_folder(config.avatar_dir) / name, _as_settings(config, arguments)
    sha256 = _hash(source, report)
    is_there = folder.exists()
    if is_there and not force and _is_up_to_date(folder, name, sha256, settings, tell):
        return PreparedAvatar(name, folder, read_record(folder), is_new=False)
    if is_there:
        _check_is_avatar(folder)
    tools = _choose_tools(config, tell)
    try:
        prepared = _prepare(
            config, source, folder, settings, tools, sha256, report, completing, is_replacing=force or is_there
        )
    except AvatarError:
        # Somebody else may have made one of that name meanwhile: it is this one, or it stays.
        if force or is_there or not folder.exists() or not _is_up_to_date(folder, name, sha256, settings, tell):
            raise
        return PreparedAvatar(name, folder, read_record(folder), is_new=False)
    tell_result(prepared, folder, command_for(source, arguments.name), "", tell)
    return PreparedAvatar(name, folder, prepared.record, is_new=True)


def _as_settings(config: Config, given: PreparationArguments) -> PreparationSettings:
    from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings

    return PreparationSettings(
        config.video.frame_rate,
        given.start_s,
        given.max_seconds,
        given.size,
        given.face,
        given.bbox_shift,
        background_of(config),
        _is_lossless(config),
    )


def _is_lossless(config: Config) -> bool:
    """The official script works on the video's own frames."""
    return config.lossless_frames or config.compat == "upstream"


def background_of(config: Config) -> Background:
    """What the settings want behind the person."""
    from musetalk_cli.engine.avatar.preparation.cutout.background import Background

    return Background.parse(config.background)


def _check_background(config: Config) -> None:
    """Raises AvatarError where the image to be put behind the person cannot be read."""
    with blaming(config, "background"):
        background_of(config).pixels(1, 1)


def _is_up_to_date(folder: Path, name: str, sha256: str, settings: PreparationSettings, tell: Tell) -> bool:
    from musetalk_cli.engine.avatar.avatar_files import read_record
    from musetalk_cli.engine.avatar.library import changes_since

    _check_is_avatar(folder)
    record = read_record(folder)
    if record.source_sha256 != sha256:
        raise AvatarError(
            f"avatar '{name}' exists already, made from another input ({record.source_name})",
            hint=f"choose another {option('--name')}, or replace it with {option('--force')}",
        )
    changes = changes_since(record, settings.as_parameters())
    if changes:
        tell(f"avatar '{name}' was made with other settings and is built again: {'; '.join(changes)}")
    return not changes


def _check_is_avatar(folder: Path) -> None:
    from musetalk_cli.engine.avatar.avatar_files import is_avatar_folder

    if not is_avatar_folder(folder):
        hint = f"choose another {option('--name')}; it is not touched"
        raise AvatarError(f"{folder} exists and is not an avatar", hint=hint)


def _hash(source: Path, report: Report) -> str:
    from musetalk_cli.engine.avatar.inputs.sources import hash_source
    from musetalk_cli.engine.avatar.preparation.settings import Progress

    return hash_source(source, lambda done, total: report(Progress("hash", done >> 20, total >> 20)))


def _prepare(
    config: Config,
    source: Path,
    folder: Path,
    settings: PreparationSettings,
    tools: PreparationTools,
    sha256: str,
    report: Report,
    completing: Completing = nullcontext,
    *,
    is_replacing: bool = True,
) -> PreparationResult:
    import cv2

    from musetalk_cli.engine.avatar.preparation.prepare import prepare_avatar

    heap.begin_collecting()
    cv2.setNumThreads(1)  # decoding, following and storing run beside each other; that keeps two cores busy
    return prepare_avatar(
        source,
        folder,
        settings,
        tools,
        source_sha256=sha256,
        is_replacing=is_replacing,
        report=report,
        completing=completing,
    )


def _choose_tools(config: Config, tell: Tell, on_readable: Callable[[], object] = lambda: None) -> PreparationTools:
    """``on_readable`` is called as soon as there is an image to search, and maybe again."""
    from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
    from musetalk_cli.engine.avatar.preparation.settings import PreparationTools

    def open_finder() -> FaceFinder:
        on_readable()
        return FaceFinder(find_face_nets(config, tell))

    def open_cutter() -> PersonCutter:
        from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter

        on_readable()
        return PersonCutter(find_person_net(config, tell))

    return PreparationTools(open_finder, open_cutter, find_ffmpeg(config, tell, is_local=True))
