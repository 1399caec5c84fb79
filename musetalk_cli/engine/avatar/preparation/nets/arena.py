"""Where the maps of a net are in memory: those that are no longer read make room for others, to stay in caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def place_maps(sizes: Sequence[int], made_by: Mapping[int, int], read_until: Mapping[int, int]) -> list[int]:
    """Places for maps such that no two that are needed at the same time overlap.

    Args:
        sizes: of all maps, in the order in which they are made.
        made_by: the step that makes a map, by its number.
        read_until: the last step that reads it.

    Returns:
        Where each map begins.
    """
    places: list[int] = []
    for number, size in enumerate(sizes):
        step = made_by[number]
        busy = sorted(
            (places[other], places[other] + sizes[other]) for other in range(number) if read_until[other] >= step
        )
        at = 0
        for first, end in busy:
            if at + size <= first:
                break
            at = max(at, end)
        places.append(at)
    return places
