"""Every file that is read, damaged somewhere: avatars, voices, settings, records, lists of folders."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fixtures.mutations import mutate
from fixtures.programs import find_ffmpeg
from tools.campaign.faults.plans import Plan
from tools.campaign.faults.scenes import MUSETALK, SMALL, Outcome, Place, Scene
from tools.campaign.faults.surroundings import FAILS, run_args

SUFFIXES = (".wav", ".mp3", ".flac", ".mkv", ".mp4", ".ogg")
SETTINGS = b"avatar: nora\nvideo:\n  fps: 25\n  size: 96\naudio:\n  target_duration: 2.0\nstream: {buffer_s: 1.5}\n"
REGIONS = ("cut short", "zeros", "noise", "repeated", "mutated", "emptied", "one byte")


@dataclass(frozen=True)
class Damaged:
    """``file`` in the world of a run, and the command that reads it."""

    file: str
    args: tuple[str, ...]


def damaged_files(chance: random.Random, scenes: list[Scene]) -> Plan:
    """One file with damage in one region."""
    suffix = chance.choice(SUFFIXES)
    render = ("render", "voice.wav", "-o", "o.mp4", *SMALL)
    with_avatar = (*render, "--avatar", "anna")
    damaged = chance.choice(
        (
            *(
                Damaged(f"home/avatars/anna/{name}", with_avatar)
                for name in ("avatar.json", "faces.npz", "frames.jpegs")
            ),
            Damaged("home/avatars/anna/avatar.json", ("avatars", "--json")),
            Damaged(f"work/talk{suffix}", ("render", f"talk{suffix}", "-o", "o.mp4", *SMALL)),
            Damaged(f"work/talk{suffix}", ("stream", "-i", f"talk{suffix}", "--no-pace", "-o", "o.mp4", *SMALL)),
            Damaged("work/me.png", (*render, "--avatar", "me.png")),
            Damaged("work/settings.yaml", (*render, "--config", "settings.yaml")),
            Damaged("home/cache/ffmpeg/*", render),
            Damaged("home/models/imported.json", ("models", "list")),
        )
    )
    region, position = chance.choice(REGIONS), chance.random()
    seed = chance.randrange(1 << 30)

    def prepare(place: Place) -> None:
        shutil.copytree(place.shop.avatars, place.home / "avatars")
        (place.work / "settings.yaml").write_bytes(SETTINGS)
        (place.home / "models").mkdir()
        (place.home / "models" / "imported.json").write_text('{"folders": ["/somewhere/models"]}')
        for voice in voices(place.shop.folder / "voices"):
            shutil.copy(voice, place.work / f"talk{voice.suffix}")
        for path in place.root.glob(damaged.file):
            path.write_bytes(damage(path.read_bytes(), region, position, random.Random(seed)))

    def check(place: Place, outcome: Outcome) -> Iterator[str]:
        if outcome.is_done and damaged.args[0] != "avatars" and damaged.args[0] != "models":
            from tools.campaign.faults.scenes import problem_of_video

            yield from problem_of_video(place.work / "o.mp4", 0 if "talk" in damaged.file else 1, is_torn=False)

    scene = Scene(
        damaged.args[0], lambda place: [*MUSETALK, *damaged.args], prepare, check, ("talk.*", "settings.yaml", "o.mp4")
    )
    return Plan(scene, f"{Path(damaged.file).name} {region} at {position:.2f}", partial(run_args, scene.args), FAILS)


def damage(data: bytes, region: str, position: float, chance: random.Random) -> bytes:
    """``data`` with a region changed that begins at ``position``, a share of its length."""
    begin = int(position * len(data))
    length = min(len(data) - begin, chance.choice((1, 4, 64, 1024, 1 << 20)))
    middle = {
        "zeros": bytes(length),
        "noise": chance.randbytes(length),
        "repeated": data[begin : begin + length] * 3,
        "one byte": bytes(byte ^ 1 << chance.randrange(8) for byte in data[begin : begin + 1]),
    }
    if region == "emptied":
        return b""
    if region == "cut short":
        return data[:begin]
    if region == "mutated":
        return mutate(data, chance, (data,))
    new = middle[region]
    return data[:begin] + new + data[begin + (1 if region == "one byte" else length) :]


def voices(folder: Path) -> list[Path]:
    """A short voice in several formats, made once."""
    if not folder.exists():
        folder.mkdir()
        for suffix in SUFFIXES:
            args = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "sine=220:d=0.4", str(folder / f"talk{suffix}")]
            subprocess.run(args, check=True)
    return sorted(folder.iterdir())
