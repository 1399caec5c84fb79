"""Custom models: fine-tunes of a user's own, each with a name. Their files are used in place and never replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musetalk_cli.engine.weights.registry import WEIGHT_SETS, Part, get_weight_set
from musetalk_cli.engine.weights.store import WeightStore, find_in
from musetalk_cli.errors import ModelError

RESERVED = ("auto", "warp")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# As PEFT and diffusers write them.
LORA_NAMES = ("adapter_model.safetensors", "adapter_model.bin", "pytorch_lora_weights.safetensors")
_STEP = re.compile(r"unet[-_.](\d+)$")  # as MuseTalk's training script names its checkpoints


@dataclass(frozen=True)
class CustomModel:
    """``base`` is the official model that it was trained from: its version decides the audio features, and its files
    stand in for those that ``files`` lacks. ``files`` by kind: unet, vae, whisper, or lora, which changes the base's
    UNet."""

    name: str
    base: str
    files: Mapping[str, Path]

    @property
    def version(self) -> str:
        """1.5 or 1.0."""
        return self.base.removeprefix("musetalk-")

    def as_record(self) -> dict[str, Any]:
        return {"base": self.base, "files": {kind: str(path) for kind, path in self.files.items()}}


def list_custom(store: WeightStore) -> list[CustomModel]:
    """All custom models, by name. Raises ModelError when their list is damaged."""
    found = []
    for name, record in sorted(store.custom_records().items()):
        files = {kind: Path(path) for kind, path in record["files"].items()}
        found.append(CustomModel(name, record["base"], files))
    return found


def find_custom(name: str, store: WeightStore) -> CustomModel | None:
    """The custom model of that name."""
    return next((each for each in list_custom(store) if each.name == name), None)


def forget_custom(name: str, store: WeightStore) -> None:
    """Drop a custom model's name; its files are left alone. Raises ModelError when there is none of that name."""
    if find_custom(name, store) is None:
        raise ModelError(f"there is no model of your own called '{name}'", hint="musetalk models list")
    store.keep_custom(name, None)


def find_fine_tune(source: Path, name: str, base: str | None, store: WeightStore) -> CustomModel:
    """A custom model from a folder or a file, to be checked and kept.

    Args:
        source: a checkpoint, a LoRA, a folder with one, or one in the layout of upstream's ``models``.
        name: what it is to be called.
        base: the official model that it was trained from; None for what the layout says, else musetalk-1.5.
        store: must have those of the base's parts that ``source`` lacks.

    Raises:
        ModelError: the name is taken, nothing is found, or parts are missing both here and there.
    """
    taken = [*RESERVED, *(each.name for each in WEIGHT_SETS)]
    if not NAME.fullmatch(name) or name in taken:
        raise ModelError(f"a model cannot be called '{name}'", hint="letters, digits, . _ and -, and no model's name")
    if not source.exists():
        raise ModelError(f"there is no folder or file {source}", hint="name the folder that holds your checkpoint")
    source = source.resolve()
    known = [get_weight_set(each) for each in ((base,) if base else ("musetalk-1.5", "musetalk-1.0"))]
    weight_set = next((each for each in known if _find_part(source, each.parts[0])), known[0])
    if not weight_set.name.startswith("musetalk-"):
        raise ModelError(f"'{base}' is no model to begin with", hint="--base musetalk-1.5 or --base musetalk-1.0")
    files = {str(part.kind): path for part in weight_set.parts if (path := _find_part(source, part))}
    if "unet" not in files:
        kind, path = _find_single(source)
        files[kind] = path
    model = CustomModel(name, weight_set.name, files)
    require_custom(model, store, where=source)
    return model


def require_custom(model: CustomModel, store: WeightStore, where: Path | None = None) -> dict[str, Path]:
    """Every file of a custom model, by kind, with the base's for those that it lacks. Raises ModelError."""
    gone = [path for path in model.files.values() if not path.is_file()]
    if gone:
        raise ModelError(
            f"model '{model.name}' is not all here: {', '.join(map(str, gone))} missing",
            hint=f"put it back, or import it again; musetalk models forget {model.name}",
        )
    found: dict[str, Path] = {}
    missing = []
    for part in get_weight_set(model.base).parts:
        path = model.files.get(part.kind) or store.find(part)
        if path is None:
            missing.append(f"{part.title} ({part.file.path})")
        else:
            found[part.kind] = path
    if missing:
        raise ModelError(
            f"{where or model.name} is not a whole model: {', '.join(missing)} missing there and in {store.models}",
            hint=f"musetalk models download {model.base} brings the official parts",
        )
    return found | {kind: path for kind, path in model.files.items() if kind == "lora"}


def parts_of(model: CustomModel) -> Iterator[tuple[Part, Path]]:
    """Its own files that are whole nets, with the parts that they stand in for."""
    for part in get_weight_set(model.base).parts:
        if part.kind in model.files:
            yield part, model.files[part.kind]


def find_settings(part: Part, path: Path) -> Path | None:
    """The config file beside a part's weights."""
    settings = path.parent / Path(part.settings.name).name if part.settings else None
    return settings if settings is not None and settings.is_file() else None


def _find_part(source: Path, part: Part) -> Path | None:
    folders = [source, source / "models"] if source.is_dir() else []
    return find_in(folders, part)


def _find_single(source: Path) -> tuple[str, Path]:
    """A UNet's checkpoint or a LoRA, and its kind."""
    if source.is_file():
        return ("lora" if _is_lora(source) else "unet"), source
    lora = next((source / name for name in LORA_NAMES if (source / name).is_file()), None)
    if lora is not None:
        return "lora", lora
    found = sorted(path for path in source.iterdir() if path.is_file() and path.suffix in SUFFIXES)
    steps = {int(match[1]): path for path in found if (match := _STEP.search(path.stem))}
    if steps:
        return "unet", steps[max(steps)]
    if len(found) == 1:
        return ("lora" if _is_lora(found[0]) else "unet"), found[0]
    if found:
        names = ", ".join(path.name for path in found[:4])
        raise ModelError(f"{source} holds {len(found)} checkpoints ({names})", hint="name the one that is meant")
    raise ModelError(
        f"there is no checkpoint in {source}",
        hint="it should hold musetalkV15/unet.pth, unet.pth, unet-STEPS.pth, or a LoRA: adapter_model.safetensors",
    )


def _is_lora(path: Path) -> bool:
    return path.name in LORA_NAMES or "lora" in path.stem.lower()


def describe_custom(model: CustomModel, store: WeightStore) -> dict[str, Any]:
    """As ``inventory.describe_all`` describes the official sets; its own files are custom, never doubtful."""
    parts = []
    for part in get_weight_set(model.base).parts:
        own = model.files.get(part.kind)
        path = own or store.find(part)
        is_there = path is not None and path.is_file()
        state = ("custom" if own else "present") if is_there else "missing"
        parts.append(_describe(part.title, state, path, is_there, str(own or store.models / part.file.path)))
    if lora := model.files.get("lora"):
        parts.append(_describe("LoRA", "custom" if lora.is_file() else "missing", lora, lora.is_file(), str(lora)))
    states = {part["state"] for part in parts}
    return {
        "name": model.name,
        "title": f"custom, from {model.base}",
        "state": "partial" if "missing" in states else "custom",
        "num_bytes": sum(part["num_bytes"] for part in parts if part["state"] == "custom"),
        "download_bytes": 0,
        "licences": [],
        "parts": parts,
    }


def _describe(title: str, state: str, path: Path | None, is_there: bool, wanted: str) -> dict[str, Any]:
    return {
        "title": title,
        "state": state,
        "path": str(path) if path and is_there else None,
        "wanted": wanted,
        "num_bytes": path.stat().st_size if path and is_there else 0,
        "download_bytes": 0,
        "converted_from": None,
    }
