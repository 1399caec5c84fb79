"""Keys on a real terminal: one at a time, and the terminal afterwards as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest

termios = pytest.importorskip("termios")
fcntl = pytest.importorskip("fcntl")

READS_A_KEY = """
import json, sys, termios, time
from musetalk_cli.ui.keys import Keys

def attributes():
    return [value for value in termios.tcgetattr(0)[:6]]

before = attributes()
keys = Keys()
during = attributes()
print("ready", flush=True)
found, until = "", time.monotonic() + 20
while not found and time.monotonic() < until:
    found = keys.read()
keys.close()
keys.close()
print(json.dumps([before, during, attributes(), found, keys.read()]), flush=True)
"""


def run_on_terminal(code: str, typed: bytes) -> str:
    """Run Python in a session of its own with a new terminal on stdin and stderr; what it prints after ``ready``."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        os.write(ours, typed)
        rest, _ = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
        with suppress(OSError):
            os.close(ours)
    return rest


def test_a_key_is_read_without_enter_and_the_terminal_is_left_as_it_was() -> None:
    before, during, after, found, later = json.loads(run_on_terminal(READS_A_KEY, b"m"))
    local = 3
    assert before[local] & termios.ICANON
    assert before[local] & termios.ECHO
    assert not during[local] & (termios.ICANON | termios.ECHO)
    assert during[local] & termios.ISIG, "Ctrl-C stays a signal"
    assert after == before
    assert (found, later) == ("m", "")


STOPPED_AND_CONTINUED = """
import termios, time
from musetalk_cli.ui.keys import Keys

keys = Keys()
lines = termios.tcgetattr(0)
lines[3] |= termios.ICANON | termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, lines)  # as a shell does when a job is stopped
found = keys.read()
print("ready", flush=True)
until = time.monotonic() + 20
while not found and time.monotonic() < until:
    found = keys.read()
print(found)
"""

IN_THE_BACKGROUND = """
import os, signal
from musetalk_cli.ui.keys import Keys

print("ready", flush=True)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a shell gives a job the terminal
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    keys = Keys()
    os.kill(os.getpid(), signal.SIGSTOP)
    found = keys.read()
    keys.close()
    print(repr(found), flush=True)
    os._exit(0)
os.waitpid(job, os.WUNTRACED)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, os.getpgrp())
os.kill(job, signal.SIGCONT)
print(os.WIFEXITED(os.waitpid(job, os.WUNTRACED)[1]), flush=True)
"""


def test_after_a_stop_keys_need_no_enter_either() -> None:
    assert run_on_terminal(STOPPED_AND_CONTINUED, b"q") == "q\n"


def test_a_job_in_the_background_leaves_the_terminal_alone() -> None:
    assert run_on_terminal(IN_THE_BACKGROUND, b"m\n") == "''\nTrue\n"


def test_without_a_terminal_there_are_no_keys() -> None:
    code = "from musetalk_cli.ui.keys import Keys; keys = Keys(); print(repr(keys.read())); keys.close()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, input="m")
    assert done.stdout == "''\n"
