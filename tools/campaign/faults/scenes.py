"""The commands that the campaign runs, each in a small world of its own, and what must hold there afterwards."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tools.campaign.faults.playing import count_frames, find_problem
from tools.campaign.faults.processes import MUSETALK
from tools.campaign.faults.workshop import NUM_FRAMES, Workshop

STDOUT = ""  # as the name of a target
SMALL = ("--size", "96")
REMAINS = (".*.part-*", ".*.old-*", ".*.[0-9]*-[0-9]*", "*.tmp")  # what a killed process may leave: swept up later


class Outcome(NamedTuple):
    """What is known of an end: ``is_killed``, it had no chance to tidy up; ``is_done``, it says that it succeeded."""

    is_killed: bool
    is_done: bool


@dataclass(frozen=True)
class Place:
    """A folder for one run: ``home`` is MUSETALK_HOME, ``temporary`` TMPDIR, ``work`` the current folder."""

    root: Path
    shop: Workshop

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def logs(self) -> Path:
        """Outside of the world, which may be full."""
        return self.root.with_name(f"{self.root.name}-logs")

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"


@dataclass(frozen=True)
class Scene:
    """One command. ``args`` makes its command line; ``prepare`` its world; ``check`` yields what is wrong afterwards.

    ``known`` are names in the work folder that belong there, ``weight`` how often it is drawn, ``targets`` the files
    that it writes, as far as their names are known before.
    """

    name: str
    args: Callable[[Place], list[str]]
    prepare: Callable[[Place], object] = lambda place: None
    check: Callable[[Place, Outcome], Iterator[str]] = lambda place, outcome: iter(())
    known: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    weight: float = 1.0
    needs: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def find_strays(self, place: Place, outcome: Outcome) -> Iterator[str]:
        """Files that nobody documents."""
        remains = REMAINS if outcome.is_killed else ()
        names = ("voice.wav", "me.png", *self.known, *remains)
        for path in place.work.iterdir():
            if not any(path.match(name) for name in names):
                yield f"stray file {path.name}"
        if not outcome.is_killed:
            left = [path.name for path in place.temporary.iterdir() if not path.name.startswith("torchinductor_")]
            yield from (f"stray file {name} in TMPDIR" for name in left)
            for path in place.home.rglob(".*"):
                if any(path.match(name) for name in REMAINS):
                    yield f"stray file {path.relative_to(place.root)}"


def all_scenes(shop: Workshop) -> list[Scene]:
    """Those that this machine can run."""
    return [
        scene for scene in (*videos(), *avatars(), *models(), bench()) if not scene.needs or scene.needs in shop.has
    ]


# --- videos ---------------------------------------------------------------------------------------------------------


def videos() -> Iterator[Scene]:
    render = [*MUSETALK, "render", "voice.wav", *SMALL]
    stream = [*MUSETALK, "stream", "-i", "voice.wav", *SMALL]
    yield video("render", [*render, "-o", "o.mp4"], 3)
    yield video("render over an older file", [*render, "-o", "o.mp4", "--overwrite"], 3, old="o.mp4")
    yield video("render to .mkv", [*render, "-o", "o.mkv", "--overwrite", "-q"], 0.7, old="o.mkv")
    yield video("render to stdout", [*render, "-o", "-"], 1, target=STDOUT)
    yield video(
        "render with an avatar", [*render, "-o", "o.mp4", "--avatar", "anna", "--json"], 1, home="avatars", side=128
    )
    yield video("render with a photo", [*render, "-o", "o.mp4", "--avatar", "me.png"], 0.6, check_home=True)
    yield video("stream to a file", [*stream, "-o", "o.mp4", "--stats", "s.jsonl"], 3)
    yield video("stream over an older file", [*stream, "-o", "o.mp4", "--no-pace", "--overwrite"], 2, old="o.mp4")
    yield video("stream to .mov", [*stream, "-o", "o.mov", "--no-pace"], 0.7)
    yield video("stream to stdout", [*stream, "-o", "-"], 1, target=STDOUT)
    yield Scene(
        "stream to HLS", lambda place: [*stream, "-o", "live/"], check=check_hls, known=("live",), weight=2,
        targets=("live/index.m3u8", "live/index.m3u8.tmp", "live/index.init.mp4", "live/index.00000.m4s"),
    )  # fmt: skip
    yield Scene(
        "stream to RTMP and a file",
        lambda place: [*stream, "-o", place.shop.rtmp_address, "-o", "o.mp4"],
        check=lambda place, outcome: check_video(place, outcome, "o.mp4"), known=("o.mp4",), weight=2, needs="rtmp",
    )  # fmt: skip
    yield Scene("stream to UDP", lambda place: [*stream, "-o", "udp://127.0.0.1:49999"], weight=1)


def video(
    name: str,
    args: list[str],
    weight: float,
    *,
    target: str | None = None,
    old: str = "",
    home: str = "",
    side: int = 96,
    check_home: bool = False,
) -> Scene:
    """A command that writes one video.

    Args:
        name: of the scene.
        args: its command line.
        weight: how often it is drawn.
        target: what it writes; None for the value of ``-o``.
        old: an older file that is to be replaced.
        home: what of the workshop's home it needs.
        side: height of the video, in pixels.
        check_home: whether an avatar is made on the way.
    """
    target = args[args.index("-o") + 1] if target is None else target
    path = Path(target)

    def prepare(place: Place) -> None:
        if old:
            shutil.copy(place.shop.videos / f"old{path.suffix}", place.work / old)
        if home:
            shutil.copytree(place.shop.avatars, place.home / home)

    def check(place: Place, outcome: Outcome) -> Iterator[str]:
        yield from check_video(place, outcome, target, old=old)
        if check_home:
            for folder in (place.home / "cache" / "avatars").glob("[!.]*"):
                yield from problem_of_avatar(folder)

    parts = (f"{path.stem}.part1{path.suffix}",) if old else ()
    known = (target or "-", "s.jsonl", *parts)
    return Scene(
        name, lambda place: args, prepare, check, known, (path.name, *parts), weight, "faces" if check_home else ""
    )


def check_video(place: Place, outcome: Outcome, target: str, *, old: str = "") -> Iterator[str]:
    """The older file is intact or the new one whole; what is there plays."""
    is_pipe = target == STDOUT
    path = place.logs / "stdout" if is_pipe else place.work / target
    if old:
        is_old = path.exists() and hash_of(path) == hash_of(place.shop.videos / f"old{path.suffix}")
        if not path.exists():
            yield "the older file is lost"
        elif not is_old and not outcome.is_done and not outcome.is_killed:
            yield "a run that failed has replaced the older file"
        elif is_old and outcome.is_done:
            yield "exit code 0, and the older file was not replaced"
        elif not is_old:
            yield from problem_of_video(path, NUM_FRAMES, is_torn=False)
        for part in place.work.glob(f"{path.stem}.part*{path.suffix}"):
            yield from problem_of_video(part, 1, is_torn=outcome.is_killed)
    elif outcome.is_done and not path.exists():
        yield "exit code 0, and there is no video"
    elif path.exists() and (path.stat().st_size or not is_pipe):
        is_torn = outcome.is_killed or is_pipe
        yield from problem_of_video(path, NUM_FRAMES if outcome.is_done else 0 if is_pipe else 1, is_torn=is_torn)


def problem_of_video(path: Path, least: int, *, is_torn: bool) -> Iterator[str]:
    found, problem = count_frames(path)
    if found < least or (problem and not is_torn and least):
        yield f"{path.name} has {found} frames of {least}: {problem or 'it ends there'}"


def check_hls(place: Place, outcome: Outcome) -> Iterator[str]:
    folder = place.work / "live"
    playlist = folder / "index.m3u8"
    listed = playlist.read_text() if playlist.exists() else ""
    if playlist.exists():
        yield from problem_of_video(playlist, NUM_FRAMES if outcome.is_done else 1, is_torn=outcome.is_killed)
    elif outcome.is_done:
        yield "exit code 0, and there is no playlist"
    for path in folder.glob("*") if folder.exists() else ():
        is_segment = path.suffix == ".m4s" and (outcome.is_killed or path.name in listed)
        if not (path.name in ("index.m3u8", "index.init.mp4") or is_segment or outcome.is_killed):
            yield f"stray file live/{path.name}"


# --- avatars --------------------------------------------------------------------------------------------------------


def avatars() -> Iterator[Scene]:
    new = [*MUSETALK, "prepare-avatar", "me.png", "--name", "anna"]
    yield Scene("prepare-avatar", lambda place: new, check=check_new_avatar, weight=2, needs="faces")
    yield Scene(
        "prepare-avatar --force", lambda place: [*new, "--force"], with_avatars, check_forced, weight=3, needs="faces"
    )
    rename = [*MUSETALK, "avatars", "rename", "anna", "berta"]
    yield Scene("avatars rename", lambda place: rename, with_avatars, check_renamed, weight=1)
    remove = [*MUSETALK, "avatars", "remove", "anna", "--yes"]
    yield Scene("avatars remove", lambda place: remove, with_avatars, check_removed, weight=1)


def with_avatars(place: Place) -> None:
    shutil.copytree(place.shop.avatars, place.home / "avatars")


def check_new_avatar(place: Place, outcome: Outcome) -> Iterator[str]:
    folder = place.home / "avatars" / "anna"
    if folder.exists():
        yield from problem_of_avatar(folder)
    elif outcome.is_done:
        yield "exit code 0, and there is no avatar"


def check_forced(place: Place, outcome: Outcome) -> Iterator[str]:
    folder = place.home / "avatars" / "anna"
    if not folder.exists():
        yield "the older avatar is lost"
        return
    yield from problem_of_avatar(folder)
    is_old = "talk.mp4" in (folder / "avatar.json").read_text()
    if is_old and outcome.is_done:
        yield "exit code 0, and the avatar is the older one"
    if not is_old and not outcome.is_done and not outcome.is_killed:
        yield "a run that failed has replaced the avatar"


def check_renamed(place: Place, outcome: Outcome) -> Iterator[str]:
    there = [place.home / "avatars" / name for name in ("anna", "berta")]
    if [folder.exists() for folder in there].count(True) != 1:
        yield "the avatar is lost, or there are two"
    if outcome.is_done != there[1].exists() and not outcome.is_killed:
        yield "the exit code does not say whether the avatar was renamed"
    for folder in there:
        yield from problem_of_avatar(folder) if folder.exists() else ()


def check_removed(place: Place, outcome: Outcome) -> Iterator[str]:
    folder = place.home / "avatars" / "anna"
    if folder.exists():
        yield from problem_of_avatar(folder)
    is_partly_gone = any(folder.parent.glob(".anna.part-*"))  # an error says where the rest is
    if outcome.is_done == folder.exists() and not outcome.is_killed and not is_partly_gone:
        yield "the exit code does not say whether the avatar was removed"


def problem_of_avatar(folder: Path) -> Iterator[str]:
    problem = find_problem(folder)
    if problem:
        yield f"the avatar {folder.name} is damaged: {problem}"


# --- models, bench --------------------------------------------------------------------------------------------------


def models() -> Iterator[Scene]:
    def command(*words: str) -> Callable[[Place], list[str]]:
        return lambda place: [
            sys.executable, "-m", "fixtures.registry", str(place.shop.models / "registry.json"), "models", *words,
            str(place.shop.models),
        ]  # fmt: skip

    yield Scene("models import", command("import"), check=check_weights, weight=0.15, needs="models")
    yield Scene(
        "models import --convert", command("import", "--convert"), check=check_weights, weight=0.1, needs="models"
    )


def check_weights(place: Place, outcome: Outcome) -> Iterator[str]:
    folder = place.home / "models"
    record = folder / "imported.json"
    if record.exists() and json.loads(record.read_text()) != {"folders": [str(place.shop.models)]}:
        yield "imported.json names other folders"
    for path in folder.rglob("[!.]*.safetensors"):
        length = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + length])
        end = max(each["data_offsets"][1] for name, each in header.items() if name != "__metadata__")
        if path.stat().st_size != 8 + length + end:
            yield f"{path.name} is not whole"


def bench() -> Scene:
    args = [*MUSETALK, "bench", "--seconds", "0.2", "--rounds", "1", *SMALL, "--json"]

    def check(place: Place, outcome: Outcome) -> Iterator[str]:
        if outcome.is_done and not json.loads((place.logs / "stdout").read_text()):
            yield "exit code 0, and nothing was measured"

    return Scene("bench", lambda place: args, check=check, weight=0.15)


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
