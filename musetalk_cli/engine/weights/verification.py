"""Verifies weight files: checksums, sizes, keys and shapes."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.weights.custom import CustomModel, find_settings, parts_of, require_custom
from musetalk_cli.engine.weights.download import OnProgress, size_text
from musetalk_cli.engine.weights.registry import (
    Part,
    WeightFile,
    get_weight_set,
    published_as,
    published_at,
    set_of,
)
from musetalk_cli.engine.weights.store import WeightStore
from musetalk_cli.errors import ANOTHER_COPY, ModelError, system_words
from musetalk_cli.system.small_files import read_small_json

READ_BYTES = 1 << 20
MAX_HEADER_BYTES = 100_000_000  # of safetensors, as its own reader has it
PICKLE_HEAD = b"\x80\x02"  # of files from before PyTorch 1.6

Status = Literal["official", "converted", "unofficial", "custom", "damaged", "missing"]
SOURCE_KEY = "musetalk.source"  # in the header of a converted file: the published file that it was converted from


@dataclass(frozen=True)
class CheckResult:
    """The result for one part's file. ``note`` explains it; ``hint`` says what to do where it is not good."""

    part: Part
    path: Path | None
    settings: Path | None
    status: Status
    note: str
    hint: str = ""

    @property
    def is_good(self) -> bool:
        """Whether a model can use the file."""
        return self.status in ("official", "converted", "unofficial", "custom")


def verify(part: Part, path: Path | None, settings: Path | None, on_progress: OnProgress) -> CheckResult:
    """Check that the file exists and is whole, its sum, and the keys and shapes of its tensors.

    A file with the right tensors that is not a published one is ``unofficial``, for example a fine-tuned one.
    """
    if path is None:
        return CheckResult(
            part, None, None, "missing", f"{part.file.path} is missing", f"musetalk models download {set_of(part)}"
        )
    try:
        check_settings(part, settings)
        status, note = identify(part, path, on_progress)
        # Imported late: torch takes seconds to import, and a checksum explains more about a wrong file.
        from musetalk_cli.engine.weights.nets import read_checked

        read_checked(part, path, settings)
    except ModelError as error:
        return CheckResult(part, path, settings, "damaged", str(error), error.hint)
    return CheckResult(part, path, settings, status, note)


def verify_custom(model: CustomModel, store: WeightStore) -> list[CheckResult]:
    """Check a custom model's own files: whole, and the keys and shapes of their tensors; a LoRA against the UNet
    that it changes. Raises ModelError when a part is missing."""
    files = require_custom(model, store)
    results = []
    for part, path in parts_of(model):
        settings = find_settings(part, path)
        try:
            check_settings(part, settings)
            _check_records(path)
            from musetalk_cli.engine.weights.nets import read_checked

            read_checked(part, path, settings)
            note = f"'{model.name}', from {model.base}, {size_text(path.stat().st_size)}"
            results.append(CheckResult(part, path, settings, "custom", note))
        except ModelError as error:
            results.append(CheckResult(part, path, settings, "damaged", str(error), error.hint))
    if "lora" in files:
        results.append(_verify_lora(model, files["unet"], files["lora"]))
    return results


def _verify_lora(model: CustomModel, unet: Path, lora: Path) -> CheckResult:
    from musetalk_cli.engine.weights.nets import count_lora_changes

    part = get_weight_set(model.base).parts[0]
    try:
        count = count_lora_changes(unet, lora)
    except ModelError as error:
        return CheckResult(part, lora, None, "damaged", str(error), error.hint)
    note = f"'{model.name}', a LoRA of {count} layers on {unet}, {size_text(lora.stat().st_size)}"
    return CheckResult(part, lora, None, "custom", note)


def check_settings(part: Part, settings: Path | None) -> None:
    """Raise ModelError when the config file beside the weights is not JSON, but for example a web page."""
    if settings is None:
        return
    try:
        read_small_json(settings)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{settings} does not hold the settings of the {part.title}: {system_words(error)}",
            hint=ANOTHER_COPY,
        ) from None


def identify(part: Part, path: Path, on_progress: OnProgress) -> tuple[Status, str]:
    """Identify a file by its size and sum. Raises ModelError when it is another part's."""
    size = path.stat().st_size
    source = read_source(path)
    if source is not None:
        _check_own(part, path, published_at(source))
        return "converted", f"made from {source}, {size_text(size)}"
    known = part.known_file(path.name)
    total = hash_file(path, partial(on_progress, f"checking {path.name}"))
    if (known is not None and known.sha256 == total) or total in part.other_sums:
        return "official", f"the published file, sha256 {total[:12]}…, {size_text(size)}"
    if known is not None and known.sha256 is None and size == known.num_bytes and is_likely_whole(part, path):
        return "official", f"has the published file's size (its sha256 was never published), {size_text(size)}"
    _check_own(part, path, published_as(size, total))
    _check_records(path)
    return "unofficial", f"not the published file (sha256 {total[:12]}…), {size_text(size)}"


def read_source(path: Path) -> str | None:
    """The path of the published file that a file was converted from; None when it was not converted."""
    about = read_header(path).get("__metadata__", {}) if path.suffix == ".safetensors" else {}
    source = about.get(SOURCE_KEY) if isinstance(about, dict) else None
    return source if isinstance(source, str) else None


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; empty when it is damaged. Needs no torch."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= MAX_HEADER_BYTES else {}
    except (OSError, ValueError, struct.error, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _end_of(entry: object) -> int | None:
    """Where a tensor of a safetensors file ends, as the header says; None where it says nothing of the kind."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not isinstance(offsets[1], int):
        return None
    return offsets[1]


def is_likely_whole(part: Part, path: Path) -> bool:
    """A quick check without reading the file: it ends where its header says, or has its table of contents, or, a
    PyTorch file from before 1.6, the published size."""
    size = path.stat().st_size
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            head = file.read(8)
        ends = [_end_of(entry) for name, entry in read_header(path).items() if name != "__metadata__"]
        known = [end for end in ends if end is not None]
        return 0 < len(known) == len(ends) and size == 8 + struct.unpack("<Q", head)[0] + max(known)
    # An archive that was cut short has lost its table of contents; for others the size is all that tells.
    is_archive = zipfile.is_zipfile(path)
    return size > 0 and (is_archive or (_is_pytorch_file(path) and is_likely_published(part, path)))


def is_likely_published(part: Part, path: Path) -> bool:
    """Whether a file has the published size, or was converted from a published one, or no size is known for it."""
    known = part.known_file(path.name)
    return known is None or path.stat().st_size == known.num_bytes or read_source(path) is not None


def _is_pytorch_file(path: Path) -> bool:
    """Whether it begins as PyTorch's files do and, an archive, has its table of contents at the end."""
    with path.open("rb") as file:
        head = file.read(2)
    return zipfile.is_zipfile(path) if head == b"PK" else head == PICKLE_HEAD


def _check_records(path: Path) -> None:
    """Raise ModelError when a record of a PyTorch file does not match its checksum.

    PyTorch's archives have a checksum for each record, unless that was switched off; other files have none.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = next(filter(None, (_find_damage(archive, record) for record in archive.infolist())), None)
    except Exception as error:  # a damaged table of contents may raise anything
        damaged = f"its archive cannot be read ({error})"
    if damaged:
        raise ModelError(f"{path} is damaged: {damaged}", hint="get another copy of it")


def _find_damage(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> str | None:
    if not record.CRC:  # torch.serialization.set_crc32_options(False), or an empty record
        return None
    try:
        with archive.open(record) as data:
            while data.read(READ_BYTES):
                pass
    except zipfile.BadZipFile:
        return f"the checksum of its record {record.filename} does not match"
    return None


def _check_own(part: Part, path: Path, published: WeightFile | None) -> None:
    if published is not None and published not in (part.file, *part.other_files):
        raise ModelError(
            f"{path} is really {published.path} under another name", hint="replace it with the right file, or rename it"
        )
