"""What sessions may ask for: the avatars that the server's owner named, opened once, and one model."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.model_choice import choose_model
from musetalk_cli.app.session_assembly import OpenAvatar, open_avatar
from musetalk_cli.configuration.origins import blaming
from musetalk_cli.engine.outputs.fragments import InitSegment
from musetalk_cli.errors import AvatarError, ConfigError
from musetalk_cli.serve.protocol import CloseCode, Ready, Start
from musetalk_cli.serve.wire import OfferedAvatar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.session import Session
    from musetalk_cli.engine.types.messages import Tell

THUMBNAIL_PX = 512  # the page shows it in place of the video until a session runs
AUDIO_CODEC = "mp4a.40.2"  # AAC-LC


class RefusedError(Exception):
    """A connection that ends with an error for the client; ``code`` is why."""

    def __init__(self, code: CloseCode, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True)
class OpenedSession:
    """A session, its init segment, and what its client is told. ``max_queued_s``: of voice that may wait."""

    session: Session
    init_segment: InitSegment
    ready: Ready
    max_queued_s: float


class Offer:
    """The avatars by the names that clients know, each in the server's size and rate, and for a session in others.

    A name that is not among them opens nothing: clients name avatars, never files. Safe to use from several threads.
    """

    def __init__(self, config: Config, avatars: Sequence[str], tell: Tell, found: Sequence[str] = ()) -> None:
        """Open the model and all avatars; one of ``found`` that cannot be opened is left out. Raises MuseTalkError."""
        self.model = choose_model(config, tell)
        self._lock = threading.Lock()
        self._configs: dict[str, Config] = {}
        self._open: dict[Config, tuple[OpenAvatar, int]] = {}
        try:
            for avatar in avatars:
                try:
                    with blaming(config, "avatar" if avatar == config.avatar else "serve.avatars"):
                        self._add(replace(config, avatar=avatar), tell)
                except AvatarError as error:
                    if avatar not in found:
                        raise
                    tell(f"avatar '{avatar}' is not offered: {error}")
        except BaseException:
            self.close()
            raise

    def _add(self, config: Config, tell: Tell) -> None:
        name = Path(config.avatar).stem if "/" in config.avatar or Path(config.avatar).is_file() else config.avatar
        if name in self._configs:
            raise ConfigError(f"two avatars are called '{name}'", hint="prepare one of them under another name")
        self._open[config] = open_avatar(config, tell), 1
        self._configs[name] = config

    def warm_up(self) -> None:
        """Run everything once, in this thread alone."""
        for avatar, _ in self._open.values():
            avatar.warm_up()

    @property
    def first(self) -> OpenAvatar:
        """What a session shows that names no avatar."""
        return self._open[next(iter(self._configs.values()))][0]

    def describe(self) -> tuple[OfferedAvatar, ...]:
        """All avatars, each with a thumbnail."""
        return tuple(_describe(name, self._open[config][0]) for name, config in self._configs.items())

    def open_session(self, start: Start) -> OpenedSession:
        """Begin the session that a client asks for; closing it releases what was opened for it.

        Raises RefusedError for what is not offered, MuseTalkError where it cannot be opened.
        """
        name, config = self._choose(start)
        avatar = self._take(config)
        try:
            session = avatar.open_session(output="fragments", block_s=start.block_s, lead_s=start.lead_s)
        except BaseException:
            self._release(config)
            raise
        session.on_close(lambda: self._release(config))
        init_segment = next(item for item in session if isinstance(item, InitSegment))
        ready = Ready(
            session="",
            avatar=name,
            model=self.model,
            mime=describe_type(init_segment),
            width=avatar.width,
            height=avatar.height,
            fps=float(avatar.frame_rate),
            rate_hz=start.rate_hz,
            lead_s=session.settings.lead_s,
            block_s=session.settings.block_s,
            viewers="",
        )
        return OpenedSession(session, init_segment, ready, session.settings.max_queued_s)

    def close(self) -> None:
        """Close what is open; call it when all sessions have ended."""
        while self._open:
            self._open.popitem()[1][0].close()

    def _choose(self, start: Start) -> tuple[str, Config]:
        """The avatar's name, and the settings of the session. Raises RefusedError."""
        if start.model not in (None, "auto", self.model):
            raise RefusedError(CloseCode.NOT_FOUND, "this server has no such model", f"it has: {self.model}")
        name = next(iter(self._configs)) if start.avatar is None else start.avatar
        if name not in self._configs:
            raise RefusedError(
                CloseCode.NOT_FOUND, "this server has no such avatar", f"it has: {', '.join(self._configs)}"
            )
        config = self._configs[name]
        video = replace(
            config.video,
            size=start.size or config.video.size,
            fps=start.fps or config.video.fps,
        )
        return name, replace(config, video=video)

    def _take(self, config: Config) -> OpenAvatar:
        from musetalk_cli.ui.console import say_nothing

        with self._lock:
            avatar, users = self._open.get(config) or (open_avatar(config, say_nothing), 0)
            self._open[config] = avatar, users + 1
        return avatar

    def _release(self, config: Config) -> None:
        with self._lock:
            if config not in self._open:
                return  # all has been closed
            avatar, users = self._open[config]
            self._open[config] = avatar, users - 1
            if users == 1:
                del self._open[config]
                avatar.close()


def describe_type(init_segment: InitSegment) -> str:
    """The stream's MIME type with its codecs, as MediaSource takes it (RFC 6381)."""
    at = init_segment.data.index(b"avcC") + 5
    profile = init_segment.data[at : at + 3].hex()
    return f'video/mp4; codecs="avc1.{profile},{AUDIO_CODEC}"'


def _describe(name: str, avatar: OpenAvatar) -> OfferedAvatar:
    import cv2

    image = avatar.image()
    scale = min(1.0, THUMBNAIL_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    _, data = cv2.imencode(
        ".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    return OfferedAvatar(name, avatar.kind, avatar.width, avatar.height, data.tobytes())
