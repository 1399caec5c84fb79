"""How many sessions there may be: in all, and of one client. Nobody waits; who is refused is told when to return."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from musetalk_cli.serve.front.reasons import Refusal

RETRY_AFTER_S = 5


class Admission:
    """Counts sessions from before their WebSocket is accepted until their worker is let go."""

    def __init__(self, max_sessions: int, max_per_client: int) -> None:
        self._max_sessions, self.max_per_client = max_sessions, max_per_client
        self.is_draining = False
        self._of_client: Counter[str] = Counter()

    @property
    def max_sessions(self) -> int:
        """Sessions that there may be."""
        return self._max_sessions

    @property
    def num_sessions(self) -> int:
        """Sessions that live or are about to."""
        return self._of_client.total()

    def refuse(self, address: str) -> Refusal | None:
        """Why a client at this address gets no session now, None where it does."""
        if self.is_draining:
            return Refusal(503, "draining", "the server is shutting down", "", RETRY_AFTER_S)
        if self.num_sessions >= self.max_sessions:
            hint = "try again when one of them has ended"
            message = f"all {self.max_sessions} sessions are taken" if self.max_sessions > 1 else "the session is taken"
            return Refusal(503, "full", message, hint, RETRY_AFTER_S)
        client = client_of(address)
        if client is not None and self._of_client[client] >= self.max_per_client:
            hint = "end one of them first"
            message = f"you have {self.max_per_client} sessions already, which is the limit of one client"
            return Refusal(429, "client_full", message, hint, RETRY_AFTER_S)
        return None

    @contextmanager
    def seat(self, address: str) -> Iterator[None]:
        """Count a session of this client for as long as the block runs."""
        client = client_of(address) or ""
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]


def client_of(address: str) -> str | None:
    """Whom an address belongs to: itself, or its /64 network of IPv6; None on this machine, which is not bounded.

    A socket of both has IPv4 within IPv6, ``::ffff:192.0.2.1``: all of that is one /64 network.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return None
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
