"""What the campaign has found, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tools.campaign.faults.plans import Record
from tools.measure.report import ROOT, describe_machine, update_section

DOCUMENT = ROOT / "docs" / "reliability.md"
KINDS = {
    "kills": "signals to a process of the tree",
    "refusals": "system calls that fail, or before which the process is killed, by a filter",
    "syscalls": "the same by strace",
    "limits": "limits of file size, descriptors, memory",
    "disk": "full disks",
    "pipes": "pipes whose other end is absent, leaves or stands still",
    "links": "links, folders and devices in the output's place",
    "damage": "damaged files",
    "peers": "servers that are slow, frozen or gone",
    "microphones": "a microphone that goes away, comes back or stands still",
    "clock": "a wall clock that jumps",
    "rests": "all processes stopped, then continued",
}


def table(records: Iterable[Record]) -> str:
    """Runs and violations of each kind, and of each command."""
    counted = [record for record in records if is_counted(record)]
    kinds = Counter(kind_of(record) for record in counted)
    bad = Counter(kind_of(record) for record in find_violations(counted))
    lines = ["| disturbance | runs | violations |", "|---|--:|--:|"]
    lines += [f"| {words} | {kinds[kind]:,} | {bad[kind]:,} |" for kind, words in KINDS.items() if kinds[kind]]
    lines += [
        f"| all | {len(counted):,} | {sum(bad.values()):,} |",
        "",
        "| command | runs | slowest end after the signal, s |",
    ]
    lines += ["|---|--:|--:|"]
    for name, num_runs in sorted(Counter(record["scene"] for record in counted).items()):
        slowest = max(record["wait_s"] for record in counted if record["scene"] == name)
        lines.append(f"| {name} | {num_runs:,} | {slowest:.1f} |")
    return "\n".join(lines)


def is_counted(record: Record) -> bool:
    """Whether something was done to the command: runs left alone, and those that ended before, are not counted."""
    return "scene" in record and (
        bool(record["struck"]) or kind_of(record) in ("syscalls", "limits", "disk", "links", "damage", "clock")
    )


def kind_of(record: Record) -> str:
    return str(record["key"].partition("-")[0])


def find_violations(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.get("violations")]


def describe(record: Record) -> str:
    """A run in which something did not hold, in some lines."""
    told = record["stderr"].strip().splitlines()[-4:]
    lines = [f"{record['key']}: {record['scene']}: {record['words']} ({record['struck']}), exit code {record['code']}"]
    return "\n".join(
        [*lines, *(f"    {each}" for each in record["violations"]), *(f"    | {line[:200]}" for line in told)]
    )


def write_report(records: Iterable[Record], document: Path = DOCUMENT) -> None:
    """Put the tables where the document has its marks."""
    update_section("campaign", f"{describe_machine()}\n\n{table(records)}", document)
