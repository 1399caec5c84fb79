"""System calls that fail, or that are the last one, by strace: whatever the disk or the kernel may refuse."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tools.campaign.faults.plans import BOUND_S, LIMIT_S, NEVER_BEGUN_S, Plan, draw, start
from tools.campaign.faults.processes import End
from tools.campaign.faults.refusals import NUMBERS, Refusals
from tools.campaign.faults.scenes import Place, Scene

FILES = {
    "openat": ("ENOSPC", "EIO", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "EINTR", "EROFS", "ELOOP"),
    "write": ("ENOSPC", "EIO", "EINTR", "EDQUOT", "EFBIG"),
    "read": ("EIO", "EINTR"),
    "rename": ("ENOSPC", "EIO", "EACCES", "EXDEV", "EBUSY"),
    "renameat2": ("EINVAL", "EIO", "ENOSYS", "EACCES"),
    "fsync": ("EIO", "ENOSPC", "EINTR", "EINVAL"),
    "unlink": ("EIO", "EACCES", "EROFS", "EBUSY"),
    "unlinkat": ("EIO", "EACCES"),
    "mkdir": ("ENOSPC", "EACCES", "EIO", "EROFS"),
    "rmdir": ("EIO", "ENOTEMPTY", "EBUSY"),
    "ftruncate": ("EIO", "ENOSPC", "EINVAL"),
    "lseek": ("EIO", "ESPIPE"),
    "getdents64": ("EIO", "EACCES"),
    "chmod": ("EPERM", "EROFS"),
    "fchmod": ("EPERM",),
    "flock": ("ENOLCK", "EINTR", "EAGAIN"),
    "copy_file_range": ("EIO", "EXDEV", "ENOSPC"),
    "sendfile": ("EIO", "EINVAL"),
}
# No close among them: a call that is refused is not made, and a real close that fails has closed all the same.
PROCESSES = {
    "pipe2": ("EMFILE", "ENFILE", "ENOMEM"),
    "clone": ("EAGAIN", "ENOMEM"),
    "clone3": ("EAGAIN", "ENOMEM"),
    "vfork": ("EAGAIN", "ENOMEM"),
    "fork": ("EAGAIN",),
    "execve": ("ENOMEM", "EACCES", "ETXTBSY", "EIO"),
    "dup2": ("EMFILE", "EBUSY"),
    "poll": ("EINTR", "ENOMEM"),
    "wait4": ("EINTR",),
    "kill": ("EPERM",),
    "socket": ("EMFILE", "EACCES", "ENOBUFS"),
    "connect": ("ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH"),
    "sendto": ("EPIPE", "ECONNRESET", "EINTR"),
    "prlimit64": ("EPERM",),
    "fcntl": ("EMFILE", "EINVAL"),
    "mmap": ("ENOMEM",),
}
CALLS = {**FILES, **PROCESSES}
COUNTED = (*CALLS, "close")
# Where a process may be ended just before it makes the call: between two steps that belong together.
KILLED_AT = ("rename", "renameat2", "fsync", "unlink", "unlinkat", "rmdir", "mkdir", "ftruncate", "close", "write")
# Where these fail, nothing can be tidied up: the next run does it.
NEEDED_TO_TIDY = ("unlink", "unlinkat", "rmdir", "openat", "fcntl", "getdents64", "close", "rename", "mmap", "flock")
OURS = "musetalk_cli/__pycache__/ending."  # the first file of ours that is opened, but for the package itself
# Of all faults so many stay; but not those after which a call is made again until it succeeds, nor those of mmap, which
# let Python wait for a thread that never begins.
LASTING = 0.2


class Counts(NamedTuple):
    """How often a scene makes a call: in the interpreter's start, on the main thread, and on the busiest other one."""

    start: dict[str, int]
    main: dict[str, int]
    others: dict[str, int]


def count_calls(scene: Scene, place: Place) -> Counts:
    """Trace an untouched run."""
    log = place.root.with_name(f"{place.root.name}.trace")
    place.shop.fill(place.root)
    place.logs.mkdir(exist_ok=True)
    scene.prepare(place)
    trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), "-e", f"trace={known_calls()}"]
    start([*trace, *scene.args(place)], place).wait(LIMIT_S, BOUND_S)
    started, by_thread, main = Counter[str](), dict[str, Counter[str]](), ""
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match is None:
            continue
        main = main or match[1]
        by_thread.setdefault(match[1], Counter())[match[2]] += 1
        if OURS in line and not started:
            started = by_thread[main].copy()
    others = Counter[str]()
    for thread, counter in by_thread.items():
        others |= counter if thread != main else Counter()
    return Counts(*(dict.fromkeys(COUNTED, 0) | each for each in (started, by_thread.get(main, {}), others)))


def known_calls() -> str:
    """Those of ``CALLS`` that this machine has; one that strace does not know begins with a question mark there."""
    return ",".join(f"?{name}" for name in COUNTED)


def make_plan(chance: random.Random, scenes: list[Scene], counts: dict[str, Counts]) -> Plan:
    """A run in which one call fails."""
    scene = draw(chance, [scene for scene in scenes if scene.name in counts])
    count = counts[scene.name]
    is_kill = chance.random() < 0.3
    names = [name for name in (KILLED_AT if is_kill else CALLS) if count.main[name] + count.others[name]]
    name = chance.choice(names)
    when, words = draw_moment(chance, name, count)
    error = "" if is_kill else chance.choice(CALLS[name])
    if not is_kill and error != "EINTR" and name != "mmap" and chance.random() < LASTING:
        words += " and from then on"
        when += "+"
    what = "signal=KILL" if is_kill else f"error={error}"
    # On the files that it writes alone, so that libraries that are loaded do not take all the faults.
    paths = [str(each) for each in scene.targets if each] if chance.random() < 0.3 and scene.targets else []

    def run(place: Place) -> End:
        only = [word for path in paths for word in ("-P", str(place.work / path))]
        trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", *only]
        inject = ["-e", f"trace={name}", "-e", f"inject={name}:{what}:when={when if not paths else when_of_few(when)}"]
        command = start([*trace, *inject, *scene.args(place)], place)
        return command.wait(limit_of(name), BOUND_S)

    told = f"{'killed at' if is_kill else error + ' of'} {name} {words}{' on its files' if paths else ''}"
    codes = {0, 1, 2} | ({-signal.SIGKILL} if is_kill else set())
    is_silent = name == "write" and when.endswith("+")
    return Plan(scene, told, run, frozenset(codes), may_leave_remains=name in NEEDED_TO_TIDY, may_be_silent=is_silent)


def make_refusal(chance: random.Random, scenes: list[Scene], totals: dict[str, dict[str, int]]) -> Plan:
    """The same on a fork, by a filter. ``totals`` has each scene's calls by name; the first run of a scene counts."""
    scene = draw(chance, [scene for scene in scenes if is_own(scene)])
    total = totals.get(scene.name)
    if total is None:
        return Plan(scene, "calls counted", lambda place: count_refusable(scene, place, totals), frozenset({0, 1}))
    is_kill = chance.random() < 0.3
    name = chance.choice([each for each in (KILLED_AT if is_kill else CALLS) if total.get(each)])
    error = "" if is_kill else chance.choice(CALLS[name])
    first = chance.randint(1, total[name])
    is_lasting = chance.random() < LASTING and error not in ("", "EINTR") and name != "mmap"
    what = f"{f'{error} of' if error else 'killed at'} {name} number {first} of {total[name]}"
    words = f"{what}{' and from then on' if is_lasting else ''}"

    def run(place: Place) -> End:
        with Refusals([name], first, 1 << 40 if is_lasting else first, error) as refusals:
            command = start(scene.args(place), place, server=place.shop.fork_server, watched=refusals.watched)
            end = command.wait(limit_of(name), BOUND_S)
        return end._replace(struck=words if refusals.counts[name] >= first else "")

    codes = {0, 1, 2} | ({-signal.SIGKILL} if is_kill else set())
    is_silent = name == "write" and is_lasting
    return Plan(scene, words, run, frozenset(codes), may_leave_remains=name in NEEDED_TO_TIDY, may_be_silent=is_silent)


def limit_of(name: str) -> float:
    """Seconds for a run in which a call of this name fails."""
    return NEVER_BEGUN_S if name == "mmap" else LIMIT_S


def count_refusable(scene: Scene, place: Place, totals: dict[str, dict[str, int]]) -> End:
    """An untouched run."""
    with Refusals([name for name in COUNTED if name in NUMBERS], 0, 0, "EIO") as refusals:
        command = start(scene.args(place), place, server=place.shop.fork_server, watched=refusals.watched)
        end = command.wait(LIMIT_S, BOUND_S)
    totals[scene.name] = dict(refusals.counts)
    return end


def is_own(scene: Scene) -> bool:
    """Whether a scene can begin as a fork."""
    return "models" not in scene.name


def when_of_few(when: str) -> str:
    """The same moment among the few calls that concern the files."""
    return f"{int(when.rstrip('+')) % 12 + 1}{'+' if when.endswith('+') else ''}"


def draw_moment(chance: random.Random, name: str, count: Counts) -> tuple[str, str]:
    """Which of the calls, counted for each thread by itself; none of the interpreter's own start."""
    first, last = count.start[name] + 1, max(count.main[name], count.others[name], count.start[name] + 1)
    number = (
        chance.randint(first, min(last, count.main[name]))
        if count.main[name] >= first and chance.random() < 0.6
        else chance.randint(first, last)
    )
    return str(number), f"number {number}"


def has_injection() -> bool:
    """Whether strace may trace here, and can inject."""
    probe = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "inject=mkdir:error=EIO", "true"]
    return Path("/usr/bin/strace").exists() and subprocess.run(probe, check=False, capture_output=True).returncode == 0
