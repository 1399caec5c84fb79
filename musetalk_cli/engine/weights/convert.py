"""Weights as fp16 safetensors: half the disk, mapped at once, and nothing in them that could be executed."""

from __future__ import annotations

import shutil
from pathlib import Path

from musetalk_cli.engine.runtime.files import replace_file
from musetalk_cli.engine.weights.download import check_space
from musetalk_cli.engine.weights.registry import Part
from musetalk_cli.engine.weights.verification import SOURCE_KEY, Verdict
from musetalk_cli.errors import NEURAL_HINT, ModelError

# Masks are made once, and rounding would move their edges; the file is small anyway.
KEPT_FULL = ("parsing",)


def convert(part: Part, source: Path, settings: Path | None, models: Path) -> Path:
    """Write a part's weights into our models folder, checked, under the name that models look for first.

    The names of the tensors stay those of ``source``. The settings go along. The file is there whole or not at all.
    Raises ModelError: wrong or damaged source, values that 16 bits cannot hold, no space.
    """
    target = models / part.converted
    if target.exists() and target.samefile(source):
        raise ModelError(f"{source} is where its conversion would be written", hint="it is safetensors already")
    check_space(models, source.stat().st_size // (1 if part.kind in KEPT_FULL else 2), f"the converted {part.title}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(target, is_synced=True) as staged:  # synced: the original may be deleted next
            _write(part, source, settings, staged)
            if settings is not None and settings.parent != target.parent:
                shutil.copyfile(settings, target.parent / settings.name)
            shutil.copymode(source, staged)  # safetensors makes files that only their owner can read
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}", hint="is the disk full?") from error
    return target


def convert_verified(verdict: Verdict, models: Path) -> Path:
    """Convert a file that was found to be good. Raises ModelError."""
    if verdict.path is None:
        raise ModelError(verdict.note, hint=verdict.hint)
    return convert(verdict.part, verdict.path, verdict.settings, models)


def _write(part: Part, source: Path, settings: Path | None, staged: Path) -> None:
    try:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError:
        raise ModelError("converting weights needs torch and safetensors", hint=NEURAL_HINT) from None
    from musetalk_cli.engine.weights.nets import read_checked

    state = read_checked(part, source, settings)
    dtype = torch.float32 if part.kind in KEPT_FULL else torch.float16
    narrowed = {}
    for name, tensor in state.items():
        kept = tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()
        if kept.is_floating_point() and not bool(torch.isfinite(kept).all()):
            raise ModelError(f"{source}: {name} holds values that are not finite in 16 bits", hint="use it as it is")
        narrowed[name] = kept.contiguous()
    try:
        save_file(narrowed, staged, metadata={"format": "pt", SOURCE_KEY: part.file.path})
    except SafetensorError as error:
        # It hides the error number in its text.
        raise ModelError(f"cannot write {staged.parent}: {error}", hint="is the disk full?") from error
