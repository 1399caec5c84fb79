"""One run of the campaign: what is done to which command, and whether everything held."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from tools.campaign.faults.processes import Command, End
from tools.campaign.faults.scenes import Outcome, Place, Scene

LIMIT_S = 300.0  # for a run to which nothing was done, on a busy machine
BOUND_S = 30.0  # from the first signal to the end, likewise: 9 s are documented
EARLY_S = 2.0  # before that, Python itself may still start, and a signal ends it without a word of ours
PEAK_MB = 600.0
UNNAMED = ("Traceback (most recent call last)", "internal error", "Fatal Python error", "Exception ignored")
# What Python says where a signal comes before the first line of ours.
INTERRUPTED_START = "KeyboardInterrupt"
# What Python says of a thread that has no memory for its first line. Whoever started it waits until a signal comes.
NEVER_BEGUN = "Exception ignored in thread started by"
NEVER_BEGUN_S = 60.0  # how long that is looked at

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """``words`` say what is done; ``run`` does it; ``codes`` are the exit codes that it may have.

    ``around`` is entered before the command starts and left after the checks; ``checks_scene`` is false where the
    world was changed so that the scene's own rules do not hold. ``may_leave_remains``: it may not be able to tidy up;
    ``may_be_silent``: nor to say anything.
    """

    scene: Scene
    words: str
    run: Callable[[Place], End]
    codes: frozenset[int]
    around: Callable[[Place], AbstractContextManager[object]] = lambda place: nullcontext()
    checks_scene: bool = True
    may_leave_remains: bool = False
    may_be_silent: bool = False

    def execute(self, place: Place) -> Record:
        """Run it in a fresh world; ``violations`` of the record are sentences."""
        with self.around(place):
            place.shop.fill(place.root)
            place.logs.mkdir(exist_ok=True)
            self.scene.prepare(place)
            end = self.run(place)
            violations = list(self.judge(place, end))
        record: Record = {"scene": self.scene.name, "words": self.words, "struck": end.struck, "code": end.code}
        record |= {"seconds": round(end.seconds, 2), "wait_s": round(end.wait_s, 2), "peak_mb": round(end.peak_mb)}
        return record | ({"violations": violations, "stderr": end.stderr[-3000:]} if violations else {})

    def judge(self, place: Place, end: End) -> Iterable[str]:
        """What does not hold."""
        if end.code is None:
            if NEVER_BEGUN not in end.stderr:
                yield f"still running after {end.wait_s or end.seconds:.0f} s"
            return
        yield from (f"left running: {words[:200]}" for words in end.orphans)
        if end.code == 1 and INTERRUPTED_START in end.stderr and "musetalk_cli" not in end.stderr:
            return  # Python was interrupted while it loaded itself
        if end.code not in self.codes:
            yield f"exit code {end.code}, not one of {sorted(self.codes)}"
        is_early = end.code < 0 and end.code != -signal.SIGKILL
        is_pythons = NEVER_BEGUN in end.stderr or (is_early and INTERRUPTED_START in end.stderr)
        if any(word in end.stderr for word in UNNAMED) and not is_pythons:
            yield "an error without a name"
        if (
            not self.may_be_silent
            and end.code in (1, 2)
            and not any(line.startswith("musetalk: ") for line in end.stderr.splitlines())
        ):
            yield "it failed without a line of ours"
        if end.peak_mb > PEAK_MB:
            yield f"{end.peak_mb:.0f} MB of memory"
        if self.checks_scene:
            outcome = Outcome(is_killed=end.code < 0, is_done=end.code == 0)
            yield from self.scene.check(place, outcome)
            yield from self.scene.find_strays(place, outcome._replace(is_killed=end.code < 0 or self.may_leave_remains))


def start(plan_args: Iterable[str], place: Place, **options: Any) -> Command:
    """A command in its world, started."""
    environment = {**place.shop.environment, "MUSETALK_HOME": str(place.home), "TMPDIR": str(place.temporary)}
    environment |= options.pop("environment", {})
    command = Command(list(plan_args), place.work, place.logs, environment, **options)
    command.start()
    return command


def draw(chance: random.Random, scenes: list[Scene]) -> Scene:
    """A scene, by weight."""
    return chance.choices(scenes, [scene.weight for scene in scenes])[0]
