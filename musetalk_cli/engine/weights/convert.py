"""Converts weights to fp16 safetensors: half the size on disk, memory-mapped, and without executable code."""

from __future__ import annotations

import shutil
from pathlib import Path

from musetalk_cli.engine.runtime.files import replace_file
from musetalk_cli.engine.weights.download import check_space
from musetalk_cli.engine.weights.registry import Part
from musetalk_cli.engine.weights.verification import SOURCE_KEY, CheckResult
from musetalk_cli.errors import ModelError, system_words
from musetalk_cli.installation import install_command

# Rounding would move the masks' edges, and the file is small.
FULL_PRECISION_KINDS = ("parsing",)


def convert(part: Part, source: Path, settings: Path | None, models: Path) -> Path:
    """Check a part's weights and write them into our models folder, under the name that models prefer.

    The keys are those of ``source``. The config file ``settings`` is copied too. The file appears whole or not at all.
    Raises ModelError: wrong or damaged source, values beyond the range of fp16, no space.
    """
    target = models / part.converted
    if target.exists() and target.samefile(source):
        raise ModelError(f"{source} is where its conversion would be written", hint="it is safetensors already")
    check_space(
        models, source.stat().st_size // (1 if part.kind in FULL_PRECISION_KINDS else 2), f"the converted {part.title}"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(target, is_synced=True) as staged:  # synced: the original may be deleted next
            _write(part, source, settings, staged)
            if settings is not None and settings.parent != target.parent:
                shutil.copyfile(settings, target.parent / settings.name)
            shutil.copymode(source, staged)  # safetensors makes files that only their owner can read
    except OSError as error:
        raise ModelError(f"cannot write {target}: {system_words(error)}", hint="is the disk full?") from error
    return target


def convert_verified(result: CheckResult, models: Path) -> Path:
    """Convert a file that was verified. Raises ModelError."""
    if result.path is None:
        raise ModelError(result.note, hint=result.hint)
    return convert(result.part, result.path, result.settings, models)


def _write(part: Part, source: Path, settings: Path | None, staged: Path) -> None:
    try:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError:
        raise ModelError("converting weights needs torch and safetensors", hint=install_command("neural")) from None
    from musetalk_cli.engine.weights.nets import read_checked

    state = read_checked(part, source, settings)
    dtype = torch.float32 if part.kind in FULL_PRECISION_KINDS else torch.float16
    narrowed = {}
    for name, tensor in state.items():
        kept = tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()
        if kept.is_floating_point() and not bool(torch.isfinite(kept).all()):
            raise ModelError(f"{source}: {name} holds values that are not finite in 16 bits", hint="use it as it is")
        narrowed[name] = kept.contiguous()
    try:
        save_file(narrowed, staged, metadata={"format": "pt", SOURCE_KEY: part.file.path})
    except SafetensorError as error:
        # SafetensorError has no errno.
        raise ModelError(f"cannot write {staged.parent}: {error}", hint="is the disk full?") from error
