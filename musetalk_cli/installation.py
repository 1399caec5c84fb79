"""How this package was installed, the command that adds one of its extras to that installation, and the example voice.

The name ``musetalk`` on a package index is not ours, so no hint may say ``pip install "musetalk[neural]"``. What works
depends on where the package came from (a clone, a repository's URL, a wheel file) and on what manages its environment
(pip, pipx, uv).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musetalk_cli.hints import join

if TYPE_CHECKING:
    from importlib.metadata import Distribution

NAME = "musetalk"
PIP, PIPX, UV, UV_TOOL = "pip", "pipx", "uv", "uv tool"


@dataclass(frozen=True)
class Installation:
    """Where this package came from, and what its environment is managed by."""

    origin: str | None
    """A folder's path or a URL that the package can be installed from again; None where there is none any more."""
    is_editable: bool
    manager: str
    """One of PIP, PIPX, UV (an environment without pip) and UV_TOOL."""
    prefix: Path
    """The folder of the environment."""
    extras: dict[str, tuple[str, ...]]
    """The requirements of each extra, for where ``origin`` is None."""


def install_command(extra: str) -> str:
    """The shell command that adds an extra of pyproject.toml, such as ``neural``, to this installation."""
    return describe_command(find_installation(), extra)


def demo_voice() -> Path:
    """The example voice: an asset of an installed package, ``examples/hello.wav`` of a clone."""
    package = Path(__file__).parent
    asset = package / "assets" / "hello.wav"
    return asset if asset.is_file() else package.parent / "examples" / "hello.wav"


def describe_command(found: Installation, extra: str) -> str:
    """The shell command that adds ``extra`` to the installation ``found``, quoted for this system's shells."""
    libraries = found.extras.get(extra, ())
    if found.manager == PIPX and libraries:
        return join(["pipx", "inject", found.prefix.name, *libraries])
    if found.origin is None:
        return join([*_installer(found.manager, is_for_libraries=True), *libraries])
    return join([*_installer(found.manager), *(["-e"] if found.is_editable else []), _with_extra(found.origin, extra)])


def find_installation() -> Installation:
    """Read how the running package was installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    manager, prefix = _find_manager(), Path(sys.prefix)
    tree = Path(__file__).parents[1]
    try:
        found = distribution(NAME)
    except PackageNotFoundError:
        found = None
    extras = read_extras(found.requires or ()) if found else {}
    if (tree / "pyproject.toml").is_file():  # the code of a clone runs, whatever is installed beside it
        return Installation(str(tree), True, manager, prefix, extras)
    origin, is_editable = read_origin(_direct_url(found))
    return Installation(origin, is_editable, manager, prefix, extras)


def read_origin(direct_url: dict[str, Any]) -> tuple[str | None, bool]:
    """The origin that ``direct_url.json`` names, and whether it is editable.

    A folder or a file that is gone since is no origin. The file's format is a standard of packaging.python.org,
    "Recording the Direct URL Origin of installed distributions".
    """
    url = direct_url.get("url", "")
    is_local = url.startswith("file:")
    if "dir_info" in direct_url and is_local:
        folder = _path_of(url)
        is_editable = bool(direct_url["dir_info"].get("editable"))
        return (str(folder), is_editable) if (folder / "pyproject.toml").is_file() else (None, False)
    if version_control := direct_url.get("vcs_info"):
        revision = version_control.get("requested_revision")
        where = f"{version_control['vcs']}+{url}" + (f"@{revision}" if revision else "")
    elif not url or (is_local and not _path_of(url).is_file()):
        return None, False
    else:
        where = url
    subdirectory = direct_url.get("subdirectory")
    return where + (f"#subdirectory={subdirectory}" if subdirectory else ""), False


def read_extras(requires: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The requirements of each extra, from the Requires-Dist lines of a package's metadata, without their markers."""
    extras: dict[str, tuple[str, ...]] = {}
    for line in requires:
        requirement, _, marker = line.partition(";")
        for extra in re.findall(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker):
            extras[extra] = (*extras.get(extra, ()), requirement.strip())
    return extras


def _direct_url(found: Distribution | None) -> dict[str, Any]:
    text = found.read_text("direct_url.json") if found else None
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _path_of(url: str) -> Path:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(url).path))


def _find_manager() -> str:
    """What manages this environment, by the files that pipx and uv leave in it."""
    from importlib.util import find_spec

    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").is_file():
        return PIPX
    if (prefix / "uv-receipt.toml").is_file():
        return UV_TOOL
    return PIP if find_spec("pip") else UV


def _installer(manager: str, *, is_for_libraries: bool = False) -> list[str]:
    """The command before what is to be installed; ``is_for_libraries``: not this package itself."""
    if manager == UV_TOOL and not is_for_libraries:
        return ["uv", "tool", "install", "--force"]
    if manager == PIPX and not is_for_libraries:
        return ["pipx", "install", "--force"]
    if manager in (UV, UV_TOOL):
        return ["uv", "pip", "install", "--python", sys.executable]
    beside = shutil.which("pip")
    is_ours = beside is not None and Path(beside).parent == Path(sys.executable).parent
    pip = ["pip"] if is_ours else [sys.executable, "-m", "pip"]
    return [*pip, "install", *(["--break-system-packages"] if _is_guarded() else [])]


def _is_guarded() -> bool:
    """Whether this is the system's Python, in which pip installs only when told so."""
    import sysconfig

    is_environment = sys.prefix != sys.base_prefix
    return not is_environment and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file()


def _with_extra(origin: str, extra: str) -> str:
    """The origin as a requirement with an extra; the current folder is a dot."""
    if "://" in origin:
        return f"{NAME}[{extra}] @ {origin}"
    return f"{'.' if _is_current(origin) else origin}[{extra}]"


def _is_current(folder: str) -> bool:
    try:
        return Path.cwd() == Path(folder)
    except OSError:  # the current folder has been deleted
        return False
