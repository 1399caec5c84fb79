"""One MP4 to several sinks, which all get everything; the slowest sets the pace."""

from __future__ import annotations

from collections.abc import Sequence

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError


class SinkGroup:
    """A Sink of others. What one of them raises ends the run, and all the others with it."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self.name = ", ".join(sink.name for sink in sinks)

    def begin(self, init_segment: InitSegment) -> None:
        for sink in self._sinks:
            sink.begin(init_segment)

    def write(self, fragment: Fragment) -> None:
        for sink in self._sinks:
            sink.write(fragment)

    def cancel(self) -> None:
        for sink in self._sinks:
            sink.cancel()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        errors: list[SinkError | Aborted] = []
        for sink in self._sinks:
            try:
                sink.close(is_whole=is_whole, is_final=is_final)
            except (SinkError, Aborted) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    @property
    def where(self) -> str | None:
        return ", ".join(self.places) or None

    @property
    def places(self) -> list[str]:
        """After ``close``: where there is something to play."""
        return [sink.where for sink in self._sinks if sink.where]


def list_places(sink: Sink) -> list[str]:
    """After a sink's ``close``: where there is something to play."""
    if isinstance(sink, SinkGroup):
        return sink.places
    return [sink.where] if sink.where else []
