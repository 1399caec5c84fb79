"""The comparison as a whole on tiny videos, and its words on figures that were made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from musetalk_cli.app import assembly
from musetalk_cli.benchmark.comparison import procedure
from musetalk_cli.benchmark.comparison.figures import Comparison, Conditions, Row, Sample, make_row
from musetalk_cli.benchmark.comparison.procedure import compare
from musetalk_cli.benchmark.comparison.report import conclude, describe_comparison
from musetalk_cli.benchmark.comparison.variants import LABELS, SWITCHES, VARIANTS
from musetalk_cli.configuration.schema import AudioConfig, Config, PerformanceConfig, VideoConfig
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.base import LipSyncModel

TINY = Config(
    audio=AudioConfig(target_duration=0.2),
    video=VideoConfig(size=64),
    performance=PerformanceConfig(parallel_workers=2),
)
CONDITIONS = Conditions("warp", "nora", 64, 64, 25.0, 2.0, 0.4, 2, 8, 2, 10.0, 3)


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "WARM_UP_S", 0.04)


def test_warp_in_every_variant() -> None:
    told: list[str] = []
    result = compare(TINY, "warp", seconds=0.2, rounds=1, tell=told.append)
    check_rows(result, {"precision"})
    assert "in fp32 either variant" in result.row("precision").reason
    assert result.row("workers").label.startswith("one step after the other")
    assert "blocks of 0.2 s" in result.row("blocks").label
    # The look-ahead is waited for, whatever is switched off, and with clips all frames of a block come together.
    assert all(row.last_s.median > 0.4 for row in result.rows if row.last_s and row.key not in ("blocks", "all"))
    assert result.row("memory").first_s == result.row("memory").last_s
    assert result.row("ahead").first_s == result.row("ahead").last_s
    assert any(line.startswith("comparing 8 variants in 1 round: about ") for line in told)
    assert json.loads(json.dumps(result.as_record()))["rows"][0]["key"] == "ours"


@pytest.mark.timeout(240)
def test_musetalk_with_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use_small_nets(monkeypatch)
    monkeypatch.setattr(procedure, "VARIANTS", {key: VARIANTS[key] for key in ("ours", "precision", "all")})
    config = replace(TINY, model="musetalk-1.5", random_weights=True, device="cpu", precision="bf16")
    result = compare(config, "musetalk-1.5", seconds=0.12, rounds=1, tell=lambda line: None)
    check_rows(result, set())
    assert asked == ["bf16", "fp32"]
    assert result.row("precision").label == "fp32 instead of bf16"


@pytest.mark.timeout(240)
def test_musetalk_in_full_precision_has_none_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = use_small_nets(monkeypatch)
    monkeypatch.setattr(procedure, "VARIANTS", {key: VARIANTS[key] for key in ("ours", "precision")})
    config = replace(TINY, model="musetalk-1.5", random_weights=True, device="cpu", precision="fp32")
    result = compare(config, "musetalk-1.5", seconds=0.04, rounds=1, tell=lambda line: None)
    assert result.row("precision").reason == "fp32 was asked for"
    assert len(asked) == 1


def test_a_variant_that_is_much_too_slow_has_no_live_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure, "LEAST_LIVE_SPEED", 1e9)
    monkeypatch.setattr(procedure, "VARIANTS", {"ours": VARIANTS["ours"]})
    row = compare(TINY, "warp", seconds=0.2, rounds=2, tell=lambda line: None).row("ours")
    assert row.speed is not None
    assert row.first_s is row.last_s is row.delay_s is None


def use_small_nets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Small MuseTalk nets in place of full ones; returns the precisions that are asked for."""
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    monkeypatch.setattr(procedure, "LEAST_LIVE_SPEED", 1e9)  # the warp model is measured live
    from fixtures.small_nets import small_model

    asked: list[str] = []

    def open_small(
        config: Config, name: str, chosen: Any, avatar: Avatar, tell: Callable[[str], None], **options: object
    ) -> LipSyncModel:
        asked.append(config.precision)
        return small_model(avatar, Fraction(25), chosen.height_px)

    monkeypatch.setattr(assembly, "open_musetalk", open_small)
    return asked


def check_rows(result: Comparison, without_figures: set[str]) -> None:
    assert [row.key for row in result.rows] == list(procedure.VARIANTS)
    for row in result.rows:
        assert bool(row.reason) == (row.key in without_figures)
        if row.reason:
            continue
        for figure in (row.speed, row.cpu_s, *([] if row.key == "ours" else [row.speed_gain, row.cpu_gain])):
            assert figure is not None
            assert 0 < figure.least <= figure.median <= figure.most
        if row.last_s:
            assert row.first_s and row.delay_s
            assert row.first_s.median <= row.last_s.median < row.delay_s.median + 1e-9


def made_up(figures: dict[str, list[Sample]]) -> Comparison:
    rows = [make_row(key, LABELS[key], samples, figures["ours"]) for key, samples in figures.items()]
    others = [Row(key, LABELS[key], reason="not here") for key in VARIANTS if key not in figures]
    return Comparison(CONDITIONS, tuple(rows + others))


OURS = [Sample(4.0, 0.4, 0.6, 0.9, 2.6), Sample(5.0, 0.4, 0.5, 0.8, 2.5), Sample(4.5, 0.4, 0.6, 1.0, 2.7)]
SLOW = [Sample(0.5, 2.0, 2.0, 2.0, 4.0), Sample(0.5, 2.0, 2.2, 2.2, 4.2), Sample(0.5, 2.0, 1.8, 1.8, 3.8)]
HASTY = [Sample(0.4, 2.5, -0.5, 0.6, 1.4), Sample(0.5, 2.5, -0.5, 0.6, 1.4), Sample(0.4, 2.5, -0.5, 0.6, 1.4)]


def scaled(samples: list[Sample], speed: float, last: float) -> list[Sample]:
    return [replace(each, speed=each.speed * speed, last_s=(each.last_s or 0) * last) for each in samples]


def test_a_row_is_medians_of_rounds_and_ratios_within_them() -> None:
    row = make_row("memory", "", SLOW, OURS)
    assert row.speed and row.speed_gain and row.last_gain and row.cpu_gain
    assert row.speed.median == 0.5
    assert (row.speed_gain.median, row.speed_gain.least, row.speed_gain.most) == (9.0, 8.0, 10.0)
    assert row.last_gain.median == pytest.approx(2.0 / 0.9)
    assert row.last_gain.most == pytest.approx(2.2 / 0.8)
    assert row.cpu_gain.median == pytest.approx(5.0)
    assert row.falls_behind
    assert make_row("ours", "", OURS, OURS).speed_gain is None
    assert not make_row("ours", "", OURS, OURS).falls_behind


def test_words_where_the_claims_hold() -> None:
    before = scaled(OURS, 1 / 2.5, 1.8)
    words = conclude(made_up({"ours": OURS, "workers": before, "all": before, "all but blocks": before}))
    assert words[0] == (
        "Throughput, all together: 1.80 → 4.50 × real time, 2.50 (2.50–2.50) ×. Claimed 2–3 ×: true here."
    )
    assert words[1] == (
        "Latency of the same block, last sample to last frame: 1.62 → 0.90 s, 44 % less. "
        "Claimed 40–60 % less: true here."
    )
    assert words[2] == "With the block itself, as a player has it (delay): 2.60 → 2.60 s, 0 % less."
    assert words[3:] == [
        "Throughput, each alone: gains by workers 2.50 ×.",
        "The last frame's latency, each alone: gains by workers 1.80 ×.",
    ]


def test_words_where_more_is_gained_and_pieces_are_sooner() -> None:
    words = "\n".join(conclude(made_up({"ours": OURS, "all": HASTY, "all but blocks": SLOW})))
    assert "0.40 → 4.50 × real time, 10.00 (10.00–11.25) ×. Claimed 2–3 ×: true here, and more." in words
    assert "2.00 → 0.90 s, 55 % less. Claimed 40–60 % less: true here." in words
    assert "In the row 'all but blocks', a live stream gets 1.0 s later every second." in words
    assert "In the row 'all', a live stream gets 1.5 s later every second." in words
    assert "Pieces have less delay, 1.40 s with everything else off too" in words


@pytest.mark.parametrize(
    ("speed", "last", "of_speed", "of_latency"),
    [
        (1 / 1.4, 1.2, "less is gained", "less is gained"),
        (1.1, 0.9, "nothing is gained", "nothing is gained"),
        (1 / 4, 4.0, "true here, and more", "true here, and more"),
    ],
)
def test_words_where_the_claims_do_not_hold(speed: float, last: float, of_speed: str, of_latency: str) -> None:
    before = scaled(OURS, speed, last)
    words = conclude(made_up({"ours": OURS, "all": before, "all but blocks": before}))
    assert words[0].endswith(f"{of_speed}.")
    assert words[1].endswith(f"{of_latency}.")


def test_each_switch_is_ranked_by_what_it_alone_does() -> None:
    uneven = [replace(each, speed=each.speed * factor) for each, factor in zip(OURS, (0.9, 1.0, 1.2), strict=True)]
    figures = {
        "ours": OURS,
        "blocks": scaled(OURS, 1.25, 0.5),
        "memory": scaled(OURS, 1 / 3, 2.0),
        "workers": uneven,
        "encode": scaled(OURS, 1 / 1.5, 1.01),
        "ahead": scaled(OURS, 1.0, 1.0),
        "all": SLOW,
        "all but blocks": SLOW,
    }
    words = conclude(made_up(figures))
    assert (
        "Throughput, each alone: gains by memory 3.00 ×, encode 1.50 ×; loses by blocks 0.80 ×; "
        "no difference beyond the spread: workers, ahead."
    ) in words
    assert words[-1] == (
        "The last frame's latency, each alone: gains by memory 2.00 ×; loses by blocks 0.50 ×; "
        "no difference beyond the spread: encode, workers, ahead."
    )


def test_no_words_on_latency_that_was_not_measured() -> None:
    ours = [replace(each, first_s=None, last_s=None, delay_s=None) for each in OURS]
    words = conclude(made_up({"ours": ours, "all": ours, "all but blocks": ours}))
    assert words[1] == "Latency: too slow here for a live stream, so there is none to measure."
    assert len(words) == 2


def test_the_table_lines_up_and_says_what_is_not_there() -> None:
    figures = {"ours": OURS, **dict.fromkeys((key for key in SWITCHES if key != "precision"), SLOW)}
    text = describe_comparison(made_up({**figures, "all": HASTY, "all but blocks": SLOW}))
    lines = text.splitlines()
    assert lines[0].startswith("warp, nora at 64 × 64, 25 fps; blocks of 2 s, look-ahead 0.4 s")
    rows = {line.split("  ")[0]: line for line in lines[3:14]}
    assert rows["precision"].endswith("  n/a: not here")
    assert "0.50" in rows["memory"] and "9.00 (8.00–10.00)" in rows["memory"]
    assert "2.00+" in rows["memory"] and "−0.50+" in rows["all"]
    heads = lines[3]
    assert heads.startswith("switched off")
    assert {len(rows[key].rstrip()) for key in ("as it is", "memory", "all")} <= {len(heads), len(heads) + 1}
    assert "ever longer in a stream" in text
    assert "negative: before it" in text
    assert max(map(len, lines)) <= 120
