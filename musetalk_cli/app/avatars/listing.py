"""What avatars there are: the built-in ones, and those that were prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.settings.folders import avatars_folder
from musetalk_cli.configuration.origins import blaming
from musetalk_cli.configuration.schema import Config

if TYPE_CHECKING:
    from fractions import Fraction

    from musetalk_cli.engine.avatar.library import ListedAvatar


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
    with blaming(config, "avatar_dir"):
        prepared = library.list_avatars(avatars_folder(config.avatar_dir))
    return built_in + [describe_avatar(listed) for listed in prepared]


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
