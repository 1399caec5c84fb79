"""The documentation as a site: each document is in its navigation, and links lead from folder to folder."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools.assets.site import PAGES, linked_files, move_link

ROOT = Path(__file__).parent.parent.parent
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:", 1)[1]


def test_each_document_is_in_the_navigation_once() -> None:
    named = re.findall(r": ([\w./-]+\.md)$", NAVIGATION, re.MULTILINE)
    assert len(set(named)) == len(named)
    assert set(named) == {path.name for path in (ROOT / "docs").glob("*.md")} | set(PAGES.values()), "see mkdocs.yml"


@pytest.mark.parametrize(
    ("target", "is_of_root", "place"),
    [
        ("docs/cli.md#exit-codes", True, "cli.md#exit-codes"),
        ("LICENSE", True, "LICENSE"),
        ("README.md", True, "index.md"),
        ("../README.md#limits", False, "index.md#limits"),
        ("../configs/default.yaml", False, "configs/default.yaml"),
        ("server.md", False, "server.md"),
        ("#limits", False, "#limits"),
        ("https://example.org/docs/x", True, "https://example.org/docs/x"),
    ],
)
def test_links_lead_to_one_folder(target: str, is_of_root: bool, place: str) -> None:
    assert move_link(target, is_of_root=is_of_root) == place


def test_files_outside_of_docs_come_along() -> None:
    found = linked_files()
    assert {"LICENSE", "configs/default.yaml"} <= found
    assert all((ROOT / name).is_file() for name in found)


@pytest.mark.skipif(find_spec("mkdocs") is None or find_spec("material") is None, reason="needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
