"""Runs many mutants against tests that are collected once: each in a fork, with the changed code put in place.

Started in the copy as ``python patched_runs.py REQUEST RESULTS``. The request is JSON: ``tests`` (files),
``mutants`` (key, module, path of the changed source, names of tests, seconds it may take). Each result is a line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")


class Loop:
    """pytest plugin whose test loop is a loop over mutants."""

    def __init__(self, request: dict[str, Any], results: Path) -> None:
        self._request, self._results = request, results
        self._has_failed = False

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._has_failed = self._has_failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        until_s = time.monotonic() + self._request["limit_s"]
        for mutant in self._request["mutants"][:NUM_CHECKED]:
            unchanged = {**mutant, "source": None}
            if self._fork(unchanged, [items[name] for name in mutant["tests"] if name in items])[0] != "survived":
                raise pytest.UsageError(f"these tests fail without a mutant: {mutant['tests']}")
        with self._results.open("a") as results:
            for mutant in self._request["mutants"]:
                if time.monotonic() > until_s:
                    break
                chosen = [items[name] for name in mutant["tests"] if name in items]
                outcome, seconds = self._fork(mutant, chosen)
                results.write(
                    json.dumps({"key": mutant["key"], "outcome": outcome, "seconds": round(seconds, 2)}) + "\n"
                )
                results.flush()
        return True

    def _fork(self, mutant: dict[str, Any], items: list[pytest.Item]) -> tuple[str, float]:
        started_s = time.monotonic()
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                os._exit(self._run(mutant, items))
            os._exit(CRASHED)
        status = test_server.wait_for_status(pid, mutant["timeout_s"])
        test_server.end_family(pid)
        return OUTCOMES.get(status, "caught"), time.monotonic() - started_s

    def _run(self, mutant: dict[str, Any], items: list[pytest.Item]) -> int:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if mutant["source"]:
            try:
                patching.patch(importlib.import_module(mutant["module"]), Path(mutant["source"]).read_bytes())
            except Exception:
                return CANNOT
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._has_failed:
                return FAILED
        return 0


FAILED, CANNOT, CRASHED = 1, 77, 2
# Before the mutants, the tests of the first ones are run without any.
NUM_CHECKED = 2
OUTCOMES = {0: "survived", -1: "timed out", CANNOT: "not patched"}


def main() -> None:
    request, results = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    test_server.adopt_orphans()
    sys.exit(pytest.main([*OPTIONS, *request["tests"]], plugins=[Loop(request, results)]))


if __name__ == "__main__":
    import patching
    import test_server

    sys.path.pop(0)  # this folder: its modules are no tests' business
    main()
