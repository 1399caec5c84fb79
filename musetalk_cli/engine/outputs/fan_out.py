"""One encoded stream to several destinations at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.targets import LocalTarget, Target
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.engine.runtime.stats import TargetHealth
from musetalk_cli.errors import MuseTalkError, SinkError

SinkLossPolicy = Literal["retry", "stop"]


class FanOut:
    """A Sink that hands every fragment to all its targets; none of them can hold up another.

    ``waits``: a single target that is slow is waited for, instead of dropping frames for it, and ``on_wait`` is called
    with the seconds; only for a source that can be kept waiting itself. ``on_frames`` is called with the number of
    frames that have left.
    """

    name = "the targets"

    def __init__(
        self,
        targets: Sequence[Target],
        on_loss: SinkLossPolicy,
        tell: Callable[[str], None],
        *,
        waits: bool = False,
    ) -> None:
        self.targets = list(targets)
        self.on_frames: Callable[[int], None] = lambda num_frames: None
        self.on_wait: Callable[[float], None] = lambda duration_s: None
        self._on_loss = on_loss
        self._tell = tell
        self._waits = waits and len(targets) == 1
        self._told: set[str] = set()

    def begin(self, init_segment: InitSegment) -> None:
        for target in self.targets:
            target.begin(init_segment)

    def write(self, fragment: Fragment) -> None:
        for target in self.targets:
            if self._waits and (waited_s := target.queue.wait_for_room()):
                self.on_wait(waited_s)
            target.write(fragment)
        self.on_frames(fragment.num_frames)
        self._check()

    def drop_waiting(self) -> None:
        """Leave out what waits for targets that are behind: after an interruption, nobody needs it any more."""
        for target in self.targets:
            target.drop_waiting()

    def cancel(self) -> None:
        for target in self.targets:
            target.cancel()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        for target in self.targets:
            target.queue.finish()
        for target in self.targets:
            target.close(is_whole=is_whole, is_final=is_final)
            target.is_complete = is_final and target.error is None and not target.is_cut_off
        errors = [target.error for target in self.targets if isinstance(target.error, MuseTalkError)]
        is_file_lost = any(isinstance(target, LocalTarget) and target.error in errors for target in self.targets)
        # A server that is away at the end has been reported already; the other targets have everything.
        if is_whole and errors and (is_file_lost or len(errors) == len(self.targets)):
            raise errors[0]
        if is_whole and any(target.is_cut_off for target in self.targets):
            raise Aborted("targets")

    def discard(self) -> None:
        """After ``close``: remove the files, which have nothing of what they are for."""
        for target in self.targets:
            target.discard()

    def health(self) -> list[TargetHealth]:
        return [target.health() for target in self.targets]

    @property
    def where(self) -> str | None:
        """After ``close``: the targets that something has reached; None when nothing has."""
        return ", ".join(filter(None, (target.where for target in self.targets))) or None

    def _check(self) -> None:
        """Raise once nobody is left to send to, or somebody is lost and nobody may be."""
        lost = [target for target in self.targets if target.is_hopeless]
        if len(lost) == len(self.targets):
            self._raise(lost[0])
        if self._on_loss == "stop":
            for target in self.targets:
                if target.has_failed or target.error:
                    self._raise(target)
        for target in lost:
            if target.name not in self._told:
                self._told.add(target.name)
                gone = f"{target.name} is gone: {_reason(target)}"
                self._tell(gone if target.is_over else f"{target.error}; trying again while the stream goes on")

    def _raise(self, target: Target) -> None:
        raise target.error or SinkError(f"{target.name} is lost")


def _reason(target: Target) -> str:
    return "its reader has closed it" if isinstance(target.error, BrokenPipeError) else str(target.error)
