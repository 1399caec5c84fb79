"""A microphone that goes away, comes back or stands still while it is streamed: a private PulseAudio's."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fixtures.servers import PulseAudio, pulse_audio
from tools.campaign.faults.plans import BOUND_S, LIMIT_S, Plan, start
from tools.campaign.faults.processes import Command, End
from tools.campaign.faults.scenes import MUSETALK, SMALL, Outcome, Place, Scene, check_video

FATES = ("gone", "gone and back", "frozen", "frozen and on")


def has_microphone() -> bool:
    """Whether this machine has what a virtual microphone needs."""
    return all(map(shutil.which, ("pulseaudio", "pactl")))


def microphones(chance: random.Random) -> Plan:
    """A stream of a microphone that is lost after a while, and a signal later."""
    fate, policy = chance.choice(FATES), chance.choice(("retry", "stop"))
    lost_s, signal_s = chance.uniform(0.2, 4.0), chance.uniform(0.2, 5.0)
    sign = chance.choice((signal.SIGINT, signal.SIGTERM))

    def run(place: Place) -> End:
        with tempfile.TemporaryDirectory(prefix="pulse") as folder, pulse_audio(Path(folder)) as server:
            args = ["stream", "--mic", "--on-source-loss", policy, "--block", "0.4", *SMALL, "-o", "o.mp4"]
            command = start([*MUSETALK, *args], place, environment=server.environment)
            wait(command, lost_s)
            lose(server, fate)
            wait(command, signal_s)
            command.send(command.pid, sign)
            command.say(f"{fate} after {lost_s:.1f} s, {sign.name} {signal_s:.1f} s later")
            end = command.wait(LIMIT_S, BOUND_S)
            signal_server(server, signal.SIGCONT)
        return end

    def check(place: Place, outcome: Outcome) -> Iterator[str]:
        if (place.work / "o.mp4").exists():
            yield from check_video(place, outcome._replace(is_done=False), "o.mp4")

    scene = Scene("stream of a microphone", lambda place: [], check=check, known=("o.mp4",))
    return Plan(scene, f"microphone {fate}, --on-source-loss {policy}", run, frozenset({0, 1, 128 + sign, -sign}))


def wait(command: Command, seconds: float) -> None:
    """As long as the command runs."""
    deadline = time.monotonic() + seconds
    while command.is_running and time.monotonic() < deadline:
        time.sleep(0.01)


def lose(server: PulseAudio, fate: str) -> None:
    """Take the microphone away."""
    if fate.startswith("gone"):
        server.kill()
        if fate.endswith("back"):
            time.sleep(0.5)
            server.start()
        return
    signal_server(server, signal.SIGSTOP)
    if fate.endswith("on"):
        time.sleep(1.0)
        signal_server(server, signal.SIGCONT)


def signal_server(server: PulseAudio, number: signal.Signals) -> None:
    """Where it runs."""
    if server.pid is not None:
        os.kill(server.pid, number)
