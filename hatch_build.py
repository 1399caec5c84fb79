"""What a build adds: the voice of ``--demo``, the manual page, the page of a package index, and addresses.

The README links to files beside it. On an index there are none, so that its links become absolute where the address of
the repository is known (``MUSETALK_REPOSITORY_URL``, or in GitHub Actions its own variables), and plain text elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

MAN_PAGE = "docs/man/musetalk.1"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


class ShippedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Ships ``examples/hello.wav`` in the package, and the manual page. An editable installation has the clone's."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"]["examples/hello.wav"] = "musetalk_cli/assets/hello.wav"
            if (Path(self.root) / MAN_PAGE).is_file():  # an image is built without it
                build_data["shared_data"][MAN_PAGE] = "share/man/man1/musetalk.1"


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
