"""Every signal, to every process of a command, in every phase of it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from signal import Signals

from fixtures.process_tree import children
from tools.campaign.faults.plans import BOUND_S, EARLY_S, LIMIT_S, Plan, draw, start
from tools.campaign.faults.processes import MUSETALK, POLL_S, Command, End, role_of
from tools.campaign.faults.scenes import Place, Scene

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
BLOWS = ("once", "twice", "stopped first", "the group")
START_S, AFTER_S = 0.3, 0.12
ROLES = ("musetalk", "encoder", "decoder", "remuxer", "reaper", "any child")
PHASES = ("start", "middle", "output", "ending")
CONTROL = 60  # one run of so many is left alone: it must succeed, and says how long a run takes

# How long an untouched run of each scene takes here and now as a fork, in seconds.
durations_s: dict[str, float] = {}


def make_plan(chance: random.Random, number: int, scenes: list[Scene]) -> Plan:
    """A run that is interrupted; every ``CONTROL``-th is not."""
    scene = draw(chance, scenes)
    if number % CONTROL == 0 or scene.name not in durations_s:
        return Plan(scene, "nothing", lambda place: run_untouched(scene, place), frozenset({0}))
    phase, role = chance.choices(PHASES, [1, 3, 3, 3])[0], chance.choice(ROLES)
    sign, blow = chance.choice(SIGNALS), chance.choices(BLOWS, [6, 1, 2, 1])[0]
    moment = make_trigger(phase, chance, scene)
    delay_s = chance.uniform(0, 0.2)

    def run(place: Place) -> End:
        command = begin(scene, place, is_fork=phase != "start")
        while command.is_running and not moment(command, place):
            time.sleep(POLL_S)
        if command.is_running:
            strike(command, role, sign, blow, delay_s)
        elif phase != "start":
            durations_s[scene.name] += 0.3 * (command.elapsed_s - durations_s[scene.name])
        return command.wait(LIMIT_S, BOUND_S)

    return Plan(scene, f"{sign.name} {blow}, {role}, {phase}", run, allowed_codes(role, sign, blow))


def begin(scene: Scene, place: Place, *, is_fork: bool) -> Command:
    """Start it, as a fork if that is wanted and can be."""
    args = scene.args(place)
    can_be = is_fork and tuple(args[: len(MUSETALK)]) == MUSETALK
    return start(args, place, server=place.shop.fork_server if can_be else None)


def run_untouched(scene: Scene, place: Place) -> End:
    end = begin(scene, place, is_fork=True).wait(LIMIT_S, BOUND_S)
    durations_s[scene.name] = end.seconds
    return end


def allowed_codes(role: str, sign: Signals, blow: str) -> frozenset[int]:
    """A signal to us has its code; without a child we may fail. What is complete is complete all the same."""
    ours = {-signal.SIGKILL, 0} if sign == signal.SIGKILL else {128 + sign, -sign, 0}
    # Where there is no such child, the command itself is struck.
    return frozenset(ours if role == "musetalk" or blow in ("stopped first", "the group") else ours | {0, 1})


def make_trigger(phase: str, chance: random.Random, scene: Scene) -> Callable[[Command, Place], bool]:
    """What says that the moment has come."""
    usual_s = durations_s[scene.name]
    if phase == "start":
        at_s = chance.uniform(0, START_S)
    elif phase == "ending" and scene.name.partition(" ")[0] not in ("render", "stream"):
        at_s = chance.uniform(0.7, 1.05) * usual_s
    elif phase == "output" and scene.targets:
        return Later(lambda command, place: has_output(scene, place), chance.uniform(0, AFTER_S))
    elif phase == "ending":
        return Later(Ending(), chance.uniform(0, AFTER_S))
    else:
        at_s = chance.uniform(0, usual_s)
    return lambda command, place: command.elapsed_s >= at_s


def has_output(scene: Scene, place: Place) -> bool:
    return any((place.work / name).exists() for name in scene.targets)


class Later:
    """A time after something happened first."""

    def __init__(self, happens: Callable[[Command, Place], bool], delay_s: float) -> None:
        self._happens, self._delay_s, self._seen_at = happens, delay_s, 0.0

    def __call__(self, command: Command, place: Place) -> bool:
        if not self._seen_at and self._happens(command, place):
            self._seen_at = time.monotonic()
        return bool(self._seen_at) and time.monotonic() >= self._seen_at + self._delay_s


class Ending:
    """An encoder was there, and has gone."""

    def __init__(self) -> None:
        self._encoder = 0

    def __call__(self, command: Command, place: Place) -> bool:
        there = children(command.pid)
        if not self._encoder:
            self._encoder = next((pid for pid in there if role_of(pid) == "encoder"), 0)
            return False
        return self._encoder not in there


def strike(command: Command, role: str, sign: Signals, blow: str, delay_s: float) -> None:
    """Do it, and note to whom."""
    members = command.members()
    own = [each for each in members if each.role == role] or [each for each in members[1:] if role == "any child"]
    if not members:
        return
    target = (own or members)[0]
    early = ", early" if command.elapsed_s < EARLY_S else ""
    if blow == "the group":
        with suppress(ProcessLookupError):
            os.killpg(command.pid, sign)
    elif blow == "stopped first":
        command.send(target.pid, signal.SIGSTOP)
        time.sleep(delay_s)
        command.send(command.pid, sign)
        if target.pid == command.pid or target.role == "reaper":
            time.sleep(delay_s)
            command.send(target.pid, signal.SIGCONT)
    else:
        command.send(target.pid, sign)
        if blow == "twice":
            time.sleep(delay_s)
            command.send(target.pid, sign)
    command.say(f"{sign.name} {blow}, {target.role} after {command.elapsed_s:.3f} s{early}")
