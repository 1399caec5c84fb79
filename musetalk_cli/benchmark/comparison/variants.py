"""The variants that are compared: one optimisation switched off, or all of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

# What each variant does instead.
LABELS = {
    "ours": "musetalk as it is",
    "blocks": "pieces of 0.2–0.9 s as they arrive, each without context, instead of blocks of {block:g} s",
    "memory": "for each block a WAV, a PNG per frame and two passes of ffmpeg, instead of memory and one encoder",
    "workers": "one step after the other, instead of a pipeline with workers",
    "precision": "fp32 instead of {half}",
    "encode": "x264 as it is by itself (medium), instead of {preset} {tune}",
    "ahead": "block after block, each sent when it is whole, instead of batches that leave as they are made",
    "all": "all of these",
    "all but blocks": "all but the first: files, one step after the other, whole blocks",
}


@dataclass(frozen=True)
class Variant:
    """Which optimisations are on.

    ``blocks``: audio is merged to whole blocks with context, instead of taken in the pieces that arrive. ``memory``:
    frames go to one encoder through memory, instead of files and two passes of ffmpeg for each block. ``workers``:
    stages run beside each other. ``precision``: nets in half precision. ``encode``: the quick encoder settings.
    ``ahead``: batches leave as they are made and the next block is begun meanwhile, instead of block after block, each
    sent whole.
    """

    blocks: bool = True
    memory: bool = True
    workers: bool = True
    precision: bool = True
    encode: bool = True
    ahead: bool = True


SWITCHES = tuple(field.name for field in fields(Variant))


def without(*switched_off: str) -> Variant:
    """Every optimisation but these."""
    return Variant(**{name: name not in switched_off for name in SWITCHES})


VARIANTS = {
    "ours": without(),
    **{name: without(name) for name in SWITCHES},
    "all": without(*SWITCHES),
    "all but blocks": without(*(name for name in SWITCHES if name != "blocks")),
}
