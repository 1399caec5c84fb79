"""Several sessions at once, for as long as it takes: who gets its frames in time, and what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np

from fixtures.serve_client import ServeClient
from fixtures.serve_process import ServeProcess
from tools.measure.sessions import Row

RATE_HZ = 48_000
SHORT_S = 20.0
AHEAD_S = 5.0  # voice that waits in the session
NUM_FURTHER = 4
REST_S = 3.0  # behind the voices: a second later, sessions give back what these took


def measure_memory(server: ServeProcess, voice: np.ndarray) -> Iterator[Row]:
    """The server without a session, and what further ones add, by proportional set size: shared memory counts once."""
    idle_mb, num_processes = used_mb(server), len(server.processes())
    yield Row("memory of the idle server", f"{idle_mb:.0f} MB in {num_processes} processes")
    clients, used = [], []
    for count in (1, NUM_FURTHER):
        for _ in range(count):
            clients.append(ServeClient(server.url, rate_hz=RATE_HZ))
            clients[-1].push(voice[:RATE_HZ])
            clients[-1].send(type="end_utterance")
        for client in clients:
            client.wait_for("utterance_finished")
        time.sleep(REST_S)
        used.append(used_mb(server))
    for client in clients:
        client.close()
    share_mb = (used[1] - used[0]) / NUM_FURTHER
    yield Row(f"memory of a further session, mean of {NUM_FURTHER}", f"{share_mb:.0f} MB")


def used_mb(server: ServeProcess) -> float:
    return sum(process.memory_full_info().pss for process in server.processes()) / 1e6


def measure_load(server: ServeProcess, voice: np.ndarray, counts: list[int], long_s: float) -> Iterator[Row]:
    """Sessions that all speak without a pause; the longest run is that of 8."""
    for count in counts:
        yield measure_count(server, voice, count, long_s if count == 8 else SHORT_S)


def measure_count(server: ServeProcess, voice: np.ndarray, count: int, duration_s: float) -> Row:
    speakers = [Speaker(server.url, voice) for _ in range(count)]
    for speaker in speakers:
        speaker.client.wait_for_data(20)
    cpu_s, begin = server.cpu_s(), time.perf_counter()
    time.sleep(duration_s)
    took_s = time.perf_counter() - begin
    cpu = (server.cpu_s() - cpu_s) / took_s
    for speaker in speakers:
        speaker.close()
    late_ms = [1000 * each for speaker in speakers for each in speaker.latenesses_s()]
    held = sum(speaker.num_held() for speaker in speakers)
    fps = [speaker.fps(begin, begin + took_s) for speaker in speakers]
    return Row(
        f"{count} sessions that speak for {duration_s:.0f} s",
        f"{held} held; {min(fps):.2f} fps at least; frames late by p95 {np.quantile(late_ms, 0.95):.0f} ms, "
        f"at most {max(late_ms):.0f} ms; {100 * cpu:.0f} % CPU",
        "8 sessions for 600 s, 0 held" if count == 8 else "",
    )


class Speaker:
    """A client that pushes voice some seconds ahead, for ever."""

    def __init__(self, url: str, voice: np.ndarray) -> None:
        self.client = ServeClient(url, rate_hz=RATE_HZ)
        self._voice = voice
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self.client.close()

    def num_held(self) -> int:
        return sum(each.message["num_held"] for each in self.client.received if each.type == "late")

    def fps(self, begin: float, end: float) -> float:
        return sum(bool(each.data) and begin <= each.at_s < end for each in self.client.received) / (end - begin)

    def latenesses_s(self) -> list[float]:
        """How much later than the promptest each fragment came, by the clock of its number."""
        times_s = [each.at_s for each in self.client.received if each.data][1:]
        behind_s = [at_s - 0.04 * number for number, at_s in enumerate(times_s)][10:]
        return [each - min(behind_s) for each in behind_s]

    def _speak(self) -> None:
        begin, pushed_s = time.monotonic(), 0.0
        while not self._is_over.is_set():
            if pushed_s < time.monotonic() - begin + AHEAD_S:
                self.client.push(self._voice)
                pushed_s += len(self._voice) / RATE_HZ
            self._is_over.wait(0.5)
