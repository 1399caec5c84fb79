"""How many sessions this machine holds: measured with a session that does not wait for its clock."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray

if TYPE_CHECKING:
    from musetalk_cli.serve.worker.offer import Offer

VOICE_S = 1.2
WARM_FRAMES = 6  # are not measured: the first ones load code and fill caches
# Of the cores. A session that keeps to its clock costs a sixth more than this measurement, for its threads wait between
# frames (7.3 to 8.1 ms a frame beside 6.8 ms); the fifth that is left is the server's and the system's.
USABLE_SHARE = 0.7
MOST_S = 5.0  # a child that takes longer is ended
JUMP_S = 1e6


@dataclass(frozen=True)
class FrameCost:
    """Of one frame, in seconds: of all threads' CPU time, and as time passed."""

    cpu_s: float
    wall_s: float


class UnpacedClock(StreamClock):
    """Stands still until ``release``; from then on, everything is due."""

    def __init__(self) -> None:
        super().__init__()
        self._offset_s = 0.0

    def release(self) -> None:
        self._offset_s = JUMP_S

    def read(self) -> float:
        return self._offset_s

    def pause(self, duration_s: float) -> None:
        """Time passes nowhere here."""


def measure_here(offer: Offer) -> int:
    """Sessions of the first avatar that this process holds, by how fast it makes frames for one."""
    rate = float(offer.first.frame_rate)
    return max(1, int(USABLE_SHARE / (measure_cost(offer).wall_s * rate)))


def measure_forked(offer: Offer) -> int:
    """Sessions of the first avatar, each in a process of its own, that all cores hold.

    All cores are busy meanwhile: two that share one core's arithmetic are slower then.
    """
    num_cores = count_cores()
    children = [_fork_measurement(offer) for _ in range(num_cores)]
    costs = [cost for child in children if (cost := _read_cost(*child)) is not None]
    if not costs:
        return num_cores
    cpu_s = sum(costs) / len(costs)
    return max(1, int(USABLE_SHARE * num_cores / (cpu_s * float(offer.first.frame_rate))))


def measure_cost(offer: Offer) -> FrameCost:
    """Make the frames of a voice as fast as possible, encoded. Raises what a session raises."""
    clock = UnpacedClock()
    avatar = offer.first
    with avatar.open_session(output="fragments", clock=clock, is_patient=True) as session:
        session.push(make_voice(VOICE_S), AUDIO_RATE_HZ)
        session.finish()
        clock.release()
        num_frames, cpu_s, wall_s = 0, 0.0, 0.0
        for item in session:
            num_frames += isinstance(item, Fragment)
            if num_frames == WARM_FRAMES and isinstance(item, Fragment):
                cpu_s, wall_s = time.process_time(), time.perf_counter()
        measured = max(1, num_frames - WARM_FRAMES)
        return FrameCost((time.process_time() - cpu_s) / measured, (time.perf_counter() - wall_s) / measured)


def make_voice(duration_s: float) -> AudioArray:
    """A buzz with the rhythm of syllables, int16 (n, 1) at 48 kHz: the mouth moves as with speech."""
    times_s = np.arange(int(duration_s * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    buzz = np.sign(np.sin(2 * np.pi * 120 * times_s)) * np.clip(np.sin(2 * np.pi * 4 * times_s), 0, 1)
    return np.asarray(8_000 * buzz, np.int16)[:, None]


def _fork_measurement(offer: Offer) -> tuple[int, int]:
    """A child that measures: its number, and where its figure can be read."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writes)
        return pid, reads
    code = 1
    try:
        threading.Timer(MOST_S, os._exit, (1,)).start()
        os.write(writes, json.dumps(measure_cost(offer).cpu_s).encode())
        code = 0
    finally:
        os._exit(code)


def _read_cost(pid: int, reads: int) -> float | None:
    with os.fdopen(reads) as file:
        line = file.read()
    os.waitpid(pid, 0)
    return float(json.loads(line)) if line else None
