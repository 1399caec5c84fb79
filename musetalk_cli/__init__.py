"""Lip sync in Python: a voice and an avatar in, video out.

What this module exports is the public interface, described in docs/python.md; other modules may change at any time.
Everything is loaded when it is first used, so importing this module costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musetalk_cli.app.api import RenderResult as RenderResult
    from musetalk_cli.app.api import list_avatars as list_avatars
    from musetalk_cli.app.api import open_async_session as open_async_session
    from musetalk_cli.app.api import open_avatar as open_avatar
    from musetalk_cli.app.api import open_session as open_session
    from musetalk_cli.app.api import prepare_avatar as prepare_avatar
    from musetalk_cli.app.api import render as render
    from musetalk_cli.app.avatars.listing import AvatarInfo as AvatarInfo
    from musetalk_cli.app.session_assembly import OpenAvatar as OpenAvatar
    from musetalk_cli.engine.async_session import AsyncSession as AsyncSession
    from musetalk_cli.engine.outputs.fragments import Fragment as Fragment
    from musetalk_cli.engine.outputs.fragments import InitSegment as InitSegment
    from musetalk_cli.engine.session import Session as Session
    from musetalk_cli.engine.types.session import Frame as Frame
    from musetalk_cli.engine.types.session import Interruption as Interruption
    from musetalk_cli.engine.types.session import Late as Late
    from musetalk_cli.engine.types.session import UtteranceFinished as UtteranceFinished
    from musetalk_cli.engine.types.session import UtteranceStarted as UtteranceStarted
    from musetalk_cli.errors import AvatarError as AvatarError
    from musetalk_cli.errors import ConfigError as ConfigError
    from musetalk_cli.errors import EncoderError as EncoderError
    from musetalk_cli.errors import ModelError as ModelError
    from musetalk_cli.errors import MuseTalkError as MuseTalkError
    from musetalk_cli.errors import QueueFullError as QueueFullError
    from musetalk_cli.errors import SessionError as SessionError
    from musetalk_cli.errors import SinkError as SinkError
    from musetalk_cli.errors import SourceError as SourceError
    from musetalk_cli.errors import StageError as StageError

__version__ = "0.2.0.dev0"

_ROOMS = {
    "app.api": (
        "RenderResult",
        "list_avatars",
        "open_async_session",
        "open_avatar",
        "open_session",
        "prepare_avatar",
        "render",
    ),
    "app.avatars.listing": ("AvatarInfo",),
    "app.session_assembly": ("OpenAvatar",),
    "engine.async_session": ("AsyncSession",),
    "engine.outputs.fragments": ("Fragment", "InitSegment"),
    "engine.session": ("Session",),
    "engine.types.session": ("Frame", "Interruption", "Late", "UtteranceFinished", "UtteranceStarted"),
    "errors": (
        "AvatarError",
        "ConfigError",
        "EncoderError",
        "ModelError",
        "MuseTalkError",
        "QueueFullError",
        "SessionError",
        "SinkError",
        "SourceError",
        "StageError",
    ),
}
_HOMES = {name: f"musetalk_cli.{room}" for room, names in _ROOMS.items() for name in names}

__all__ = [
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'musetalk_cli' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
