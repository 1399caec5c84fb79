"""Finds the avatar that the settings name; one that is not prepared yet is prepared first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from musetalk_cli.app.settings.folders import avatars_folder, cache_folder
from musetalk_cli.configuration.origins import blaming
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import AvatarError
from musetalk_cli.option_names import option

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.types.messages import ByteArray, Tell

# Where no size is asked for: a still has no detail that moves, and 768 rows of it are made faster than they are shown.
STILL_HEIGHT_PX = 768


class ChosenAvatar(NamedTuple):
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


def choose_avatar(config: Config, tell: Tell | None = None) -> ChosenAvatar:
    """Find the avatar that ``config.avatar`` names: built in, prepared, an avatar's folder, an image or a video.

    An image or video is prepared first and cached. A ``tell`` that says nothing hides the progress of that, too.
    Raises AvatarError when there is none, or it cannot be prepared.
    """
    from musetalk_cli.engine.avatar.portrait import portrait_names

    if config.avatar in portrait_names():
        return _choose_portrait(config, tell)
    with blaming(config, "avatar"):
        folder = _find_folder(config, tell)
        if tell:
            _warn(config, folder, tell)
        return _choose_prepared(config, folder)


def _choose_portrait(config: Config, tell: Tell | None) -> ChosenAvatar:
    from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait

    if tell and config.background != "keep":
        tell("warning: a built-in avatar keeps its background")
    portrait = describe_portrait(config.avatar)
    height_px = config.video.size or STILL_HEIGHT_PX
    return ChosenAvatar(portrait.width, portrait.height, height_px, lambda: open_portrait(portrait))


def _choose_prepared(config: Config, folder: Path) -> ChosenAvatar:
    from musetalk_cli.app.avatars.preparation import background_of
    from musetalk_cli.engine.avatar.avatar_files import Behind, has_alpha, open_avatar_folder, read_record

    record = read_record(folder)
    is_whole = record.frame_rate is not None or config.compat == "upstream"
    own_px = record.height if is_whole else min(record.height, STILL_HEIGHT_PX)
    height_px = config.video.size or own_px
    background = background_of(config)

    def behind(width: int, height: int) -> ByteArray:
        with blaming(config, "background"):
            return background.pixels(width, height)

    def load(behind: Behind | None) -> Avatar:
        with blaming(config, "avatar"):
            return open_avatar_folder(folder, behind)

    layers = (lambda: load(None)) if has_alpha(record) else None
    return ChosenAvatar(record.width, record.height, height_px, lambda: load(behind), folder, layers)


def _warn(config: Config, folder: Path, tell: Tell) -> None:
    """Say where a prepared avatar was not made as the settings want it."""
    from musetalk_cli.engine.avatar.avatar_files import read_record

    record = read_record(folder)
    if config.compat == "upstream" and record.frame_rate and record.parameters.get("jpeg_quality"):
        again = f"prepare it with {option('--lossless')} to compare frames"
        tell(f"warning: the frames of avatar '{folder.name}' are JPEGs; {again}")
    is_named = folder.parent != cache_folder() / "avatars"
    if is_named and config.background != "keep" and record.parameters.get("background") == "#ffffff":
        again = f"prepare it with {option('--background')} transparent"
        tell(f"warning: avatar '{folder.name}' keeps the background that it was prepared with; {again}")


def tell_opaque(config: Config, chosen: ChosenAvatar, tell: Tell) -> None:
    """Say that a transparent avatar goes to where nothing is transparent, unless its background was named."""
    if chosen.load_layers is not None and config.background in ("keep", "transparent"):
        kept = "only .webm, .mov and .png keep it transparent"
        tell(f"warning: the background is white, as {kept}; see {option('--background')}")


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
    from musetalk_cli.engine.avatar.portrait import portrait_names

    name, library = config.avatar, avatars_folder(config.avatar_dir)
    if name not in portrait_names() and not Path(name).exists() and not (library / name).exists():
        with blaming(config, "avatar"):
            raise _explain_unknown(config, library)


def _explain_unknown(config: Config, library: Path) -> AvatarError:
    """Raises AvatarError where the library cannot be read."""
    from musetalk_cli.engine.avatar.library import explain_unknown

    with blaming(config, "avatar_dir"):
        return explain_unknown(config.avatar, library)


def _find_folder(config: Config, tell: Tell | None) -> Path:
    """The folder of an avatar that is not built in; it is made when an image or a video was named."""
    from musetalk_cli.engine.avatar.avatar_files import is_avatar_folder

    library, location = avatars_folder(config.avatar_dir), Path(config.avatar)
    if location.name == config.avatar and is_avatar_folder(library / location):
        return library / location
    if is_avatar_folder(location):
        return location
    if not location.exists():
        raise _explain_unknown(config, library)
    from musetalk_cli.app.avatars.preparation import prepare_cached

    return prepare_cached(config, location, tell)
