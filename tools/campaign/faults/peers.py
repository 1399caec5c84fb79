"""Servers that are slow, stand still, or hang up: in front of an RTMP server, and for a voice by HTTP."""

from __future__ import annotations

import contextlib
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tools.campaign.faults.plans import BOUND_S, LIMIT_S, Plan, start
from tools.campaign.faults.processes import End
from tools.campaign.faults.scenes import MUSETALK, SMALL, Outcome, Place, Scene, check_video

FAULTS = ("delays", "cuts", "throttles", "freezes", "resets", "refuses")
STEP_S = 0.05


@dataclass(frozen=True)
class Fault:
    """What goes wrong, once so many bytes have come through."""

    kind: str
    after_bytes: int


def peers(chance: random.Random, scenes: list[Scene]) -> Plan:
    """A stream to a server, or a voice from one, through a faulty proxy; after some seconds, a signal."""
    fault = Fault(chance.choice(FAULTS), round(10 ** chance.uniform(0, 4.5)))
    sign, delay_s = chance.choice((signal.SIGINT, signal.SIGTERM)), chance.uniform(0.3, 4.0)
    is_source = chance.random() < 0.4

    def run(place: Place) -> End:
        port = place.shop.rtmp_server.port if place.shop.rtmp_server else 9
        with (
            http_server((place.work / "voice.wav").read_bytes()) as web,
            proxy(web if is_source else port, fault) as front,
        ):
            there = ["-i", "voice.wav", "-o", f"rtmp://127.0.0.1:{front}/live/talk", "-o", "o.mp4"]
            here = ["-i", f"http://127.0.0.1:{front}/voice.wav", "-o", "o.mp4"]
            command = start([*MUSETALK, "stream", *(here if is_source else there), *SMALL], place)
            while command.is_running and command.elapsed_s < delay_s:
                time.sleep(0.01)
            command.send(command.pid, sign)
            command.say(f"{sign.name} after {delay_s:.1f} s")
            return command.wait(LIMIT_S, BOUND_S)

    def check(place: Place, outcome: Outcome) -> Iterator[str]:
        if (place.work / "o.mp4").exists() and not (is_source and outcome.is_done):
            yield from check_video(place, outcome, "o.mp4")

    scene = Scene(
        "stream from HTTP" if is_source else "stream to RTMP", lambda place: [], check=check, known=("o.mp4",)
    )
    return Plan(scene, f"{fault.kind} after {fault.after_bytes} bytes", run, frozenset({0, 1, 128 + sign, -sign}))


@contextlib.contextmanager
def proxy(port: int, fault: Fault) -> Iterator[int]:
    """A port in front of another one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own_port = listener.getsockname()[1]
        if fault.kind == "refuses":
            listener.close()
        stop = threading.Event()
        thread = threading.Thread(target=accept, args=(listener, port, fault, stop), daemon=True)
        thread.start()
        try:
            yield own_port
        finally:
            stop.set()
            thread.join(5)


def accept(listener: socket.socket, port: int, fault: Fault, stop: threading.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        listener.settimeout(STEP_S)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                caller = listener.accept()[0]
                threading.Thread(target=carry, args=(caller, port, fault, stop), daemon=True).start()


def carry(caller: socket.socket, port: int, fault: Fault, stop: threading.Event) -> None:
    """Pass bytes on in both directions, until the fault."""
    num_bytes = 0
    with contextlib.suppress(OSError), caller, socket.create_connection(("127.0.0.1", port), 5) as inner:
        other = {caller: inner, inner: caller}
        while not stop.is_set():
            for source in select.select(list(other), [], [], STEP_S)[0]:
                is_faulty = num_bytes >= fault.after_bytes
                if is_faulty and fault.kind == "freezes":
                    stop.wait(STEP_S)
                    continue
                if is_faulty and fault.kind in ("delays", "throttles"):
                    stop.wait(0.5 if fault.kind == "delays" else 0.1)
                data = source.recv(200 if is_faulty and fault.kind == "throttles" else 1 << 14)
                if not data or (is_faulty and fault.kind in ("cuts", "resets")):
                    if fault.kind == "resets":
                        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    return
                num_bytes += len(data)
                other[source].sendall(data)


@contextlib.contextmanager
def http_server(body: bytes) -> Iterator[int]:
    """A server that answers every request with these bytes."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(
        body
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            listener.settimeout(STEP_S)
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    caller = listener.accept()[0]
                    with caller:
                        caller.settimeout(2)
                        caller.recv(1 << 14)
                        caller.sendall(answer + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join(5)
