"""Small MuseTalk models in the layout of the official files, and the command line that takes them for those.

``python -m tests.small_models REGISTRY …`` is ``musetalk …`` with the sizes and sums of REGISTRY, a JSON file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from musetalk_cli.engine.weights import registry
from musetalk_cli.engine.weights.registry import Part, WeightFile


def write_registry(models: Path, path: Path) -> None:
    """Note the sizes and sums of small files; where the official sum is not known, the small one's is not noted."""
    facts = {}
    for file in _files():
        local = models / file.path
        if local.exists():
            total = hashlib.sha256(local.read_bytes()).hexdigest() if file.sha256 else None
            facts[file.path] = [local.stat().st_size, total]
    path.write_text(json.dumps(facts))


def use_registry(path: Path) -> None:
    """Take the files noted in ``path`` for the published ones, in this process."""
    facts = json.loads(path.read_text())
    registry.WEIGHT_SETS = tuple(
        dataclasses.replace(each, parts=tuple(_sized(part, facts) for part in each.parts))
        for each in registry.WEIGHT_SETS
    )


def hub_files(models: Path) -> dict[tuple[str, str], Path]:
    """The models folder as repositories of a hub."""
    return {(file.repository.name, file.repository.revision): models / file.folder for file in _files()}


def _files() -> Iterator[WeightFile]:
    for each in registry.WEIGHT_SETS:
        yield from each.files


def _sized(part: Part, facts: dict[str, tuple[int, str | None]]) -> Part:
    settings = _resized(part.settings, facts) if part.settings else None
    return dataclasses.replace(part, file=_resized(part.file, facts), settings=settings, other_files=())


def _resized(file: WeightFile, facts: dict[str, tuple[int, str | None]]) -> WeightFile:
    num_bytes, sha256 = facts.get(file.path, (file.num_bytes, file.sha256))
    return dataclasses.replace(file, num_bytes=num_bytes, sha256=sha256)


if __name__ == "__main__":
    use_registry(Path(sys.argv.pop(1)))
    from musetalk_cli.__main__ import main

    main()
