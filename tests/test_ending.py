"""A process ends soon after a signal, whatever its threads are doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from musetalk_cli import ending

# One call into C that takes a minute: no handler of Python's runs meanwhile.
STUCK = """
import hashlib, signal, sys
from musetalk_cli import ending
signal.signal(signal.SIGTERM, lambda number, frame: None)
signal.signal(signal.SIGINT, lambda number, frame: None)
ending.allow(0.1)
ending.watch_signals()
ending.on_leaving(lambda: open(sys.argv[1], "w").close())
print("stuck", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
"""
# A thread that computes for ever, which Python would wait for at its end.
COMPUTING = """
import concurrent.futures, sys, threading
from musetalk_cli import __main__ as start, cli
def run():
    executor = concurrent.futures.ThreadPoolExecutor()
    executor.submit(threading.Event().wait)
    print("computing", flush=True)
    threading.Event().wait()
cli.run = run
start.main()
"""

# A signal comes while the last step is done, which succeeds or fails; the threads' end is waited for no longer.
COMPLETING = """
import os, signal, sys
from musetalk_cli import __main__ as start, cli, ending
def run():
    with ending.final_step():
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        if sys.argv[2] == "fails":
            raise ValueError("no space")
    print("done", flush=True)
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("told", flush=True)
    sys.exit(0)
cli.run = run
start.main()
"""
# A signal comes during the last step that is needed, or during what follows it.
FURTHER = """
import os, signal, sys, threading
from musetalk_cli import __main__ as start, cli, ending
def run():
    with ending.final_step():
        if sys.argv[1] == "during":
            os.kill(os.getpid(), signal.SIGTERM)
    print("done", flush=True)
    try:
        with ending.further_step():
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()
    except ending.SignalExit:
        print("stopped", flush=True)
        raise
cli.run = run
start.main()
"""


def end(code: str, number: signal.Signals, *args: str) -> tuple[int, str, str]:
    """Run the code until it has said something, send it a signal, and wait: exit code, stdout and stderr."""
    command = [sys.executable, "-c", code, *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        child.send_signal(number)
        try:
            rest, errors = child.communicate(timeout=30)
        finally:
            child.kill()
    return child.returncode, said + rest, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_library_that_computes_holds_up_no_ending(tmp_path: Path, number: signal.Signals) -> None:
    assert end(STUCK, number, str(tmp_path / "released")) == (128 + number, "stuck\n", "")
    assert (tmp_path / "released").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_thread_that_computes_holds_up_no_ending(number: signal.Signals) -> None:
    assert end(COMPUTING, number) == (128 + number, "computing\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of descriptors")
def test_a_start_without_descriptors_is_named() -> None:
    code = "import resource, musetalk_cli.__main__ as m; resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)); m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("musetalk: error: the system reports: too many open files")
    assert done.stderr.count("\n") == 1


def test_a_pipe_that_fails_ends_the_watch_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    ending._watch(reading)
    assert capfd.readouterr().err == ""


def test_a_signal_that_a_library_turns_into_its_own_error_is_no_bug_of_ours() -> None:
    code = (
        "import os, signal\n"
        "from musetalk_cli import __main__, cli\n"
        "def call(asked):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        while True: pass\n"
        "    except SystemExit as end:\n"
        "        raise ValueError('an error of a library') from end\n"
        "cli._call = call\n"
        "__main__.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, b"stopped\n")


@pytest.mark.parametrize("moment", ["during", "behind"])
def test_a_signal_ends_what_is_not_needed_of_a_command_that_is_complete(moment: str) -> None:
    done = subprocess.run([sys.executable, "-c", FURTHER, moment], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, b"done\nstopped\n")


# A command in which a signal comes; it may tell of it itself, or a library may.
RUNNING = """
import os, signal, sys
from typing import Annotated
from musetalk_cli import __main__ as start, cli, ending
import typer
def devices(file: Annotated[str, typer.Argument()] = "", quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True: pass
    except ending.SignalExit as end:
        end.is_told = file == "told"
        if file == "broken":
            raise ValueError("an error of a library") from end
        raise
commands = {each.name: each for each in cli.app.registered_commands}
commands["devices"].callback = devices
sys.argv[:1] = ["musetalk", "devices"]
start.main()
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", b"stopped\n"),
        ("told", b""),
        ("-q", b""),
        ("--quiet", b""),
        ("broken", b"stopped\n"),
        ("broken -q", b""),
        ("-- -q", b"stopped\n"),  # the name of a file
    ],
)
def test_a_command_that_a_signal_ends_says_so_once(options: str, said: bytes) -> None:
    command = [sys.executable, "-c", RUNNING, *options.split()]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", said)


@pytest.mark.skipif(sys.platform == "win32", reason="has no signal that another process sends")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_too_late_once_the_last_step_is_taken(name: str) -> None:
    command = [sys.executable, "-c", COMPLETING, name]
    done = subprocess.run([*command, "succeeds"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\ntold\n", "")
    failed = subprocess.run([*command, "fails"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout, failed.stderr) == (128 + getattr(signal, name), "", "")
