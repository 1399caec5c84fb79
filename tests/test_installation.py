"""Hints that install an extra: they name what works from where this package was installed."""

from __future__ import annotations

import ast
import json
import shlex
import sys
from pathlib import Path

import pytest

from musetalk_cli import hints, installation
from musetalk_cli.installation import (
    PIP,
    PIPX,
    UV,
    UV_TOOL,
    Installation,
    describe_command,
    find_installation,
    install_command,
    read_extras,
    read_origin,
)

ROOT = Path(__file__).parent.parent
REQUIRES = [
    "numpy>=1.26",
    "torch<2.14,>=2.6; extra == 'neural'",
    "safetensors>=0.4; extra == 'neural'",
    "pipecat-ai<2,>=1.14; (python_version >= '3.11') and extra == 'pipecat'",
    'av>=14; extra == "session"',
]
LIBRARIES = ("torch<2.14,>=2.6", "safetensors>=0.4")


def installed(origin: str | None, manager: str = PIP, *, is_editable: bool = False) -> Installation:
    return Installation(origin, is_editable, manager, Path("/envs/musetalk"), {"neural": LIBRARIES})


@pytest.fixture(autouse=True)
def _pip_of_another_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation.shutil, "which", lambda name: "/usr/bin/pip")
    monkeypatch.setattr(sys, "executable", "/envs/my own/bin/python")
    monkeypatch.chdir(tmp_path)


PYTHON_PIP = ["/envs/my own/bin/python", "-m", "pip", "install"]
UV_PIP = ["uv", "pip", "install", "--python", "/envs/my own/bin/python"]
CASES = {
    "a clone": (installed("/src/my clone"), [*PYTHON_PIP, "/src/my clone[neural]"]),
    "a clone, editable": (installed("/src", is_editable=True), [*PYTHON_PIP, "-e", "/src[neural]"]),
    "a repository": (
        installed("git+https://a.test/m.git"),
        [*PYTHON_PIP, "musetalk[neural] @ git+https://a.test/m.git"],
    ),
    "a wheel": (installed("file:///a%20b/m.whl"), [*PYTHON_PIP, "musetalk[neural] @ file:///a%20b/m.whl"]),
    "an origin that is gone": (installed(None), [*PYTHON_PIP, *LIBRARIES]),
    "pipx": (installed("/src", PIPX), ["pipx", "inject", "musetalk", *LIBRARIES]),
    "a uv tool": (installed("/src", UV_TOOL), ["uv", "tool", "install", "--force", "/src[neural]"]),
    "a uv tool whose origin is gone": (installed(None, UV_TOOL), [*UV_PIP, *LIBRARIES]),
    "an environment of uv": (installed("/src", UV, is_editable=True), [*UV_PIP, "-e", "/src[neural]"]),
}


@pytest.mark.skipif(sys.platform == "win32", reason="quotes for a POSIX shell")
@pytest.mark.parametrize("found, words", CASES.values(), ids=CASES)
def test_the_command_names_what_works_there(found: Installation, words: list[str]) -> None:
    command = describe_command(found, "neural")
    assert shlex.split(command) == words
    assert "[" not in command or "'" in command, "a shell would take the brackets for a pattern"


def test_the_current_folder_is_a_dot(tmp_path: Path) -> None:
    assert describe_command(installed(str(tmp_path)), "neural").endswith(" '.[neural]'")


def test_pip_of_this_environment_is_called_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.shutil, "which", lambda name: "/envs/my own/bin/pip")
    assert describe_command(installed("/src"), "neural") == "pip install '/src[neural]'"


def test_windows_quotes_with_double_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "IS_POSIX", False)
    monkeypatch.setattr(sys, "executable", r"C:\envs\python.exe")
    command = describe_command(installed(None), "neural")
    assert command == r'C:\envs\python.exe -m pip install "torch<2.14,>=2.6" "safetensors>=0.4"'


def test_a_folder_is_an_origin_while_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "my clone"
    direct_url = {"url": folder.as_uri(), "dir_info": {"editable": True}}
    assert read_origin(direct_url) == (None, False)
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    assert read_origin(direct_url) == (str(folder), True)
    assert read_origin({"url": folder.as_uri(), "dir_info": {}}) == (str(folder), False)


def test_a_wheel_is_an_origin_while_it_is_there(tmp_path: Path) -> None:
    wheel = tmp_path / "musetalk-1-py3-none-any.whl"
    direct_url = {"url": wheel.as_uri(), "archive_info": {}}
    assert read_origin(direct_url) == (None, False)
    wheel.touch()
    assert read_origin(direct_url) == (wheel.as_uri(), False)
    address = "https://a.test/musetalk-1-py3-none-any.whl"
    assert read_origin({"url": address, "archive_info": {}}) == (address, False)


def test_a_repository_is_an_origin_as_it_was_asked_for() -> None:
    git = {"url": "https://a.test/m.git", "vcs_info": {"vcs": "git", "commit_id": "1f"}}
    assert read_origin(git) == ("git+https://a.test/m.git", False)
    tagged = {**git, "vcs_info": {**git["vcs_info"], "requested_revision": "v1"}, "subdirectory": "cli"}  # type: ignore[dict-item]
    assert read_origin(tagged) == ("git+https://a.test/m.git@v1#subdirectory=cli", False)


def test_without_a_direct_url_there_is_no_origin() -> None:
    assert read_origin({}) == (None, False)


def test_extras_are_read_from_the_metadata() -> None:
    assert read_extras(REQUIRES) == {"neural": LIBRARIES, "pipecat": ("pipecat-ai<2,>=1.14",), "session": ("av>=14",)}


class FakeDistribution:
    """What importlib.metadata finds of an installation."""

    requires = REQUIRES

    def __init__(self, direct_url: str | None) -> None:
        self._direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        return {"direct_url.json": self._direct_url}.get(name)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment that the package seems to be installed in, outside of any clone."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "site-packages" / "musetalk_cli" / "installation.py"))
    return tmp_path


@pytest.mark.parametrize(
    "left_there, manager", [("pipx_metadata.json", PIPX), ("uv-receipt.toml", UV_TOOL), ("pyvenv.cfg", PIP)]
)
def test_the_manager_is_found_by_what_it_leaves(
    environment: Path, monkeypatch: pytest.MonkeyPatch, left_there: str, manager: str
) -> None:
    pytest.importorskip("pip", reason="needs pip in this environment")
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: FakeDistribution(None))
    (environment / left_there).touch()
    found = find_installation()
    assert (found.manager, found.origin, found.extras["neural"]) == (manager, None, LIBRARIES)


@pytest.mark.parametrize("text", ["no JSON", "[]", "null", ""])
def test_a_damaged_record_is_no_origin(environment: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: FakeDistribution(text))
    assert find_installation().origin is None


def test_what_the_record_names_is_used(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.dumps({"url": "https://a.test/m.git", "vcs_info": {"vcs": "git", "commit_id": "1f"}})
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: FakeDistribution(record))
    assert install_command("neural").endswith("'musetalk[neural] @ git+https://a.test/m.git'")


def test_the_code_of_a_clone_names_the_clone() -> None:
    found = find_installation()
    assert (found.origin, found.is_editable) == (str(ROOT), True)
    assert shlex.split(install_command("neural"))[-2:] == ["-e", f"{ROOT}[neural]"]


def test_no_other_module_says_what_to_install() -> None:
    package = ROOT / "musetalk_cli"
    sayers = [
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and "pip install" in str(node.value)
    ]
    assert set(sayers) <= {"installation.py"}
