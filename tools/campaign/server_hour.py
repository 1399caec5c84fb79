"""Three conversations for an hour, with pauses and interruptions: do frames, audio and the clock stay together?

    python -m tools.campaign.server_hour [--minutes 60]

In every minute, where the audio ends is compared with where the frames end, and both with the time that has gone by;
and the memory of the server is noted. The exit code is 1 where either drifts, or the last quarter needs more memory
than the second.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time

import numpy as np

from fixtures.serve_client import ServeClient, audio_end_s
from fixtures.serve_process import ServeProcess
from musetalk_cli.benchmark.workload.speech import speech

NUM_SESSIONS = 3
RATE_HZ = 48_000
FRAME_S = 0.04
VOICE_S = 12.0
INTERRUPTED = 0.3  # of all utterances
MAX_DRIFT_S = 0.020
MAX_GROWTH = 1.05


class Talker(ServeClient):
    """Speaks, pauses and interrupts itself, and notes how far frames and audio are."""

    def __init__(self, url: str, seed: int) -> None:
        self.num_frames = -1  # the init segment comes first
        self.audio_s = 0.0
        self.offsets_s: list[float] = []  # audio's end less the frames', in the current minute
        self.behind_s: list[float] = []  # arrival less the frame's time, likewise
        self.num_clears = 0
        super().__init__(url, rate_hz=RATE_HZ)
        self._moments = random.Random(seed)
        self.is_over = threading.Event()
        self.talking = threading.Thread(target=self._talk, daemon=True)
        self.talking.start()

    def keep(self, data: bytes) -> bytes:
        self.num_frames += 1
        if self.num_frames:
            self.audio_s = audio_end_s(data, self.audio_s)
            self.offsets_s.append(self.audio_s - self.num_frames * FRAME_S)
            self.behind_s.append(time.perf_counter() - self.num_frames * FRAME_S)
        return data[:1]

    def take_minute(self) -> tuple[float, float]:
        """Mean offset of the audio, and how far behind the promptest fragment was, since the last call."""
        offsets, self.offsets_s = self.offsets_s, []
        behind, self.behind_s = self.behind_s, []
        return float(np.mean(offsets)), min(behind)

    def _talk(self) -> None:
        voice, pick = speech(VOICE_S)[:, 0], self._moments
        while not self.is_over.is_set():
            duration_s = pick.uniform(1.0, 6.0)
            start = round(pick.uniform(0, VOICE_S - duration_s) * RATE_HZ)
            self.push(voice[start : start + round(duration_s * RATE_HZ)])
            self.send(type="end_utterance")
            if pick.random() < INTERRUPTED:
                self.is_over.wait(pick.uniform(0.1, duration_s))
                self.send(type="clear")
                self.num_clears += 1
            else:
                self.is_over.wait(duration_s)
            self.is_over.wait(pick.uniform(0.5, 4.0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60, help="at least 4")
    args = parser.parse_args()
    with ServeProcess("--size", "512", "--max-sessions", str(NUM_SESSIONS)) as server:
        talkers = [Talker(server.url, seed) for seed in range(NUM_SESSIONS)]
        time.sleep(10)
        for talker in talkers:
            talker.take_minute()
        minutes, used_mb = [], []
        for minute in range(args.minutes):
            time.sleep(60)
            minutes.append([talker.take_minute() for talker in talkers])
            used_mb.append(sum(each.memory_full_info().pss for each in server.processes()) / 1e6)
            print(f"minute {minute + 1}: {1000 * drift_s(minutes):.1f} ms of drift, {used_mb[-1]:.0f} MB", flush=True)
        held = sum(each.message["num_held"] for talker in talkers for each in talker.received if each.type == "late")
        num_clears = sum(talker.num_clears for talker in talkers)
        for talker in talkers:
            talker.is_over.set()
            talker.talking.join()
            talker.close()
    # In the first quarter the allocators' caches fill; from then on memory is flat, or something leaks.
    quarters = [float(np.mean(part)) for part in np.array_split(used_mb, 4)]
    growth = quarters[-1] / quarters[1]
    shown = ", ".join(f"{each:.0f}" for each in quarters)
    print(
        f"{num_clears} interruptions, {held} held; drift {1000 * drift_s(minutes):.1f} ms; {shown} MB, × {growth:.3f}"
    )
    return 0 if drift_s(minutes) < MAX_DRIFT_S and growth <= MAX_GROWTH else 1


def drift_s(minutes: list[list[tuple[float, float]]]) -> float:
    """The most by which any session's offset or lateness has moved from its first minute to its last."""
    return max(
        abs(last[figure] - first[figure])
        for first, last in zip(minutes[0], minutes[-1], strict=True)
        for figure in (0, 1)
    )


if __name__ == "__main__":
    sys.exit(main())
