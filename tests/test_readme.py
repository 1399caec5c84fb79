"""The documents are true: rooms and files that they name exist, links lead somewhere, CI runs the README's commands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
MAX_README_LINES = 200
ROOM_ROW = re.compile(r"^\| `([\w/]+/)` \| (.+?) \|(.*)\|$", re.MULTILINE)
GENERATED = re.compile(r"<!-- ([^>]+) -->.*?<!-- end of \1 -->", re.DOTALL)
OURS = ("musetalk_cli", "tools", "fixtures", "tests", "configs", "docs", "examples")
# Named in the documents, but of the original project.
OTHERS = {"inference.py"}


def tracked_files() -> list[Path]:
    """Paths below ROOT that belong to the repository; without git, whatever lies there."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [Path(line) for line in done.stdout.splitlines() if (ROOT / line).exists()]
    return [path.relative_to(ROOT) for folder in OURS for path in (ROOT / folder).rglob("*") if path.is_file()]


FILES = [path for path in tracked_files() if "__pycache__" not in path.parts]


def folders_with_files(top: str) -> set[str]:
    """Folders below ``top`` that hold more than an ``__init__.py``, each with a slash behind."""
    return {f"{path.parent}/" for path in FILES if path.parts[0] == top and path.name != "__init__.py"}


def mirrors_a_room(folder: str) -> bool:
    return (ROOT / "musetalk_cli" / Path(folder).relative_to("tests")).is_dir()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES


def test_the_readme_has_the_streams_that_were_measured_last() -> None:
    """Both say how many streams two cores hold at 512 × 512; ``tools.measure.machine_speed`` writes the other one."""
    performance = (ROOT / "docs" / "performance.md").read_text()
    bench = performance.partition("<!-- bench -->")[2].partition("<!-- end of bench -->")[0]
    [measured] = re.findall(r"This machine holds (\d+) streams of 25 fps at 512 × 512", bench)
    assert re.findall(r"(\d+) streams at 512 × 512", README) == [measured]


def test_architecture_names_every_room_and_no_other() -> None:
    named = {row[0] for row in ROOM_ROW.findall(ARCHITECTURE)}
    missing = {room for room in named if not (ROOT / room).is_dir()}
    assert missing == set(), "docs/architecture.md names rooms that are gone"
    rooms = set[str]().union(*(folders_with_files(top) for top in ("musetalk_cli", "tools", "fixtures")))
    rooms |= {folder for folder in folders_with_files("tests") if not mirrors_a_room(folder)}
    assert rooms - named == set(), "docs/architecture.md lacks rooms: add a row with a sentence on what may come in"


def test_a_room_says_what_may_come_in() -> None:
    rows = ROOM_ROW.findall(ARCHITECTURE)
    assert len({room for room, _, _ in rows}) == len(rows), "a room stands there twice"
    assert [room for room, sentence, _ in rows if not sentence.rstrip().endswith(".")] == []


def test_key_files_are_in_their_room() -> None:
    lost = [
        f"{room}{name}"
        for room, _, key_files in ROOM_ROW.findall(ARCHITECTURE)
        for name in re.findall(r"`([\w.-]+\.\w+)`", key_files)
        if not (ROOT / room / name).exists()
    ]
    assert lost == [], "docs/architecture.md names files that are not in their room"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    text = GENERATED.sub("", document.read_text())
    if document.name == "CHANGELOG.md":  # it tells of files as they were
        return
    paths = re.findall(rf"(?<![\w/.])((?:{'|'.join(OURS)})/[\w./-]*\w/?)", text)
    lost = {path for path in paths if not (ROOT / path).exists()}
    names = {path.name for path in FILES} | OTHERS
    lost |= {name for name in re.findall(r"(?<![\w/.-])(\w+\.py)\b", text) if name not in names}
    for module in re.findall(r"python -m (tools[\w.]+)", text):
        place = ROOT / module.replace(".", "/")
        if not (place.with_suffix(".py").exists() or (place / "__main__.py").exists()):
            lost.add(module)
    assert lost == set(), f"{document.name} names what does not exist"


def test_the_commands_are_what_ci_runs() -> None:
    commands = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
    assert len(commands) == 2
    rest = (ROOT / ".ci" / "run").read_text()
    for command in commands:
        assert ". .venv/bin/activate" in command.split(" && "), "later examples need the environment"
        for step in command.split(" && "):
            found = re.search(rf"(?:^|&& |PATH=\S+ ){re.escape(step)}(?= &&|$)", rest, re.MULTILINE)
            assert found, f".ci/run does not run, in this order: {step}"
            rest = rest[found.end() :]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*?)(?:#([^)]*))?\)", document.read_text()):
        if "://" in target:
            continue
        place = document.parent / target if target else document
        assert place.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{document.name} links to {target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_nothing_is_installed_from_a_name_that_is_not_ours() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"pip install ['\"]?musetalk", document.read_text()), document.name
