"""Which weights are on this computer and which are missing. Reads no tensors and needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musetalk_cli.engine.weights.custom import describe_custom, list_custom
from musetalk_cli.engine.weights.download import count_downloaded_bytes
from musetalk_cli.engine.weights.registry import WEIGHT_SETS, Part, WeightFile, WeightSet
from musetalk_cli.engine.weights.store import WeightStore
from musetalk_cli.engine.weights.verification import is_likely_published, is_likely_whole, read_source
from musetalk_cli.errors import ModelError


def describe_all(store: WeightStore) -> list[dict[str, Any]]:
    """Every set of weights with its parts, as JSON values.

    ``state`` of a set: ready, partial, missing, or custom for a named one of a user's; of a part: present, custom
    (whole, but not the published file), doubtful (damaged, by a quick look), begun (an interrupted download) or
    missing. ``num_bytes`` are on this computer, ``download_bytes`` are still to be downloaded.
    """
    official = [_describe_set(weight_set, store) for weight_set in WEIGHT_SETS]
    return official + [describe_custom(model, store) for model in list_custom(store)]


def wanted_files(weight_sets: Sequence[WeightSet], store: WeightStore) -> list[WeightFile]:
    """The files that are still to be downloaded, each once, small ones first."""
    files: dict[WeightFile, None] = {}
    for part in (part for weight_set in weight_sets for part in weight_set.parts):
        path = store.find(part)
        if path is None or not is_likely_whole(part, path):
            files[part.file] = None
        if part.settings is not None and store.find_settings(part) is None:
            files[part.settings] = None
    return sorted((file for file in files if not _is_there(file, store)), key=lambda file: file.num_bytes)


def list_licences(files: Sequence[WeightFile]) -> list[str]:
    """One line per repository: its name and its licence."""
    return list(dict.fromkeys(f"{file.repository.name}: {file.repository.licence}" for file in files))


def _is_there(file: WeightFile, store: WeightStore) -> bool:
    path = store.models / file.path
    return path.is_file() and path.stat().st_size == file.num_bytes


def _describe_set(weight_set: WeightSet, store: WeightStore) -> dict[str, Any]:
    parts = [_describe_part(part, store) for part in weight_set.parts]
    found = {part["state"] for part in parts}
    state = "ready" if found <= {"present", "custom"} else "missing" if found == {"missing"} else "partial"
    return {
        "name": weight_set.name,
        "title": weight_set.title,
        "state": state,
        "num_bytes": sum(part["num_bytes"] for part in parts),
        "download_bytes": sum(part["download_bytes"] for part in parts),
        "licences": list_licences(weight_set.files),
        "parts": parts,
    }


def _describe_part(part: Part, store: WeightStore) -> dict[str, Any]:
    path, downloaded = store.find(part), count_downloaded_bytes(part.file, store.models)
    state = _state(part, store)
    settings = part.settings.num_bytes if part.settings is not None and store.find_settings(part) is None else 0
    return {
        "title": part.title,
        "state": state,
        "path": str(path) if path else None,
        "wanted": str(store.models / part.file.path),
        "num_bytes": path.stat().st_size if path else downloaded,
        "download_bytes": 0 if path else part.file.num_bytes - downloaded + settings,
        "converted_from": read_source(path) if path else None,
    }


def _state(part: Part, store: WeightStore) -> str:
    path = store.find(part)
    if path is not None:
        if not is_likely_whole(part, path):
            return "doubtful"
        return "present" if is_likely_published(part, path) else "custom"
    return "begun" if count_downloaded_bytes(part.file, store.models) else "missing"


def parts_here(weight_sets: Sequence[WeightSet], store: WeightStore) -> list[Part]:
    """The parts on this computer, each once. Raises ModelError when there are none."""
    found = list(dict.fromkeys(part for each in weight_sets for part in each.parts if store.find(part)))
    if not found:
        raise ModelError(f"there are no weights in {store.places()}", hint="musetalk models download")
    return found


def originals(
    weight_sets: Sequence[WeightSet], store: WeightStore, *, has_converted: bool = False
) -> Iterator[tuple[Part, Path]]:
    """The parts that can be converted, each once, and their files.

    ``has_converted``: also an original in our own folder that was converted before and is no longer used.
    """
    for part in dict.fromkeys(part for weight_set in weight_sets for part in weight_set.parts):
        path, ours = store.find(part), store.models / part.converted
        if has_converted and path == ours and read_source(ours):
            others = (store.models / name for name in part.paths)
            path = next((other for other in others if other != ours and other.is_file()), None)
        if path is not None and path != ours and read_source(path) is None:
            yield part, path
