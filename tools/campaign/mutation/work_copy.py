"""A temporary copy of the repository in which source files are changed and tests are run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.campaign.mutation.operators import Mutant
    from tools.campaign.mutation.reached import Selection

ROOT = Path(__file__).parent.parent.parent.parent
FOLDERS = ("musetalk_cli", "fixtures", "tests")


class WorkCopy:
    """A copy of the working tree, uncommitted changes included, in ``folder``. ``close`` removes it."""

    def __init__(self) -> None:
        self._parent = Path(tempfile.mkdtemp(prefix="musetalk-mutants-"))
        self.folder = self._parent / "tree"
        for path in _list_files():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, self.folder / path)
        for path in _list_bytecode():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, self.folder / path)

    def close(self) -> None:
        shutil.rmtree(self._parent, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """For a process that runs tests here: it imports the copy, and touches no data of the user."""
        home = self._parent / "home"
        home.mkdir(exist_ok=True)
        temporary = self._parent / "tmp"
        temporary.mkdir(exist_ok=True)
        own = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(temporary)}
        return {**os.environ, **own}

    @contextmanager
    def changed(self, file: str, text: bytes) -> Iterator[None]:
        """Replace a file's content inside the ``with``."""
        path = self.folder / file
        before = path.read_bytes()
        path.write_bytes(text)
        try:
            yield
        finally:
            path.write_bytes(before)

    def run_patched(
        self,
        mutants: Sequence[Mutant],
        selections: Mapping[str, Selection],
        sources: Mapping[str, bytes],
        limit_s: float,
        slower: float,
        more_s: float,
    ) -> Iterator[dict[str, Any]]:
        """Run mutants in forks of one pytest; see ``patched_runs.py``.

        Args:
            mutants: In the order to run them.
            selections: The tests of each, by its key; one without any is not run.
            sources: The text of each module.
            limit_s: Time for all of them.
            slower: A mutant may take this many times as long as its tests take without it,
            more_s: and so many seconds more.

        Yields:
            ``key``, ``outcome`` and ``seconds`` of each, when all have been run.
        """
        folder = self._parent / "patched"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        requests = []
        for mutant in mutants:
            selection = selections[mutant.key]
            if selection.tests:
                source = folder / f"{mutant.key}.py"
                source.write_bytes(mutant.apply(sources[mutant.file]))
                requests.append(
                    {
                        "key": mutant.key,
                        "module": mutant.file.removesuffix(".py").replace("/", "."),
                        "source": str(source),
                        "tests": selection.tests,
                        "timeout_s": more_s + slower * selection.seconds,
                    }
                )
        files = sorted({name.partition("::")[0] for request in requests for name in request["tests"]})
        request, results = folder / "request.json", folder / "results.jsonl"
        request.write_text(json.dumps({"tests": files, "mutants": requests, "limit_s": limit_s}))
        program = Path(__file__).parent / "patched_runs.py"
        command = [sys.executable, str(program), str(request), str(results)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the tests cannot be run: {(done.stdout + done.stderr)[-2000:]}")
        for line in results.read_text().splitlines() if results.exists() else ():
            yield json.loads(line)

    def run_tests(self, tests: Sequence[str], timeout_s: float) -> tuple[str, str]:
        """Run tests until one fails: ``passed``, ``failed`` or ``timed out``, and the last lines of what pytest said.

        Raises RuntimeError where pytest finds no such test.
        """
        options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line")
        command = [sys.executable, "-m", "pytest", *options, *tests]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "timed out", ""
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        if done.returncode not in (0, 1, 2):  # 2: a module that cannot even be imported
            raise RuntimeError(f"pytest ended with {done.returncode}: {tail}")
        return ("failed" if done.returncode else "passed"), tail


def _list_bytecode() -> list[Path]:
    """What Python has compiled already. It fits the copy, where files keep their times, until a file is changed there;
    nothing is compiled to a file in the copy, since a change within a second would not be seen."""
    return [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("__pycache__/*.pyc")]


def _list_files() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


class TestServer:
    """Runs tests of a copy in forked children, one request after the other; see ``test_server.py``."""

    __test__ = False

    def __init__(self, copy: WorkCopy) -> None:
        self._child = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "test_server.py")],
            cwd=copy.folder,
            env=copy.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: Sequence[str], timeout_s: float, trace: Sequence[str] = ()) -> dict[str, Any]:
        """``code`` as pytest has it, or −1 when it took too long; ``seconds``; ``reached`` where lines are traced."""
        assert self._child.stdin and self._child.stdout
        request = {"tests": list(tests), "timeout_s": timeout_s, "trace": list(trace)}
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        answer: dict[str, Any] = json.loads(self._child.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._child.stdin and self._child.stdout
        self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()
