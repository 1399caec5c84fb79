"""Finding ffmpeg, and owning one ffmpeg child process."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from musetalk_cli.engine.runtime.reaper import reaper
from musetalk_cli.errors import EncoderError, system_words
from musetalk_cli.system.processes import own_group

# ffmpeg describes its input in the first lines and a failure in the last; a file with much metadata has hundreds.
NUM_LAST_LINES = 1000
NUM_LOGGED_LINES = 30  # of those, in a log file
# Before version 6, the end of a file that cannot be written, as on a full disk, is told but is no failure.
_UNWRITTEN = re.compile(r"Error (writing trailer|closing file)")
# How a line of the log begins with -loglevel level+…: "[libx264 @ 0x55d0] [error] …", or without the first part.
_LEVEL = re.compile(r"\[(panic|fatal|error|warning|info|verbose|debug|trace)\] (.*)")
# What Windows gives as the exit status of a program that it could not start, or that crashed.
FIRST_WINDOWS_CRASH = 0xC0000000
_WINDOWS_CRASHES = {
    0xC0000005: "it read or wrote memory that is not its own",
    0xC000001D: "this processor lacks an instruction",
    0xC000007B: "it, or one of its libraries, is for another kind of machine",
    0xC0000135: "one of its libraries is missing",
}
_FAILURES = ("panic", "fatal", "error")

log = logging.getLogger(__name__)

_running: weakref.WeakSet[FfmpegProcess] = weakref.WeakSet()


def kill_all() -> None:
    """Kill every ffmpeg of this process that still runs."""
    for process in list(_running):
        process.kill()


def list_ffmpegs(choice: str = "auto", *, is_local: bool = False) -> list[str]:
    """Paths of the ffmpegs to choose from, the best first.

    Args:
        choice: ``auto`` (the one on PATH, and the bundled one), ``bundled``, or a path.
        is_local: whether it only reads and writes files. Then the bundled one is the best: it needs no libraries, so it
            starts with 13 instead of 68 ms of CPU, and is newer than most (measured). An address is for the one on
            PATH: a program without libraries may not find names in a network.

    Raises:
        EncoderError: there is none.
    """
    if choice not in ("auto", "bundled"):
        found = shutil.which(choice)
        if not found:
            why = " (it is not executable)" if Path(choice).is_file() else ""
            hint = "set 'ffmpeg: auto' or give the path of the program"
            raise EncoderError(f"no ffmpeg at '{choice}'{why}", hint=hint)
        return [found]
    on_path = shutil.which("ffmpeg") if choice == "auto" else None
    if on_path is None:
        return [bundled_ffmpeg()]
    try:
        bundled = bundled_ffmpeg()
    except EncoderError:
        return [on_path]
    return [bundled, on_path] if is_local else [on_path, bundled]


def bundled_ffmpeg() -> str:
    """Path of the ffmpeg that comes with imageio-ffmpeg. Raises EncoderError where that has none."""
    # Only its place is needed. The package's own get_ffmpeg_exe() starts the program to try it out.
    package = find_spec("imageio_ffmpeg")
    folders = (package and package.submodule_search_locations) or []
    programs = sorted(program for folder in folders for program in Path(folder, "binaries").glob("ffmpeg-*"))
    if not programs:
        raise EncoderError("there is no ffmpeg on PATH, and none is bundled for this platform", hint="install ffmpeg")
    return str(programs[0])


def is_bundled(program: str) -> bool:
    """Whether an ffmpeg is the one that comes with imageio-ffmpeg."""
    return "imageio_ffmpeg" in Path(program).parts


def run_ffmpeg(argv: Sequence[str], *, timeout_s: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end, without stdin. Raises EncoderError when it cannot start, or takes too long."""
    _log_command(argv)
    try:
        return run_watched(argv, timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        raise EncoderError(f"ffmpeg does not work: {argv[0]} (it did not end within {timeout_s:.0f} s)") from None
    except OSError as error:
        raise cannot_start(argv[0], error) from error


def run_watched(
    argv: Sequence[str], *, data: bytes | None = None, timeout_s: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As ``subprocess.run``, with ``data`` on stdin, but the child does not outlive us, whatever ends us.

    Raises OSError when it cannot start, subprocess.TimeoutExpired when it takes too long.
    """
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    with subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        reaper.add(child.pid)
        try:
            stdout, stderr = child.communicate(data, timeout=timeout_s)
        except BaseException:
            child.kill()
            raise
        finally:
            child.wait()
            reaper.remove(child.pid)
    return subprocess.CompletedProcess(argv, child.returncode, stdout, stderr)


def cannot_start(ffmpeg: str, error: OSError) -> EncoderError:
    return EncoderError(f"ffmpeg does not work: {ffmpeg} (cannot start: {system_words(error)})")


class FfmpegProcess:
    """A running ffmpeg: its pipes, and the last lines of its always drained stderr.

    Ctrl-C in the terminal does not reach it, only us, and we decide what it means.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes],
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.program = argv[0]
        try:
            self._child = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                env=environment,
                bufsize=0,
                **own_group(),
            )
        except OSError as error:
            raise cannot_start(argv[0], error) from error
        self._started_at = time.monotonic()
        self._is_logged = False
        _log_command(argv, self._child.pid)
        self._lines: deque[str] = deque(maxlen=NUM_LAST_LINES)
        self._drain = threading.Thread(target=self._drain_stderr, name="musetalk-ffmpeg-stderr", daemon=True)
        self._drain.start()
        _running.add(self)
        reaper.add(self._child.pid)

    @property
    def stdin(self) -> IO[bytes]:
        assert self._child.stdin is not None  # noqa: S101 - the caller asked for a pipe
        return self._child.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._child.stdout is not None  # noqa: S101 - always a pipe
        return self._child.stdout

    @property
    def log(self) -> list[str]:
        """The last lines that ffmpeg wrote to stderr so far."""
        return list(self._lines)

    @property
    def error(self) -> str:
        """What went wrong so far, see ``find_error``."""
        return find_error(self.log)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def kill(self) -> None:
        """End it at once; whoever reads or writes its pipes comes free. Safe to call at any time."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter on Windows, when it has ended
            self._child.kill()

    def wait(self) -> int:
        """Wait for the end and return the exit status (negative: the signal that ended it)."""
        status = self._child.wait()
        reaper.remove(self._child.pid)
        self._drain.join()
        if status == 0 and any(_UNWRITTEN.search(line) for line in self._lines):
            status = 1  # as from ffmpeg 6 on
        self._log_end(status)
        return status

    def close(self) -> None:
        """Kill it if it still runs, and release the pipes."""
        self.kill()
        self.wait()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _log_end(self, status: int) -> None:
        if self._is_logged or not log.isEnabledFor(logging.INFO):
            return
        self._is_logged = True
        lasted_s = time.monotonic() - self._started_at
        log.info("process %d %s after %.3f s", self._child.pid, describe_status(status), lasted_s)
        for line in self.log[-NUM_LOGGED_LINES:]:
            log.debug("process %d wrote: %s", self._child.pid, line)

    def _drain_stderr(self) -> None:
        assert self._child.stderr is not None  # noqa: S101 - always a pipe
        with contextlib.suppress(OSError):  # what it says is lost; how it ends is not
            for line in self._child.stderr:
                text = line.decode("utf-8", "replace").rstrip()
                if text and self._keeps(text):
                    self._lines.append(text)

    def _keeps(self, line: str) -> bool:
        """Whether a line of the log is kept; called for each, from the thread that drains it."""
        return True


def _log_command(argv: Sequence[str], pid: int | None = None) -> None:
    if log.isEnabledFor(logging.INFO):
        log.info("process %s: %s", pid or "to its end", shlex.join(argv))


def find_error(log: Sequence[str]) -> str:
    """The reason in a log of ``-loglevel level+…``: its first line that is an error, without what stands before it.

    The first, since what follows it are its consequences. Without one, the last line that has no level at all, as the
    system writes it when a library is missing. Empty if there is none either.
    """
    errors = find_errors(log)
    strays = [line for line in log if not _LEVEL.search(line)]
    return errors[0] if errors else strays[-1] if strays else ""


def find_errors(log: Sequence[str]) -> list[str]:
    """Every line of a log that is an error, without what stands before it."""
    return [match[2] for match in map(_LEVEL.search, log) if match and match[1] in _FAILURES]


def describe_status(status: int) -> str:
    """``exit status 1`` or ``was killed by SIGKILL``, for a sentence that begins with the program's name."""
    if status >= FIRST_WINDOWS_CRASH:
        why = _WINDOWS_CRASHES.get(status, "it crashed")
        return f"ended with exit status {status:#x} ({why})"
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
