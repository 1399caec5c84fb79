"""What a machine may do to a command: no room, few descriptors, odd files in its way, a clock that jumps, a rest."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tools.campaign.faults.plans import BOUND_S, LIMIT_S, Plan, draw, start
from tools.campaign.faults.processes import End
from tools.campaign.faults.scenes import MUSETALK, SMALL, Place, Scene

FAILS = frozenset({0, 1, 2})
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Loaded by Python itself when it starts.
JUMPING_CLOCK = """
import random, time
_now, _chance = time.time, random.Random({seed})
_jump = [0.0]
def jumping():
    if _chance.random() < 0.05:
        _jump[0] = _chance.choice((0.0, 3600.0, -3600.0, 1e9, -1e9, 0.5, -0.5))
    return _now() + _jump[0]
time.time = jumping
time.time_ns = lambda: int(jumping() * 1e9)
"""


def limits(chance: random.Random, scenes: list[Scene]) -> Plan:
    """Files may have so many bytes, or the process so many descriptors or so much memory, and no more."""
    name, low, high = chance.choice((("FSIZE", 100, 40_000), ("NOFILE", 14, 64), ("AS", 250 << 20, 1500 << 20)))
    value = round(low * (high / low) ** chance.random())

    def limit() -> None:
        number = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(number, (value, value))

    scene = draw(chance, scenes)
    # Libraries that compute do not all look at what malloc returns, or end the process themselves.
    is_memory = name == "AS"
    codes = FAILS | ({-signal.SIGSEGV, -signal.SIGABRT} if is_memory else set())
    run = partial(run_args, scene.args, preexec=limit)
    words = f"RLIMIT_{name} {value}"
    return Plan(scene, words, run, codes, may_leave_remains=is_memory, may_be_silent=is_memory)


def full_disk(chance: random.Random, scenes: list[Scene]) -> Plan:
    """A file system of its own, with some kilobytes left."""
    room = chance.choice((0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 40)) * 4096
    scene = draw(chance, scenes)

    @contextlib.contextmanager
    def around(place: Place) -> Iterator[None]:
        place.root.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=16M", "campaign", str(place.root)]
        subprocess.run(mount, check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(place.root)], check=True, capture_output=True)

    def run(place: Place) -> End:
        used = os.statvfs(place.root)
        size = (used.f_blocks - used.f_bfree) * used.f_frsize + room
        subprocess.run(["mount", "-o", f"remount,size={size}", str(place.root)], check=True, capture_output=True)
        end = run_args(scene.args, place)
        subprocess.run(["mount", "-o", "remount,size=16M", str(place.root)], check=True, capture_output=True)
        return end

    return Plan(scene, f"{room >> 10} kB left on the disk", run, FAILS, around)


def pipes(chance: random.Random, scenes: list[Scene]) -> Plan:
    """A pipe without a reader or writer, or with one that leaves or stands still; then a signal."""
    sign, delay_s = chance.choice(SIGNALS), chance.uniform(0.2, 3.0)
    kind = chance.choice(
        ("output unread", "statistics unread", "input unwritten", "stdin silent", "reader leaves", "reader stalls")
    )
    args = {
        "output unread": ["stream", "-i", "voice.wav", "-o", "pipe"],
        "statistics unread": ["stream", "-i", "voice.wav", "-o", "o.mp4", "--stats", "pipe"],
        "input unwritten": [chance.choice(("render", "stream -i")), "pipe", "-o", "o.mp4"],
        "stdin silent": ["stream", "-i", "-", "--format", "s16le", "--rate", "16000", "-o", "o.mp4"],
        "reader leaves": [chance.choice(("render", "stream -i")), "voice.wav", "-o", "pipe"],
        "reader stalls": [chance.choice(("render", "stream -i")), "voice.wav", "-o", "pipe"],
    }[kind]
    args = [*MUSETALK, *" ".join(args).split(" "), *SMALL]
    num_bytes = round(10 ** chance.uniform(0, 4.3))

    def run(place: Place) -> End:
        os.mkfifo(place.work / "pipe")
        silent, mouth = os.pipe()
        reader = os.open(place.work / "pipe", os.O_RDONLY | os.O_NONBLOCK) if kind.startswith("reader") else -1
        try:
            command = start(args, place, stdin=silent)
            while command.is_running and command.elapsed_s < delay_s:
                time.sleep(0.01)
                with contextlib.suppress(BlockingIOError):
                    num_left = num_bytes - len(os.read(reader, num_bytes)) if reader >= 0 else 1
                    if kind == "reader leaves" and num_left <= 0:
                        os.close(reader)
                        reader = -1
            command.send(command.pid, sign)
            command.say(f"{sign.name} after {command.elapsed_s:.1f} s")
            return command.wait(LIMIT_S, BOUND_S)
        finally:
            for fd in (silent, mouth, reader):
                if fd >= 0:
                    os.close(fd)

    scene = Scene(f"{args[3]}, pipe", lambda place: args, known=("pipe", "o.mp4"))
    return Plan(scene, f"{kind}, {sign.name}", run, frozenset({0, 128 + sign, -sign}))


def links(chance: random.Random, scenes: list[Scene]) -> Plan:
    """Something else than a file has the name of the output."""
    kind = chance.choice(
        (
            "link to a file",
            "link to nothing",
            "link to itself",
            "folder",
            "full device",
            "link to a folder",
            "other user's",
        )
    )
    overwrite = chance.choice(([], ["--overwrite"]))
    command = chance.choice((["render", "voice.wav"], ["stream", "-i", "voice.wav", "--no-pace"]))
    target = chance.choice(("o.mp4", "o.mkv", "live/index.m3u8" if command[0] == "stream" else "o.mov"))
    args = [*MUSETALK, *command, *SMALL, "-o", target, *overwrite, *chance.choice(([], ["--stats", "o.stats"]))]

    def prepare(place: Place) -> None:
        (place.work / "live").mkdir()
        path, victim = place.work / target, place.work / "victim"
        if kind == "folder":
            path.mkdir()
            return
        if kind == "other user's":
            path.write_bytes(b"theirs")
            os.chown(path, 12345, 12345)
            return
        if kind == "link to a file":
            victim.write_bytes(b"the user's")
        elif kind == "link to a folder":
            victim.mkdir()
        path.symlink_to({"full device": "/dev/full", "link to itself": path.name}.get(kind, victim))

    def check(place: Place, outcome: object) -> Iterator[str]:
        victim = place.work / "victim"
        if kind == "link to a file" and not overwrite and victim.read_bytes() != b"the user's":
            yield "a file was written through a link without --overwrite"
        if kind == "folder" and not (place.work / target).is_dir():
            yield "a folder is lost"
        if kind == "other user's" and not overwrite and (place.work / target).read_bytes() != b"theirs":
            yield "a file was replaced without --overwrite"

    known = ("victim", "o.*", "live")
    return Plan(
        Scene(f"{command[0]} to {target}", lambda place: args, prepare, check, known),
        kind,
        partial(run_args, lambda place: args),
        FAILS,
    )


def jumping_clock(chance: random.Random, scenes: list[Scene]) -> Plan:
    """The wall clock jumps by seconds, hours and years while the command runs; nothing may notice."""
    seed, scene = chance.randrange(1 << 30), draw(chance, [each for each in scenes if "models" not in each.name])

    def run(place: Place) -> End:
        folder = place.root / "clock"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(JUMPING_CLOCK.format(seed=seed))
        path = f"{folder}{os.pathsep}{place.shop.environment['PYTHONPATH']}"
        return run_args(scene.args, place, environment={"PYTHONPATH": path})

    return Plan(scene, "the clock jumps", run, frozenset({0}))


def rests(chance: random.Random, scenes: list[Scene]) -> Plan:
    """All processes stand still for a while, as on a machine that is put to sleep, and go on."""
    scene, at_s, rest_s = draw(chance, scenes), chance.uniform(0.05, 1.5), chance.uniform(0.05, 4.0)

    def run(place: Place) -> End:
        command = start(scene.args(place), place)
        while command.is_running and command.elapsed_s < at_s:
            time.sleep(0.01)
        members = command.members()
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for member in members:
                command.send(member.pid, number)
            time.sleep(rest_s if number == signal.SIGSTOP else 0)
        command.say(f"a rest of {rest_s:.1f} s after {at_s:.2f} s")
        return command.wait(LIMIT_S, BOUND_S + 30)

    return Plan(scene, "a rest", run, frozenset({0}))


def run_args(args: Callable[[Place], list[str]], place: Place, **options: object) -> End:
    """Start a command, and wait for its end."""
    return start(args(place), place, **options).wait(LIMIT_S, BOUND_S)


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a file system: root, outside of some containers."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "campaign", str(folder)], check=False, capture_output=True)
    return mount.returncode == 0 and subprocess.run(["umount", str(folder)], check=False).returncode == 0
