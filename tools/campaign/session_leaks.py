"""Open and cut off sessions in every way in one process, and see that nothing of them stays behind.

    python -m tools.campaign.session_leaks [--sessions 200]

Threads, file descriptors, children and resident memory are compared with those before, after a warm-up in which every
way has been gone once. The exit code is 1 where something has leaked.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psutil

from fixtures.fakes import tone
from musetalk_cli.app.session_assembly import Output, open_avatar
from musetalk_cli.configuration.schema import Config, VideoConfig
from musetalk_cli.engine.session import Session
from musetalk_cli.errors import SessionError

SIZE_PX = 256
SETTLE_S = 5.0
# What the allocator keeps wanders by 30 MB and stops there, over 900 sessions as over 200. Of 200 sessions, each may
# leave 0.2 MB unseen: two frames, or a tenth of an encoder.
MAX_GROWN_MB = 40.0
VOICE = tone(2.0)
WARM_ROUNDS = 5
OUTPUTS: tuple[Output, ...] = ("frames", "fragments")

Open = Callable[[Output], Session]


class Held(NamedTuple):
    """What a process holds."""

    num_threads: int
    num_descriptors: int
    num_children: int
    resident_mb: float


def never_iterate(session: Session) -> None:
    session.close()


def iterate_a_little(session: Session) -> None:
    take(session, 3)
    session.close()


def close_while_pushing(session: Session) -> None:
    with in_background(lambda: push_for_ever(session)):
        take(session, 3)
        session.close()


def close_while_a_consumer_waits(session: Session) -> None:
    take(session, 8)  # the lead: the next one is not due yet
    with in_background(lambda: list(session)):
        session.close()


def close_while_clearing(session: Session) -> None:
    session.push(VOICE, 48_000)
    take(session, 3)
    with in_background(lambda: clear_for_ever(session)):
        take(session, 3)
        session.close()


def fail_in_the_consumer(session: Session) -> None:
    with contextlib.suppress(ZeroDivisionError), session:
        for _ in session:
            session.push(VOICE, 48_000)
            raise ZeroDivisionError


def lose_it(session: Session) -> None:
    session.push(VOICE, 48_000)
    take(session, 3)


def lose_it_at_once(session: Session) -> None:
    pass


def finish_and_drain(session: Session) -> None:
    session.push(VOICE[:9_600], 48_000)
    session.finish()
    list(session)
    session.close()


def interrupt_and_close(session: Session) -> None:
    session.push(VOICE, 48_000)
    take(session, 4)
    session.clear()
    take(session, 2)
    session.close()


WAYS = (
    never_iterate,
    iterate_a_little,
    close_while_pushing,
    close_while_a_consumer_waits,
    close_while_clearing,
    fail_in_the_consumer,
    lose_it,
    lose_it_at_once,
    finish_and_drain,
    interrupt_and_close,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200)
    args = parser.parse_args()
    config = Config(avatar="nora", model="warp", video=VideoConfig(size=SIZE_PX))
    with open_avatar(config, lambda *_: None) as avatar:
        before, after = run(lambda output: avatar.open_session(output=output), args.sessions)
    leaks = find_leaks(before, after)
    print(f"{args.sessions} sessions\nbefore {before}\nafter  {after}\n{'; '.join(leaks) or 'nothing leaked'}")
    return 1 if leaks else 0


def run(open_session: Open, num_sessions: int) -> tuple[Held, Held]:
    """What the process held before and after so many sessions, each ended in the next way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the lost ones, which are lost on purpose
        go(open_session, WARM_ROUNDS * len(WAYS) * len(OUTPUTS))
        before = settle()
        go(open_session, num_sessions)
        return before, settle(before)


def go(open_session: Open, num_sessions: int) -> None:
    for number in range(num_sessions):
        way = WAYS[number % len(WAYS)]
        way(open_session(OUTPUTS[number // len(WAYS) % len(OUTPUTS)]))


def settle(before: Held | None = None) -> Held:
    """What is held once the threads of lost sessions have ended, for which nobody waits."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        gc.collect()
        held = measure()
        is_settled = not find_leaks(before, held) if before else not count_own_threads()
        if is_settled or time.monotonic() > deadline:
            return held
        time.sleep(0.02)


def count_own_threads() -> int:
    return sum(thread.name.startswith("musetalk") for thread in threading.enumerate())


def measure() -> Held:
    process = psutil.Process()
    return Held(
        process.num_threads(), process.num_fds(), len(process.children()), round(process.memory_info().rss / 1e6, 1)
    )


def find_leaks(before: Held, after: Held) -> list[str]:
    """A sentence for whatever there is more of than before."""
    counts = zip(("threads", "descriptors", "children"), before[:3], after[:3], strict=True)
    leaks = [f"{new - old} {name} more" for name, old, new in counts if new > old]
    grown_mb = after.resident_mb - before.resident_mb
    return leaks + ([f"{grown_mb:.0f} MB more"] if grown_mb > MAX_GROWN_MB else [])


def take(session: Session, count: int) -> None:
    for _ in range(count):
        next(session)


def push_for_ever(session: Session) -> None:
    while True:
        session.push(VOICE, 48_000)


def clear_for_ever(session: Session) -> None:
    while True:
        session.clear()


@contextlib.contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread until the session refuses it, or it is over."""

    def run_it() -> None:
        with contextlib.suppress(SessionError):
            work()

    thread = threading.Thread(target=run_it)
    thread.start()
    yield
    thread.join()


if __name__ == "__main__":
    sys.exit(main())
