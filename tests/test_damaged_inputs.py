"""Everything that reads bytes: damaged ones are read or refused with an error of ours. The long run is
``python -m tools.campaign.parser_fuzz``."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.parsers import Parser, all_parsers, find_fault

NUM_INPUTS = 60
NAMES = ["fragments", "playlist", "segment", "settings", "avatar_record", "avatar_faces", "avatar_frames", "mouth_net"]
NAMES += ["client_message", "safetensors_header", "imported_folders"]


@pytest.fixture
def parsers(tmp_path: Path) -> dict[str, Parser]:
    return {parser.name: parser for parser in all_parsers(tmp_path)}


def test_every_parser_is_tried(parsers: dict[str, Parser]) -> None:
    assert list(parsers) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_right_inputs_are_read(name: str, parsers: dict[str, Parser]) -> None:
    for seed in parsers[name].seeds:
        parsers[name].read(seed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")  # of numpy, about values that are odd on purpose
def test_damaged_inputs_are_read_or_refused(name: str, parsers: dict[str, Parser]) -> None:
    faults = {seed: fault for seed in range(NUM_INPUTS) if (fault := find_fault(parsers[name], seed))}
    assert faults == {}


def test_a_parser_that_goes_astray_is_found() -> None:
    parser = Parser("astray", (b"abc",), lambda data: [0][len(data)])
    assert str(find_fault(parser, 0)).startswith("IndexError in test_damaged_inputs.py")
