"""A comparison as a table, and what it says about the claims, in words computed from the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill

from musetalk_cli.benchmark.comparison.figures import Comparison, Row
from musetalk_cli.benchmark.comparison.variants import SWITCHES
from musetalk_cli.benchmark.workload.figures import Spread

# What the design that all this follows promises of its optimisations together.
CLAIMED_SPEED = (2.0, 3.0)  # times the throughput
CLAIMED_CUT = (0.40, 0.60)  # share of the latency that goes away
# Medians that are nearer to each other than this are called equal, however narrow their spread.
EQUAL_SHARE = 0.03
NAMES = {"ours": "as it is"}
GAP = "  "
WIDTH = 118


def describe_comparison(comparison: Comparison) -> str:
    """Lines for people: conditions, table, what the rows mean, and what is true of the claims."""
    words = [fill(line, WIDTH, subsequent_indent="  ") for line in conclude(comparison)]
    parts = [_describe_conditions(comparison), _table(comparison.rows), _legend(comparison), words]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _describe_conditions(comparison: Comparison) -> list[str]:
    given = comparison.conditions
    return [
        f"{given.model}, {given.avatar} at {given.width} × {given.height}, {given.fps:g} fps; "
        f"blocks of {given.block_s:g} s, look-ahead {given.look_ahead_s:g} s, batches of {given.batch_size}; "
        f"{given.workers} workers, {given.cores} cores",
        f"{given.rounds} round{'s' * (given.rounds > 1)} in turns; medians (lowest–highest). "
        f"Speed: {given.seconds:g} s of audio at once. Latency: two blocks in real time.",
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    heads = [
        ["switched off", "speed,", "ours is", "CPU,", "first", "last", "ours is", "delay,"],
        ["", "× real", "× faster", "s per s", "frame, s", "frame, s", "× sooner", "s"],
    ]
    cells = [*heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells if len(line) > 2) for column in range(len(heads[0]))]
    return [_line(line, widths) for line in cells]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name = cells[0].ljust(widths[0])
    if len(cells) == 2:
        return f"{name}{GAP}{cells[1]}"
    return GAP.join([name, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]).rstrip()


def _cells(row: Row) -> list[str]:
    name = NAMES.get(row.key, row.key)
    if row.reason:
        return [name, f"n/a: {row.reason}"]
    mark = "+" if row.falls_behind else ""
    return [
        name,
        _figure(row.speed),
        _with_spread(row.speed_gain),
        _figure(row.cpu_s),
        _figure(row.first_s, mark),
        _figure(row.last_s, mark),
        _with_spread(row.last_gain),
        _figure(row.delay_s, mark),
    ]


def _legend(comparison: Comparison) -> list[str]:
    rows = comparison.rows
    lines = {row.key: row.label for row in rows if row.key != "ours"}
    lines["frame"] = "from a block's last sample to the bytes of its first and of its last frame"
    if any(row.first_s and row.first_s.median < 0 for row in rows):
        lines["frame"] += "; negative: before it"
    lines["delay"] = "the longest that a frame of the block left behind its audio: what a player has to wait"
    if any(row.falls_behind for row in rows):
        lines["+"] = "slower than real time: so long for one block on an idle machine, and ever longer in a stream"
    width = max(map(len, lines))
    return [f"{key:{width}}{GAP}{text}" for key, text in lines.items()]


def conclude(comparison: Comparison) -> list[str]:
    """What is true of the claims, and which switch does what."""
    singles = [row for row in comparison.rows if row.key in SWITCHES and not row.reason]
    return [
        _judge_speed(comparison.row("ours"), comparison.row("all")),
        *_judge_latency(comparison.row("ours"), comparison.row("all but blocks"), comparison.row("all")),
        *_rank("Throughput", singles, lambda row: row.speed_gain),
        *_rank("The last frame's latency", singles, lambda row: row.last_gain),
    ]


def _judge_speed(ours: Row, before: Row) -> str:
    assert ours.speed and before.speed and before.speed_gain  # noqa: S101 - always measured
    low, high = CLAIMED_SPEED
    return (
        f"Throughput, all together: {before.speed.median:.2f} → {ours.speed.median:.2f} × real time, "
        f"{_with_spread(before.speed_gain)} ×. "
        f"Claimed {low:g}–{high:g} ×: {_compare_with_claim(before.speed_gain.median, low, high, least=1.0)}."
    )


def _judge_latency(ours: Row, same_blocks: Row, pieces: Row) -> list[str]:
    if not (ours.last_s and ours.delay_s):
        return ["Latency: too slow here for a live stream, so there is none to measure."]
    lines = []
    if same_blocks.last_s and same_blocks.delay_s:
        low, high = CLAIMED_CUT
        outcome = _compare_with_claim(_cut(same_blocks.last_s, ours.last_s), low, high, least=0.0)
        lines += [
            f"Latency of the same block, last sample to last frame: {_change(same_blocks.last_s, ours.last_s)}. "
            f"Claimed {low * 100:.0f}–{high * 100:.0f} % less: {outcome}.",
            f"With the block itself, as a player has it (delay): {_change(same_blocks.delay_s, ours.delay_s)}.",
        ]
    for row in (same_blocks, pieces):
        if row.falls_behind and row.speed:
            growth_s = 1 / row.speed.median - 1
            lines.append(f"In the row '{row.key}', a live stream gets {growth_s:.1f} s later every second.")
    if pieces.delay_s and pieces.delay_s.median < ours.delay_s.median:
        lines.append(
            f"Pieces have less delay, {pieces.delay_s.median:.2f} s with everything else off too: "
            "blocks give the model its context, whose effect is not measured here."
        )
    return lines


def _rank(what: str, rows: list[Row], pick: Callable[[Row], Spread | None]) -> list[str]:
    """Which switches gain, which do nothing, and which cost, the largest first."""
    known = sorted(((row.key, gain) for row in rows if (gain := pick(row))), key=lambda each: -each[1].median)
    equal = [key for key, gain in known if _is_equal(gain)]
    better = [f"{key} {gain.median:.2f} ×" for key, gain in known if gain.median > 1 and key not in equal]
    worse = [f"{key} {gain.median:.2f} ×" for key, gain in known if gain.median < 1 and key not in equal]
    said = [
        f"gains by {', '.join(better)}" if better else "gains by none of them",
        f"loses by {', '.join(worse)}" if worse else "",
        f"no difference beyond the spread: {', '.join(equal)}" if equal else "",
    ]
    return [f"{what}, each alone: {'; '.join(filter(None, said))}."] if known else []


def _is_equal(gain: Spread) -> bool:
    return gain.least <= 1 <= gain.most or abs(gain.median - 1) < EQUAL_SHARE


def _compare_with_claim(value: float, low: float, high: float, *, least: float) -> str:
    """Whether ``value`` is what was claimed; ``least`` is what no gain at all would be."""
    if value <= least:
        return "not true here, nothing is gained"
    if value < low:
        return "not true here, less is gained"
    return "true here" if value <= high else "true here, and more"


def _change(before: Spread, ours: Spread) -> str:
    """``2.31 → 0.92 s, 60 % less``"""
    cut = _cut(before, ours)
    both = f"{before.median:.2f} → {ours.median:.2f} s"
    return f"{both}, {abs(cut) * 100:.0f} % {'less' if cut >= 0 else 'more'}"


def _cut(before: Spread, ours: Spread) -> float:
    """Which share of the time before, which must be positive, is saved; below 0 if ours takes longer."""
    return 1 - ours.median / before.median


def _figure(spread: Spread | None, mark: str = "") -> str:
    return f"{spread.median:.2f}{mark}".replace("-", "−") if spread else "–"


def _with_spread(spread: Spread | None) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f}–{spread.most:.2f})" if spread else ""
