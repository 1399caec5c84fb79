"""Which avatars a server offers: those that its owner named, or else the built-in ones and, where only this machine can
come in, those that were prepared here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.types.messages import Tell

BUILT_IN = ("nora", "theo")
# Each is opened when the server starts, and stays in memory.
MOST_FOUND = 8


def choose_offered(config: Config, tell: Tell, *, is_private: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The avatars that sessions may name.

    Args:
        config: all settings; the first avatar is ``config.avatar``.
        tell: takes a line for the user.
        is_private: whether only programs of this machine reach the server, and nobody asked for a token.

    Returns:
        All of them, and which of those nobody named: one of these that cannot be opened is left out.
    """
    if config.serve.avatars is not None:
        return tuple(dict.fromkeys((config.avatar, *config.serve.avatars))), ()
    found = _find_prepared(config) if is_private else []
    if len(found) > MOST_FOUND:
        tell(f"{MOST_FOUND} of {len(found)} prepared avatars are offered, the newest; --allow-avatar NAME names others")
    names = dict.fromkeys((config.avatar, *BUILT_IN, *found[:MOST_FOUND]))
    return tuple(names), tuple(name for name in found if name != config.avatar)


def _find_prepared(config: Config) -> list[str]:
    """Prepared avatars, the newest first; for a neural model, those whose latents are there, since others take long."""
    from musetalk_cli.app.avatars.listing import list_avatars
    from musetalk_cli.app.model_choice import BEST, has_weights
    from musetalk_cli.errors import AvatarError

    is_warp = config.model == "warp" or (config.model == "auto" and not has_weights(BEST))
    model = "warp" if is_warp else "musetalk"
    try:
        listed = [info for info in list_avatars(config) if info.folder is not None and model in info.models]
        return [info.name for info in sorted(listed, key=lambda info: -info.folder.stat().st_mtime)]  # type: ignore[union-attr]
    except (AvatarError, OSError):  # the folder cannot be read; nobody named it
        return []
