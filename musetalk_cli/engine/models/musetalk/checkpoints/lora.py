"""Low-rank changes of weights (LoRA, Hu et al. 2021), as PEFT and diffusers save them, merged when they are loaded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import read_state_dict
from musetalk_cli.errors import ANOTHER_COPY, ModelError, system_words

StateDict = Mapping[str, Tensor]

# What stands in front of a module's name, and how the two factors are called.
_PREFIX = re.compile(r"^(base_model\.model\.|unet\.|module\.|transformer\.)+")
_FACTOR = re.compile(r"^(.*?)(?:\.lora_(A|B)(?:\.default)?\.weight|[._]lora\.(down|up)\.weight)$")
_ALPHA = re.compile(r"^(.*?)(?:[._]lora)?\.alpha$")


def read_lora(path: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, float]]:
    """Each module's factors (down, up), by its name in the UNet, and how much its product counts.

    Raises ModelError when the file is damaged, or has other tensors than pairs of factors that can be multiplied.
    """
    state, settings = read_state_dict(path), _read_settings(path)
    factors: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    unknown = []
    for name, tensor in state.items():
        if match := _FACTOR.match(name):
            side = "down" if "A" in match.groups() or "down" in match.groups() else "up"
            factors.setdefault(_module(match[1]), {})[side] = tensor
        elif (match := _ALPHA.match(name)) and tensor.numel() == 1:
            alphas[_module(match[1])] = float(tensor)
        else:
            unknown.append(name)
    if unknown or not factors or any(len(pair) != 2 for pair in factors.values()):
        what = ", ".join(unknown[:3]) if unknown else "factors without their other half" if factors else "no tensors"
        raise ModelError(f"{path} is not a LoRA ({what})", hint="save it with PEFT's save_pretrained or diffusers")
    pairs = {module: (pair["down"], pair["up"]) for module, pair in factors.items()}
    for module, (down, up) in pairs.items():
        if min(down.ndim, up.ndim) < 2 or not 0 < len(down) == up.shape[1]:
            raise ModelError(
                f"{path} has factors of {module} that cannot be multiplied: {tuple(up.shape)} and {tuple(down.shape)}",
                hint=ANOTHER_COPY,
            )
    return pairs, {module: _scale(module, len(down), alphas, settings) for module, (down, _) in pairs.items()}


def merge_lora(unet: StateDict, path: Path) -> dict[str, Tensor]:
    """A UNet's state dict with a LoRA's changes: W + scale · up · down. Raises ModelError when it does not fit, or is
    not finite."""
    pairs, scales = read_lora(path)
    merged = dict(unet)
    for module, (down, up) in pairs.items():
        name = f"{module}.weight"
        if name not in unet:
            raise ModelError(
                f"{path} changes {name}, which MuseTalk's UNet does not have", hint="is it of another model?"
            )
        change = (up.flatten(1).float() @ down.flatten(1).float()) * scales[module]
        wide = unet[name].float()
        if change.numel() != wide.numel() or len(change) != len(wide):
            raise ModelError(
                f"{path} changes {name} by {tuple(up.shape)} × {tuple(down.shape)}, which does not fit its "
                f"{tuple(wide.shape)}",
                hint="is it of another model?",
            )
        if not change.isfinite().all():
            raise ModelError(
                f"{path} changes {name} by values that are not finite",
                hint="if you trained it, take a checkpoint from before the loss became NaN; else " + ANOTHER_COPY,
            )
        merged[name] = wide + change.view_as(wide)
    return merged


def _module(name: str) -> str:
    """diffusers once saved attention processors: ``attn1.processor.to_q`` is the attention's ``to_q``."""
    name = _PREFIX.sub("", name).replace(".processor.", ".")
    return re.sub(r"\.to_out$", ".to_out.0", name)


def _scale(module: str, rank: int, alphas: Mapping[str, float], settings: Mapping[str, Any]) -> float:
    """alpha ÷ rank; with rank-stabilised LoRA alpha ÷ √rank. Without a known alpha 1, as diffusers has it."""
    alpha = alphas.get(module, settings.get("lora_alpha", rank))
    return float(alpha) / (rank**0.5 if settings.get("use_rslora") else rank)


def _read_settings(path: Path) -> Mapping[str, Any]:
    beside = path.parent / "adapter_config.json"
    if not beside.is_file():
        return {}
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{beside} is not JSON: {system_words(error)}", hint="put a whole copy of it in its place"
        ) from None
    if not isinstance(values, dict):
        raise ModelError(f"{beside} holds no settings", hint=ANOTHER_COPY)
    unsupported = [key for key in ("use_dora", "rank_pattern", "alpha_pattern") if values.get(key)]
    if unsupported:
        raise ModelError(f"{beside} asks for {', '.join(unsupported)}, which is not known here", hint="merge it first")
    alpha = values.get("lora_alpha", 1)
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise ModelError(f"{beside}: 'lora_alpha' is {alpha!r}, must be a number", hint=ANOTHER_COPY)
    return values
