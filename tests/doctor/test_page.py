"""The page as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from musetalk_cli.doctor.checks.finding import absent, failure, ok, warning
from musetalk_cli.doctor.checkup import GroupedFinding
from musetalk_cli.doctor.page import as_record, describe_json, layout, summarise

SCHEMA = Path(__file__).parents[2] / "docs" / "doctor.schema.json"


def grouped(*findings: object) -> list[GroupedFinding]:
    return [GroupedFinding("group", finding) for finding in findings]  # type: ignore[arg-type]


def test_a_finding_is_marked_named_and_wrapped() -> None:
    lines = layout(warning("lamp", "it flickers " * 6, "change the bulb"), 60, is_ascii=False)
    assert lines[0].startswith("! lamp                 it flickers")
    assert lines[-1] == " " * 23 + "→ change the bulb"
    assert all(len(line) <= 63 for line in lines)


def test_a_command_can_be_copied() -> None:
    command = "pip install 'musetalk[neural] @ file:///a/rather/long/path/of/a/wheel-0.1.whl'"
    lines = layout(ok("lamp", "off", f"{command}; switch it on"), 60, is_ascii=False)
    assert lines[1:] == [" " * 23 + f"→ {command}", " " * 23 + "→ switch it on"]


def test_without_unicode_all_signs_are_ascii() -> None:
    lines = layout(ok("größe", "80 × 24 – fine…", "go → there"), 80, is_ascii=True)
    assert lines == ["+ gr??e                80 x 24 - fine...", " " * 23 + "-> go -> there"]


def test_the_summary_counts() -> None:
    assert summarise(grouped(ok("render", "yes"))) == "render works"
    found = grouped(warning("a", "", ""), warning("b", "", ""), failure("render", "no", ""))
    assert summarise(found) == "render does not work; 1 failure, 2 warnings"


def test_the_schema_is_strict_and_written_down() -> None:
    """Write it with: python -m tools.assets.doctor_schema."""
    schema = describe_json()
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema
    record = as_record(grouped(ok("render", "yes")))
    described = schema["properties"]
    assert list(record) == list(described) == schema["required"]
    finding = described["findings"]["items"]
    assert list(record["findings"][0]) == list(finding["properties"]) == finding["required"]
    assert schema["additionalProperties"] is finding["additionalProperties"] is False


def test_what_is_absent_and_need_not_be_has_a_mark_of_its_own() -> None:
    assert layout(absent("GPU", "none"), 80, is_ascii=False)[0].startswith("– GPU")
    assert layout(absent("GPU", "none"), 80, is_ascii=True)[0].startswith("- GPU")
