"""Runs tests in forked children that find numpy, OpenCV and pytest loaded already. Started in the copy, by ``Tests``.

It reads one JSON request per line on stdin and answers each with a line on stdout. ``tests`` are pytest's arguments,
``timeout_s`` the limit, and with ``trace`` (file names) the answer says which lines of these each test has reached.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import psutil
import pytest

LOADED = ("numpy", "cv2", "yaml", "pydantic", "rich.console", "typer", "av", "ffmpeg", "json", "asyncio", "zipfile")
PR_SET_CHILD_SUBREAPER = 36
# Of each function and in each test: tracing is slow, and later calls seldom reach lines that the first did not.
MAX_TRACED_CALLS = 60
# Calls of any function, in each test; a test that simulates hours makes millions.
MAX_TRACED_EVENTS = 300_000
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")


class Tracer:
    """pytest plugin: which lines of the files each test has reached, and how long it took; not in other processes."""

    def __init__(self, files: list[str]) -> None:
        self._files = {str(Path(file).resolve()): file for file in files}
        self._lines: set[tuple[str, int]] = set()
        self._num_calls: Counter[CodeType] = Counter()
        self._num_events = 0
        self.reached: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines, self._num_calls, self._num_events = set(), Counter(), 0
        started_s = time.perf_counter()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)  # type: ignore[return-value]
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            lines: dict[str, list[int]] = {}
            for file, line in sorted(self._lines.copy()):
                lines.setdefault(file, []).append(line)
            self.reached[item.nodeid] = {"seconds": round(time.perf_counter() - started_s, 3), "lines": lines}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.reached.setdefault("failed", {})[report.nodeid] = report.outcome

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        self._num_events += 1
        if self._num_events > MAX_TRACED_EVENTS:
            sys.settrace(None)
        file = self._files.get(frame.f_code.co_filename)
        if file is None:
            return None
        self._num_calls[frame.f_code] += 1
        if self._num_calls[frame.f_code] > MAX_TRACED_CALLS:
            return None
        lines = self._lines

        def trace_lines(frame: FrameType, event: str, arg: object) -> Any:
            lines.add((file, frame.f_lineno))
            return trace_lines

        lines.add((file, frame.f_lineno))
        return trace_lines


def run_child(request: dict[str, Any], answer: str) -> None:
    """In the child: run the tests, write the answer, and end."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    tracer = Tracer(request["trace"]) if request.get("trace") else None
    options = [option for option in OPTIONS if not (tracer and option == "-x")]
    code = int(pytest.main([*options, *request["tests"]], plugins=[tracer] if tracer else []))
    Path(answer).write_text(json.dumps({"code": code, "reached": tracer.reached if tracer else {}}))
    os._exit(0)


def serve_one(request: dict[str, Any]) -> dict[str, Any]:
    """In the parent: fork, wait, and end what is left. ``code`` is pytest's, −1 for none in time."""
    with tempfile.TemporaryDirectory() as folder:
        answer = f"{folder}/answer"
        started_s = time.perf_counter()
        pid = os.fork()
        if not pid:
            try:
                run_child(request, answer)
            finally:
                os._exit(1)
        is_ended = wait_for(pid, request["timeout_s"])
        end_family(pid)
        seconds = time.perf_counter() - started_s
        if not is_ended:
            return {"code": -1, "reached": {}, "seconds": seconds}
        with contextlib.suppress(OSError):
            return {**json.loads(Path(answer).read_text()), "seconds": seconds}
        return {"code": 1, "reached": {}, "seconds": seconds}  # it crashed


def wait_for(pid: int, timeout_s: float) -> bool:
    return wait_for_status(pid, timeout_s) != -1


def wait_for_status(pid: int, timeout_s: float) -> int:
    """A child's exit code, −1 when it has not ended in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) & 0xFF
        time.sleep(0.003)
    return -1


def end_family(pid: int) -> None:
    """End a child that still runs, and everything below us: what a broken test has left."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def adopt_orphans() -> None:
    """Processes whose parent has ended become our children (Linux), so that they can be found and ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> None:
    adopt_orphans()
    sys.path.pop(0)  # this folder: its modules are no tests' business
    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(serve_one(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
