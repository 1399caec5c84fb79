"""How an item ended, as a line of the report."""

from __future__ import annotations

from musetalk_cli.app.batch.item import BatchItem, ItemResult, list_lines
from musetalk_cli.configuration.schema import Config

ITEM = BatchItem("a.wav", "out/a.mp4", Config())


def test_what_was_made_is_rounded_to_milliseconds() -> None:
    record = ItemResult(ITEM, 50, 2.00049, 0.40006, 1234).as_record()
    assert record == {
        "input": "a.wav",
        "avatar": Config().avatar,
        "output": "out/a.mp4",
        "frames": 50,
        "seconds": 2.0,
        "elapsed_s": 0.4,
        "speed": 5.0,
        "bytes": 1234,
        "error": None,
    }
    assert ItemResult(ITEM, 1, 0.0416, 0.3).as_record()["speed"] == 0.139
    assert ItemResult(ITEM, 1, 0.0416, 0.3).as_record()["seconds"] == 0.042
    assert ItemResult(ITEM, 1, 2.0, 0.0).speed == 0.0


def test_what_failed_has_made_nothing() -> None:
    record = ItemResult(ITEM, 50, 2.0, 0.4, 1234, "it broke", "do this").as_record()
    assert [record[key] for key in ("frames", "seconds", "speed", "bytes")] == [0, 0.0, 0.0, 0]
    assert (record["elapsed_s"], record["error"]) == (0.4, "it broke (do this)")
    assert ItemResult(ITEM, error="it broke").as_record()["error"] == "it broke"


def test_of_many_wrong_lines_the_first_are_told() -> None:
    wrong = [BatchItem("", "", Config(), f"list.csv:{line}") for line in range(2, 9)]
    assert list_lines(wrong) == "wrong are also the lines 2, 3, 4, 5, 6 …"
    assert list_lines(wrong[:5]) == "wrong are also the lines 2, 3, 4, 5, 6"
    assert list_lines([ITEM]) == ""
