"""The wheel: what it holds, its page on an index, and that it works in an environment far from the clone."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fixtures.media import describe
from musetalk_cli import __version__
from musetalk_cli.engine.native import library

pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")

ROOT = Path(__file__).parent.parent
MAX_WHEEL_BYTES = 6_000_000
OFFLINE = {"PIP_NO_INDEX": "1", "UV": ""}  # no compiler is downloaded
ADDRESS = "https://forge.test/someone/musetalk"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"), {})


def build_wheel(folder: Path, settings: dict[str, str]) -> Path:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "MUSETALK_"))}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment | OFFLINE | settings, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"musetalk-{__version__}.dist-info/METADATA").decode()


def test_it_ships_what_the_readme_uses(names: list[str]) -> None:
    presets = {path.name for path in (ROOT / "musetalk_cli" / "configuration" / "presets").glob("*.yaml")}
    assert {f"musetalk_cli/configuration/presets/{name}" for name in presets} <= set(names)
    assert "musetalk_cli/assets/hello.wav" in names
    assert "musetalk_cli/py.typed" in names
    assert "musetalk_cli/serve/page/index.html" in names
    assert f"musetalk-{__version__}.dist-info/licenses/LICENSE" in names


def test_it_ships_nothing_else(names: list[str], wheel: Path) -> None:
    of_no_module = [
        name for name in names if not name.startswith(("musetalk_cli/", f"musetalk-{__version__}.dist-info/"))
    ]
    assert of_no_module in ([], [f"musetalk-{__version__}.data/data/share/man/man1/musetalk.1"])
    assert [name for name in names if "__pycache__" in name] == []
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def libraries(names: list[str]) -> list[str]:
    return [name for name in names if Path(name).stem == "_native"]


def test_its_kernel_is_compiled_for_this_computer(wheel: Path, names: list[str]) -> None:
    assert [name for name in names if name.endswith((".c", ".h"))] == []
    if not library.PATH.is_file():
        pytest.skip("needs a C compiler")
    assert libraries(names) == [library.PATH.relative_to(ROOT).as_posix()]
    assert wheel.name.startswith(f"musetalk-{__version__}-py3-none-")
    assert not wheel.name.endswith("-any.whl")


@pytest.mark.parametrize("settings", [{"MUSETALK_NATIVE": "0"}, {"CC": "", "PATH": "", "PIP_NO_INDEX": "1", "UV": ""}])
def test_without_a_compiler_the_wheel_is_for_every_computer(tmp_path: Path, settings: dict[str, str]) -> None:
    (tmp_path / "ziglang.py").touch()  # found before the real one, and without a compiler
    wheel = build_wheel(tmp_path, settings | {"PYTHONPATH": str(tmp_path)})
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert libraries(archive.namelist()) == []


def test_the_same_sources_make_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert build_wheel(tmp_path, {}).read_bytes() == wheel.read_bytes()


def test_without_an_address_the_page_has_no_dead_links(metadata: str) -> None:
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", metadata) == []
    assert "docs/streaming.md" in metadata
    assert "Project-URL" not in metadata.partition("\n\n")[0].replace("Dynamic: Project-URL", "")


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


def test_with_an_address_links_are_absolute(build: ModuleType) -> None:
    page = "![a face](docs/nora.webp)\n\nSee [docs/a.md](docs/a.md#b), [here](#b) and [there](https://x.test/)."
    released = build.index_page(page, ADDRESS, "1.2.0")
    assert f"![a face]({ADDRESS}/raw/v1.2.0/docs/nora.webp)" in released
    assert f"[docs/a.md]({ADDRESS}/blob/v1.2.0/docs/a.md#b), [here](#b) and [there](https://x.test/)." in released
    assert f"{ADDRESS}/blob/HEAD/docs/a.md" in build.index_page(page, ADDRESS, "1.2.0.dev0")
    assert build.index_page(page, "", "1.2.0") == "\n\nSee docs/a.md, [here](#b) and [there](https://x.test/)."
    assert build.addresses(ADDRESS, "1.2.0")["Changelog"] == f"{ADDRESS}/blob/v1.2.0/CHANGELOG.md"


def test_the_address_is_only_what_somebody_says(build: ModuleType) -> None:
    assert build.find_repository({}) == ""
    assert build.find_repository({"MUSETALK_REPOSITORY_URL": f"{ADDRESS}.git"}) == ADDRESS
    actions = {"GITHUB_REPOSITORY": "someone/musetalk", "GITHUB_SERVER_URL": "https://forge.test"}
    assert build.find_repository(actions) == ADDRESS
    with pytest.raises(ValueError, match="not the address of a page"):
        build.find_repository({"MUSETALK_REPOSITORY_URL": "git@forge.test:someone/musetalk"})


def test_the_version_has_a_section_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?$", changelog, re.MULTILINE)
    assert all(date for version, date in sections if version != "Unreleased")
    if "dev" in __version__:
        assert sections[0] == ("Unreleased", "")
        assert __version__.split(".dev")[0] not in dict(sections), "released already: choose the next version"
    else:
        assert __version__ in dict(sections)


def test_the_docker_build_is_given_what_the_wheel_needs() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    copied = {source for sources in copies for source in sources.split()}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "musetalk_cli", "examples/hello.wav"} <= copied


@pytest.fixture(scope="module")
def far_away(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel in it; what it depends on is that of the running environment."""
    pytest.importorskip("pip", reason="needs pip to install the wheel")
    folder = tmp_path_factory.mktemp("far away")
    venv.create(folder / "env", with_pip=False, symlinks=os.name == "posix")
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "-q"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, cwd=folder)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True
    )
    dependencies = Path(packages.stdout.decode().strip()) / "dependencies.pth"
    dependencies.write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


def run_there(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the console script in an environment that knows neither this clone nor the user's home."""
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HOME": str(folder), "MUSETALK_HOME": str(folder / "home"), "PYTHONUTF8": "1"}
    return subprocess.run(
        [scripts / arguments[0], *arguments[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(180)
def test_the_demo_needs_no_clone(far_away: Path, ffmpeg: str) -> None:
    done = run_there(far_away, "musetalk", "render", "--demo", "--preset", "realtime", "--size", "96", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Duration: 00:00:06.9" in describe(ffmpeg, far_away / "hello.mp4")


def test_its_version_is_that_of_the_code(far_away: Path) -> None:
    assert run_there(far_away, "musetalk", "--version").stdout == f"musetalk {__version__}\n"


def test_its_hints_name_the_wheel(far_away: Path, wheel: Path) -> None:
    code = "from musetalk_cli.installation import find_installation as f; print(f().origin, sorted(f().extras))"
    done = run_there(far_away, "python", "-c", code)
    assert done.stdout.startswith(f"{wheel.as_uri()} [")
    assert "'neural'" in done.stdout
