"""Which machine of a cluster gets the next session: the one with the largest free share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

# A client that was sent to a machine opens its session within this, or has given up.
PENDING_S = 10.0


@dataclass
class Load:
    """What a machine holds.

    ``num_sessions`` and ``num_opened``, sessions that live and sessions since its start, are what it said last.
    ``pending``: when clients were sent there that it has not had yet, by the caller's clock.
    """

    max_sessions: int
    num_sessions: int = 0
    num_opened: int = 0
    pending: deque[float] = field(default_factory=deque)

    def note(self, num_sessions: int, num_opened: int) -> None:
        """Take over what the machine says: those that it opened are no longer awaited."""
        for _ in range(min(len(self.pending), num_opened - self.num_opened)):
            self.pending.popleft()
        self.num_sessions, self.num_opened = num_sessions, num_opened

    def expect(self, now_s: float) -> None:
        """A client has been sent there."""
        self.pending.append(now_s)

    def forget(self, sent_at_s: float) -> None:
        """A client that was sent there at this time is not awaited."""
        if sent_at_s in self.pending:
            self.pending.remove(sent_at_s)

    def num_taken(self, now_s: float) -> int:
        """Sessions that live or are about to."""
        while self.pending and self.pending[0] < now_s - PENDING_S:
            self.pending.popleft()
        return self.num_sessions + len(self.pending)

    def free_share(self, now_s: float) -> float:
        """Of its sessions, 0 where all are taken."""
        return max(0.0, 1 - self.num_taken(now_s) / self.max_sessions)


class Awaited:
    """Which clients are awaited where: each ``max_per_client`` times, the last ones, so that none holds all places."""

    def __init__(self, max_per_client: int) -> None:
        self._max_per_client = max_per_client
        self._sent: dict[str, deque[tuple[Load, float]]] = {}

    def send(self, client: str | None, load: Load, now_s: float) -> None:
        """A client was sent to a machine; None is not bounded."""
        load.expect(now_s)
        self._sent = {each: sent for each, sent in self._sent.items() if sent[-1][1] >= now_s - PENDING_S}
        if client is None:
            return
        sent = self._sent.setdefault(client, deque())
        sent.append((load, now_s))
        if len(sent) > self._max_per_client:
            before, sent_at_s = sent.popleft()
            before.forget(sent_at_s)


def choose(loads: Iterable[Load], now_s: float) -> Load | None:
    """The load of the machine that gets the next session, None where all are full."""
    best = max(loads, key=lambda load: load.free_share(now_s), default=None)
    return best if best and best.free_share(now_s) > 0 else None
