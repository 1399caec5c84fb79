"""A hook of MkDocs: brings the files beside docs/ that the documents link to, and lets their links lead there.

The README is the first page. mkdocs.yml names this file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
FIRST_PAGE = "index.md"
# Files of the root that are pages, and where.
PAGES = {"README.md": FIRST_PAGE, "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the files of the root to those of docs/."""
    from mkdocs.structure.files import File

    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    for name in sorted(linked_files()):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def linked_files() -> set[str]:
    """The files that are no pages and no part of docs/, and that some page links to."""
    found = set()
    for path in (*(ROOT / name for name in PAGES), *(ROOT / "docs").glob("*.md")):
        is_of_root = path.parent == ROOT
        for _, target, _ in LINK.findall(path.read_text(encoding="utf-8")):
            name = move_link(target, is_of_root=is_of_root).partition("#")[0]
            is_outside = name not in PAGES.values() and not (ROOT / "docs" / name).exists()
            if name and is_outside and (ROOT / name).is_file():
                found.add(name)
    return found


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links of the root's pages lead into docs/, and those of docs/ out of it: on the site, all are in one folder."""
    is_of_root = page.file.src_uri in PAGES.values()
    return LINK.sub(lambda match: f"{match[1]}{move_link(match[2], is_of_root=is_of_root)}{match[3]}", markdown)


def move_link(target: str, *, is_of_root: bool) -> str:
    """Where a link of a document leads on the site; addresses and anchors stay."""
    if "://" in target or target.startswith(("#", "mailto:")):
        return target
    moved = target.removeprefix("docs/") if is_of_root else target.removeprefix("../")
    path, hash_, anchor = moved.partition("#")
    return f"{PAGES.get(path, path)}{hash_}{anchor}"
