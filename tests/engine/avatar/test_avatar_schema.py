from __future__ import annotations

from typing import Any

import pytest

from musetalk_cli.engine.avatar.avatar_schema import find_problem

RIGHT: dict[str, Any] = {
    "width": 512,
    "height": 512,
    "num_frames": 3,
    "num_missing": 0,
    "frame_rate": "30000/1001",
    "source_name": "talk.mp4",
    "source_sha256": "ab" * 32,
    "parameters": {"face": 1},
    "files": {"faces.npz": {"bytes": 7, "sha256": "cd" * 32}, "frames.jpegs": {"bytes": 9}},
}


def test_what_is_written_is_right() -> None:
    assert find_problem(RIGHT) is None
    assert find_problem({**RIGHT, "frame_rate": None}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": "512"}, "'width' is '512', must be a whole number from 2 to 16384"),
        ({"height": 1 << 40}, "'height' is 1099511627776"),
        ({"num_frames": 0}, "'num_frames' is 0"),
        ({"num_frames": True}, "'num_frames' is True"),
        ({"frame_rate": "1e99999999"}, "'frame_rate' is '1e99999999', must be a fraction up to 1000, or null"),
        ({"frame_rate": "1/0"}, "'frame_rate' is '1/0'"),
        ({"frame_rate": "1001"}, "'frame_rate' is '1001'"),
        ({"frame_rate": 25}, "'frame_rate' is 25"),
        ({"source_name": None}, "'source_name' is None, must be of type str"),
        ({"files": []}, "'files' is []"),
        ({"files": {"faces.npz": 7}}, "'files.faces.npz' is 7"),
        ({"files": {"faces.npz": {"bytes": -1}}}, "'files.faces.npz.bytes' is -1"),
        ({"files": {"faces.npz": {"bytes": 1, "sha256": 5}}}, "'files.faces.npz.sha256' is 5"),
        ({"extra": 1}, "its keys are"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    problem = find_problem({**RIGHT, **change})
    assert problem
    assert problem.startswith(words)
