"""Reads weight files and loads them into nets. No code in a file is ever executed; errors say what is wrong."""

from __future__ import annotations

import codecs
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from musetalk_cli.errors import ANOTHER_COPY, ModelError, system_words
from musetalk_cli.installation import install_command
from musetalk_cli.option_names import option

StateDict = Mapping[str, Tensor]
Net = TypeVar("Net", bound=nn.Module)

# Where checkpoints keep the weights beside other things.
_INNER = ("model_state_dict", "state_dict", "model", "net", "unet")
MAX_SHOWN = 3  # names in an error
# In the messages of PyTorch's restricted unpickler when a file contains more than tensors.
_OBJECT = re.compile(r"GLOBAL ([\w.]+)")
_SIGNS_OF_CODE = ("GLOBAL", "reduce for unrecognized", "nsupported class", "Can only")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a PyTorch file without code, memory-mapped.

    Raises ModelError: the file is missing, empty, a web page, truncated, or contains code.
    """
    _check_is_weights(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if isinstance(content, dict):
        for inner in _INNER:
            held = content.get(inner)
            content = held if isinstance(held, Mapping) else content
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__} instead of named tensors", hint=ANOTHER_COPY)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def check_state_dict(state: StateDict, net: nn.Module, path: Path, what: str) -> None:
    """Raise ModelError unless ``state`` has exactly the keys and shapes of ``net``, which may be on the meta device,
    and all its values are finite."""
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    wrong = [
        f"{name} is {_shape(state[name].shape)}, must be {_shape(shape)}"
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    faults = [
        f"{len(missing)} of {len(wanted)} tensors are missing ({_some(missing)})" if missing else "",
        f"{len(unknown)} are unknown ({_some(unknown)})" if unknown else "",
        f"{len(wrong)} have another shape ({_some(wrong)})" if wrong else "",
    ]
    if any(faults):
        raise ModelError(
            f"{path} does not hold {what}: {'; '.join(filter(None, faults))}",
            hint="is it another model's file, or does its settings file belong to another one?",
        )
    broken = [name for name in wanted if not _is_finite(state[name])]
    if broken:
        raise ModelError(
            f"{path} does not hold {what}: {len(broken)} of {len(wanted)} tensors hold values that are not "
            f"finite ({_some(broken)})",
            hint="if you trained it, take a checkpoint from before the loss became NaN; else " + ANOTHER_COPY,
        )


def _is_finite(tensor: Tensor) -> bool:
    if tensor.is_meta or not tensor.is_floating_point() or not tensor.numel():
        return True
    # NaN goes through to both; no array of booleans as large as the tensor.
    low, high = torch.aminmax(tensor)
    return math.isfinite(low) and math.isfinite(high)


def load_into(net: Net, state: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> Net:
    """Load ``state`` into ``net`` (on the meta device), tensor by tensor in its final precision, ready for inference.

    ``state`` is empty afterwards: at most one tensor exists twice in memory. Raises ModelError when the device's memory
    is not enough.
    """
    try:
        loaded = {name: _to(state.pop(name), device, dtype) for name in list(state)}
    except torch.OutOfMemoryError:
        raise ModelError(
            f"not enough memory on {device} for the model",
            hint=f"close other programs, or choose another {option('--device')}",
        ) from None
    net.load_state_dict(loaded, assign=True)
    return net.eval().requires_grad_(False)


def _to(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    # Always a copy: a net must not depend on a mapped file that may be replaced while it runs.
    return tensor.to(device, dtype, copy=True).contiguous(memory_format=layout)


def _check_is_weights(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {system_words(error)}") from None
    if size == 0:
        raise ModelError(f"{path} is empty", hint=ANOTHER_COPY)
    if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        raise ModelError(f"{path} is a web page, not weights: its download failed", hint=ANOTHER_COPY)
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a pointer of Git LFS, not the weights themselves", hint="run: git lfs pull")


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise ModelError(f"reading {path} needs safetensors", hint=install_command("neural")) from None
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(
            f"{path} is cut short or damaged ({_size(path)}): {system_words(error)}", hint=ANOTHER_COPY
        ) from None


def _read_pickle(path: Path) -> Any:
    is_zip = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        is_cut = file.read(2) == b"PK" and not is_zip
    if is_cut:
        raise ModelError(f"{path} is cut short ({_size(path)}): its table of contents is missing", hint=ANOTHER_COPY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles, which are either read or refused
            # Files from before PyTorch 1.6 are no archives, and cannot be mapped.
            return torch.load(path, map_location="cpu", mmap=is_zip, weights_only=True)
    except pickle.UnpicklingError as error:
        if any(words in str(error) for words in _SIGNS_OF_CODE):
            found = _OBJECT.search(str(error))
            raise ModelError(
                f"{path} holds code or objects beside tensors{f' ({found[1]})' if found else ''} and was not opened, "
                "as loading would execute them",
                hint="if it is your own checkpoint, save the weights alone where it was made: "
                "torch.save(net.state_dict(), 'unet.pth'); else take the official file",
            ) from None
        raise ModelError(f"{path} is damaged or no PyTorch file ({_size(path)})", hint=ANOTHER_COPY) from None
    except Exception as error:  # PyTorch's reader may raise anything for damaged data
        if not is_zip:
            raise ModelError(f"{path} is damaged or no PyTorch file ({_size(path)})", hint=ANOTHER_COPY) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path} is cut short or damaged ({_size(path)}): {reason}", hint=ANOTHER_COPY) from None


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a number"


def _some(names: list[str]) -> str:
    return ", ".join(names[:MAX_SHOWN]) + (", …" if len(names) > MAX_SHOWN else "")
