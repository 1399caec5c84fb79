"""Looks at what is read before anything is written: it is not to be lost, and what is wrong with it is told first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import SinkError


@contextmanager
def input_first(config: Config, voice: str | None) -> Iterator[None]:
    """A SinkError that is raised meanwhile gives way to the SourceError of the voice, a path or URL, where it has one.

    Nothing is read from addresses, standard input and other streams.
    """
    try:
        yield
    except SinkError:
        if voice is not None:
            check_voice(config, voice)
        raise


def check_not_replaced(config: Config, voice: str | None, outputs: Iterable[str]) -> None:
    """Raise SinkError where an output would replace what it is made of: the voice, the avatar or its background.

    ``voice``: a path, an address or -; None for what is no file.
    """
    places = {os.path.realpath(output): output for output in outputs if _is_file(output)}
    for what, name in (("input", voice), ("avatar", config.avatar), ("background", config.background)):
        if name and _is_file(name) and (output := places.get(os.path.realpath(name))):
            raise SinkError(f"{what} and output are the same file: {output}", hint="choose another name")


def _is_file(name: str) -> bool:
    """Whether a file is there; an address may be longer than a path can be, and the working directory gone."""
    return os.path.isfile(name)  # noqa: PTH113 - Path's raises for such


def check_voice(config: Config, voice: str) -> None:
    """Raise SourceError where a voice cannot be opened, or is a file without audio."""
    from musetalk_cli.engine.audio.decoder import DecoderProcess, check_input
    from musetalk_cli.engine.audio.sources import FileSource

    check_input(voice)
    if Path(voice).is_file():
        with closing(
            FileSource(DecoderProcess(voice, find_ffmpeg(config, lambda line: None, is_local=True)))
        ) as source:
            source.open()
