"""Exports a model's nets as ONNX graphs, into a folder that appears whole or not at all, checked against PyTorch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musetalk_cli.engine.runtime.exchange import exchange
from musetalk_cli.engine.runtime.files import fit_name, staged_name, sync_file
from musetalk_cli.engine.weights.custom import find_custom, require_custom
from musetalk_cli.engine.weights.download import check_space
from musetalk_cli.engine.weights.registry import get_weight_set
from musetalk_cli.engine.weights.store import WeightStore
from musetalk_cli.errors import ModelError, system_words
from musetalk_cli.installation import install_command
from musetalk_cli.system.processes import is_alive
from musetalk_cli.system.small_files import read_small_json

if TYPE_CHECKING:
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import ModelFiles
    from musetalk_cli.engine.weights.onnx_graphs import OnnxNet

MANIFEST = "export.json"
MAX_ERROR = 1e-4  # of a graph against PyTorch, largest difference ÷ largest value
GRAPH_BYTES = 8_000_000  # of a graph without its weights, at most
SEED = 1

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ExportedGraph:
    """A graph's file, shapes of its inputs and output by name, and its distance from PyTorch."""

    file: str
    batch_size: int
    inputs: dict[str, list[int]]
    output: dict[str, list[int]]
    error: float


def find_model(name: str, store: WeightStore) -> ModelFiles:
    """The weight files of a model, official or a user's own. Raises ModelError when they are not all here."""
    _require_libraries()
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import ModelFiles

    custom = find_custom(name, store)
    if custom is None and not name.startswith("musetalk-"):
        get_weight_set(name)  # says which names there are
        raise ModelError(
            f"'{name}' is no model that can be exported", hint="musetalk-1.5, musetalk-1.0 or one of yours"
        )
    found: dict[Any, Path] = require_custom(custom, store) if custom else {**store.require(get_weight_set(name))}
    version = custom.version if custom else name.removeprefix("musetalk-")
    return ModelFiles(
        "1.0" if version == "1.0" else "1.5",
        found["unet"],
        found["vae"],
        found["whisper"],
        lora=found.get("lora"),
        is_custom=custom is not None,
    )


def export_onnx(
    name: str, files: ModelFiles, target: Path, batch_sizes: Sequence[int], tell: Tell, *, is_replacing: bool
) -> list[ExportedGraph]:
    """Write the UNet, the VAE's decoder and Whisper's encoder as ONNX graphs, and check each in onnxruntime.

    Args:
        name: of the model, for the manifest.
        files: its weights.
        target: the folder to be made.
        batch_sizes: one graph of each net for each; the largest one is computed with PyTorch as well.
        tell: told of each step.
        is_replacing: an earlier export in ``target`` is replaced, once the new one is whole and checked.

    Returns:
        All graphs, as the manifest lists them.

    Raises:
        ModelError: ``target`` exists, weights are damaged, a graph differs from PyTorch, the disk is full.
    """
    import torch

    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision, load_nets
    from musetalk_cli.engine.weights.onnx_graphs import onnx_nets

    _check_target(target, is_replacing=is_replacing)
    sizes = sorted(set(batch_sizes))
    tell(f"loading {name}")
    nets = onnx_nets(load_nets(files, Precision(torch.device("cpu"), torch.float32)))
    num_bytes = sum(tensor.nbytes for net in nets for tensor in net.net.state_dict().values())
    check_space(target.parent, num_bytes + GRAPH_BYTES * len(nets) * len(sizes), "the export")
    with _new_folder(target, is_replacing=is_replacing) as folder:
        exported: list[ExportedGraph] = []
        while nets:  # each net is released behind its graphs
            exported += _export_net(nets.pop(0), folder, sizes, tell)
        manifest = {"model": name, "version": files.version, "graphs": [asdict(graph) for graph in exported]}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return exported


def _export_net(net: OnnxNet, folder: Path, sizes: Sequence[int], tell: Tell) -> list[ExportedGraph]:
    import torch

    from musetalk_cli.engine.weights.onnx_graphs import WeightFile, run_graph, write_graph

    paths = {size: folder / f"{net.name}-b{size}.onnx" for size in sizes}
    with WeightFile(folder / f"{net.name}.data") as weights:
        for size, path in paths.items():
            tell(f"{path.name}: exporting")
            write_graph(net, size, path, weights)
    inputs = net.random_inputs(sizes[-1], SEED)
    with torch.inference_mode():
        wanted = net.net(*inputs).numpy()
    net.net.to("meta")  # its memory is free for onnxruntime
    exported = []
    for size, path in paths.items():
        given = {name: value[:size].numpy() for name, value in zip(net.inputs, inputs, strict=True)}
        error = float(abs(run_graph(path, given) - wanted[:size]).max() / abs(wanted[:size]).max())
        if not error <= MAX_ERROR:
            raise ModelError(f"{path.name} differs from PyTorch by {error:.1e}, more than {MAX_ERROR:g}")
        tell(f"{path.name}: differs from PyTorch by {error:.1e} at most")
        shapes = {name: list(value.shape) for name, value in given.items()}
        output = {net.output: [size, *wanted.shape[1:]]}
        exported.append(ExportedGraph(path.name, size, shapes, output, error))
    return exported


def _require_libraries() -> None:
    for extra, modules in (("neural", ("torch", "safetensors")), ("onnx", ("onnx", "onnxscript", "onnxruntime"))):
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            raise ModelError(f"exporting needs {' and '.join(missing)}", hint=install_command(extra))


def _check_target(target: Path, *, is_replacing: bool) -> None:
    """Raise ModelError for a folder that must not be replaced: not with the flag, or not an export of ours."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if os.path.lexists(target) and not is_replacing:
        raise ModelError(f"{target} exists already", hint="--overwrite replaces an earlier export")
    if not os.path.lexists(target):
        return
    try:
        graphs = read_small_json(target / MANIFEST)["graphs"]
        names = {str(graph["file"]) for graph in graphs}
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{target} is no export, so it is not replaced", hint="name another folder") from None
    names |= {f"{name.rpartition('-b')[0]}.data" for name in names} | {MANIFEST}
    others = [path.name for path in target.iterdir() if path.name not in names]
    if others:
        raise ModelError(f"{target} holds other files, so it is not replaced: {', '.join(others)}")


@contextmanager
def _new_folder(target: Path, *, is_replacing: bool) -> Iterator[Path]:
    """A folder beside ``target`` to be filled; after the block it is ``target``, after an exception it is gone.

    Raises ModelError as ``_check_target``, too: an export takes minutes, in which others may write there.
    """
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        staged = staged_name(target)
        staged.mkdir()
    except OSError as error:
        raise ModelError(f"cannot write {target}: {system_words(error)}") from error
    try:
        yield staged
        for path in staged.iterdir():
            sync_file(path)
        _check_target(target, is_replacing=is_replacing)
        _put_in_place(staged, target)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {system_words(error)}", hint="is the disk full?") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _put_in_place(staged: Path, target: Path) -> None:
    """Afterwards ``staged`` holds what ``target`` held, or is gone."""
    if not target.exists():
        staged.rename(target)
        return
    try:
        exchange(staged, target)
    except OSError:  # not on this system: for a moment neither has the name
        old = staged_name(target)
        target.rename(old)
        staged.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(target: Path) -> None:
    """Remove what killed exports left: gigabytes that nothing else would find."""
    for staged in target.parent.glob(f".{escape(fit_name(target.name))}.[0-9]*-[0-9]*"):
        owner = staged.suffix[1:].split("-")[0]
        if owner.isdecimal() and not is_alive(int(owner)):
            shutil.rmtree(staged, ignore_errors=True)
