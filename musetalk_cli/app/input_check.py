"""Looks at a voice where something else is wrong, too: an input that cannot be used is told before its output."""

from __future__ import annotations

from collections.abc import Iterator
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
