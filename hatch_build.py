"""What a build adds: the voice of ``--demo``, the manual page, the native kernel, the page of an index, and addresses.

The README links to files beside it. On an index there are none, so that its links become absolute where the address of
the repository is known (``MUSETALK_REPOSITORY_URL``, or in GitHub Actions its own variables), and plain text elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

MAN_PAGE = "docs/man/musetalk.1"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


class ShippedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Ships ``examples/hello.wav`` in the package, the manual page, and the native kernel.

    An editable installation has the clone's, and the kernel is compiled there, beside its sources. A kernel that cannot
    be compiled never ends a build: numpy does its work. ``MUSETALK_NATIVE_TARGET`` names another computer than this
    one (``native_build.py`` has them); then it has to be compiled.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        native = load_beside(self.root, "native_build")
        try:
            if not native.is_switched_off():
                self._compile(native, version, build_data)
        except native.NoCompilerError as error:
            if "MUSETALK_NATIVE_TARGET" in os.environ:
                raise
            self.app.display_warning(f"The native kernel is not built, numpy will do its work: {error}")
        if version != "editable":
            build_data["force_include"]["examples/hello.wav"] = "musetalk_cli/assets/hello.wav"
            if (Path(self.root) / MAN_PAGE).is_file():  # an image is built without it
                build_data["shared_data"][MAN_PAGE] = "share/man/man1/musetalk.1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._scratch.cleanup()

    def _compile(self, native: ModuleType, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel in place, or for a wheel, which is then one for its system and processor."""
        root = Path(self.root)
        if version == "editable":
            self.app.display_info(native.build_in_place(root, may_download=True))
            return
        named = os.environ.get("MUSETALK_NATIVE_TARGET")
        if named and named not in native.TARGETS:
            raise ValueError(f"MUSETALK_NATIVE_TARGET={named}: must be one of {', '.join(native.TARGETS)}")
        target = native.TARGETS[named] if named else native.this_computer()
        library = Path(self._scratch.name) / target.library
        self.app.display_info(native.build(library, root=root, target=target, may_download=True))
        for path in sorted(library.parent.glob("_native.*")):
            build_data["force_include"][str(path)] = (native.FOLDER / path.name).as_posix()
        build_data["pure_python"] = False
        platform = native.wheel_platform(library, target)
        build_data["tag"] = f"py3-none-{platform if named else supported_platform(platform)}"


class IndexPage(MetadataHookInterface):
    """Sets ``readme``, and ``urls`` where the repository's address is known."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        repository = find_repository(os.environ)
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": index_page(text, repository, metadata["version"]),
        }
        if repository:
            metadata["urls"] = addresses(repository, metadata["version"])


def load_beside(root: str, name: str) -> ModuleType:
    """A module from the repository's folder, which is not on the path of a build."""
    spec = importlib.util.spec_from_file_location(name, Path(root) / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{name}.py is missing beside hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def supported_platform(platform: str) -> str:
    """The platform of a wheel that is installed here: if pip does not know the wanted one, what it knows best."""
    from packaging.tags import platform_tags

    known = list(platform_tags())
    return platform if platform in known else known[0]


def find_repository(environment: Mapping[str, str]) -> str:
    """The address of the repository that is built; empty if nobody says it."""
    named = environment.get("MUSETALK_REPOSITORY_URL", "")
    if not named and environment.get("GITHUB_REPOSITORY"):
        named = f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{environment['GITHUB_REPOSITORY']}"
    if named and not re.fullmatch(r"https?://[^\s@]+", named):
        raise ValueError(f"MUSETALK_REPOSITORY_URL is not the address of a page: {named}")
    return named.removesuffix("/").removesuffix(".git")


def revision_of(version: str) -> str:
    """The tag of a released version, and the newest state for one in the making."""
    return "HEAD" if "dev" in version else f"v{version}"


def addresses(repository: str, version: str) -> dict[str, str]:
    """The entries of ``[project.urls]``."""
    files = f"{repository}/blob/{revision_of(version)}"
    return {
        "Repository": repository,
        "Documentation": f"{files}/README.md#where-to-read-on",
        "Changelog": f"{files}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def index_page(readme: str, repository: str, version: str) -> str:
    """The README with links that lead somewhere from another site."""

    def replace(link: re.Match[str]) -> str:
        is_image, text, target = link.groups()
        if repository:
            kind = "raw" if is_image else "blob"
            return f"{is_image}[{text}]({repository}/{kind}/{revision_of(version)}/{target})"
        return "" if is_image else text

    return re.sub(r"\n{3,}", "\n\n", LINK.sub(replace, readme))
