"""Imports weights that are already on this computer: an upstream ``models`` folder is used in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from musetalk_cli.engine.weights.download import OnProgress
from musetalk_cli.engine.weights.registry import WEIGHT_SETS, Part
from musetalk_cli.engine.weights.store import find_in
from musetalk_cli.engine.weights.verification import CheckResult, verify
from musetalk_cli.errors import ModelError


def find_models_folder(folder: Path) -> Path:
    """``folder`` or the ``models`` folder in it, whichever has weights. Raises ModelError when neither does."""
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder}", hint="name the models folder of the original project")
    found = next((each for each in (folder, folder / "models") if any(find_in([each], part) for part in parts())), None)
    if found is None:
        wanted = ", ".join(part.file.path for part in parts())
        raise ModelError(f"there are no weights in {folder}", hint=f"it should hold some of: {wanted}")
    return found.resolve()


def check_folder(folder: Path, on_progress: OnProgress) -> list[CheckResult]:
    """Verify every part in a models folder."""
    results = []
    for part in parts():
        path = find_in([folder], part)
        if path is not None:
            settings = path.parent / Path(part.settings.name).name if part.settings else None
            is_there = settings is not None and settings.is_file()
            results.append(verify(part, path, settings if is_there else None, on_progress))
    return results


def parts() -> Iterator[Part]:
    """Every part of every model, once."""
    seen: set[str] = set()
    for part in (part for each in WEIGHT_SETS for part in each.parts):
        if part.file.path not in seen:
            seen.add(part.file.path)
            yield part
