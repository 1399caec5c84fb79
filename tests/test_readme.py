"""README.md is true: its file map is the tree, its commands are what CI runs, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
IGNORED = {"__pycache__", "__init__.py", ".git"}


def mapped_paths() -> set[str]:
    """Every path that the file map names, folders with a slash behind."""
    block = README.split("## File map", 1)[1].split("```")[1]
    paths, folders = set(), [""]
    for line in block.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[: depth + 1]
        for name in re.split(r" {2,}", line.strip())[0].split(" · "):
            paths.add(folders[depth] + name)
            if name.endswith("/"):
                folders.append(folders[depth] + name)
    return paths


def tree(folder: str) -> set[str]:
    found = set()
    for path in (ROOT / folder).rglob("*"):
        if not IGNORED & set(path.parts) and not path.name.startswith("."):
            found.add(str(path.relative_to(ROOT)) + ("/" if path.is_dir() else ""))
    return found


def test_the_file_map_is_the_tree() -> None:
    mapped = mapped_paths()
    missing_on_disk = {path for path in mapped if not (ROOT / path).exists()}
    assert missing_on_disk == set()
    for folder in ("musetalk_cli", "configs", "docs", "tools", "examples"):
        unmapped = {path for path in tree(folder) if path not in mapped and not is_inside_mapped_leaf(path, mapped)}
        assert unmapped == set(), f"README's file map lacks {sorted(unmapped)}"


def is_inside_mapped_leaf(path: str, mapped: set[str]) -> bool:
    """Whether the map names a folder above and none of what is in it."""
    parents = [str(parent) + "/" for parent in Path(path).parents]
    leaves = {parent for parent in parents if parent in mapped}
    return any(not any(other != leaf and other.startswith(leaf) for other in mapped) for leaf in leaves)


def test_the_commands_are_what_ci_runs() -> None:
    commands = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
    assert len(commands) == 2
    ci = (ROOT / ".ci" / "run").read_text()
    for command in commands:
        for step in command.split(" && "):
            assert step in ci, f".ci/run does not run: {step}"


def test_links_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
            assert "://" in target or (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_option_of_render_is_in_the_readme() -> None:
    source = (ROOT / "musetalk_cli" / "commands").glob("*.py")
    options = {option for path in source for option in re.findall(r'"(--[a-z-]+)"', path.read_text())}
    assert {option for option in options if option not in README} == set()
