"""Imports weights that are already on this computer: an upstream ``models`` folder is used in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from musetalk_cli.engine.weights.convert import convert_verified
from musetalk_cli.engine.weights.custom import find_fine_tune, list_custom
from musetalk_cli.engine.weights.download import OnProgress
from musetalk_cli.engine.weights.inventory import parts_here
from musetalk_cli.engine.weights.registry import WEIGHT_SETS, Part, find_weight_sets
from musetalk_cli.engine.weights.store import WeightStore, find_in
from musetalk_cli.engine.weights.verification import CheckResult, verify, verify_custom
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


def import_folder(folder: Path, store: WeightStore, on_progress: OnProgress, *, is_copy: bool) -> list[CheckResult]:
    """Check a folder in upstream's layout and refer to it, or store a converted copy. Only a whole one is imported.

    Args:
        folder: it, or the one around it.
        store: refers to it, or gets the copy.
        on_progress: told of what is read.
        is_copy: convert the files into the store.

    Raises:
        ModelError: parts are missing, or a copy cannot be written.
    """
    found = find_models_folder(folder)
    results = check_folder(found, on_progress)
    if all(result.is_good for result in results):
        check_is_complete(found, store)
        if not is_copy:
            store.refer_to(found)
        for result in results if is_copy else ():
            convert_verified(result, store.models)
    return results


def keep_fine_tune(
    source: Path, name: str, base: str | None, store: WeightStore, on_progress: OnProgress
) -> list[CheckResult]:
    """Check a model of a user's own and keep it under a name; a damaged one is not kept.

    Args:
        source: as ``find_fine_tune`` takes it.
        name: likewise.
        base: likewise.
        store: keeps it.
        on_progress: told of what is read.

    Raises:
        ModelError: the name is taken, or something is missing.
    """
    model = find_fine_tune(source, name, base, store)
    results = verify_custom(model, store)
    if all(result.is_good for result in results):
        store.keep_custom(name, model.as_record())
    return results


def verify_names(names: Sequence[str], store: WeightStore, on_progress: OnProgress) -> list[CheckResult]:
    """Check the weights of these names, those of a user's own included; without names all that are on this computer.

    Raises ModelError for a name that is not known, and without names when there is nothing.
    """
    custom = [model for model in list_custom(store) if not names or model.name in names]
    official = [name for name in names if name not in {model.name for model in custom}]
    weight_sets = [] if names and not official else find_weight_sets(official)
    wanted = list(dict.fromkeys(part for each in weight_sets for part in each.parts))
    if not names:
        wanted = [part for part in wanted if store.find(part)] if custom else parts_here(weight_sets, store)
    results = [verify(part, store.find(part), store.find_settings(part), on_progress) for part in wanted]
    return results + [result for model in custom for result in verify_custom(model, store)]


def check_is_complete(folder: Path, store: WeightStore) -> None:
    """Raise ModelError, saying what is missing, unless every model that a folder begins is whole, in the folder or with
    what is on this computer already."""
    missing: dict[str, list[str]] = {}
    for weight_set in WEIGHT_SETS:
        found = [find_in([folder], part) for part in weight_set.parts]
        others = [part for part, path in zip(weight_set.parts, found, strict=True) if not path and not store.find(part)]
        # Its first part is its own; others belong to several models.
        if found[0] is not None or (any(found) and not any(find_in([folder], each.parts[0]) for each in WEIGHT_SETS)):
            missing[weight_set.name] = [f"{part.title} ({part.file.path})" for part in others]
    if missing and all(missing.values()):
        name, titles = min(missing.items(), key=lambda item: len(item[1]))
        raise ModelError(
            f"{folder} is not a whole {name}: {', '.join(titles)} missing there and in {store.models}",
            hint=f"musetalk models download {name} brings them; --name NAME imports a checkpoint of your own",
        )


def parts() -> Iterator[Part]:
    """Every part of every model, once."""
    seen: set[str] = set()
    for part in (part for each in WEIGHT_SETS for part in each.parts):
        if part.file.path not in seen:
            seen.add(part.file.path)
            yield part
