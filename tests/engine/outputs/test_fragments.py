from __future__ import annotations

import pytest

from musetalk_cli.engine.outputs.fragments import FragmentCounter


def box(kind: bytes, num_bytes: int) -> bytes:
    return (num_bytes + 8).to_bytes(4, "big") + kind + b"x" * num_bytes


STREAM = (
    box(b"ftyp", 20) + box(b"moov", 300) + box(b"moof", 100) + box(b"mdat", 5_000) + box(b"moof", 90) + box(b"mdat", 7)
)


@pytest.mark.parametrize("step", [1, 3, 7, 1000, len(STREAM)])
def test_counts_whole_fragments_however_the_bytes_arrive(step: int) -> None:
    counter = FragmentCounter()
    for start in range(0, len(STREAM), step):
        counter.feed(STREAM[start : start + step])
    assert counter.num_fragments == 2
    assert counter.playable_bytes == len(STREAM)


def test_a_fragment_counts_only_when_it_is_whole() -> None:
    counter = FragmentCounter()
    counter.feed(STREAM[:-1])
    assert counter.num_fragments == 1
    assert counter.playable_bytes == len(STREAM) - 15 - 98
