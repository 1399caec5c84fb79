"""``musetalk models``: the neural models' weights – list, download, import, convert and verify."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from musetalk_cli.app.settings.folders import weight_store
from musetalk_cli.commands.common.weight_options import (
    BaseOption,
    BatchSizesOption,
    FolderArgument,
    ModelArgument,
    NameOption,
    NamesArgument,
    OnnxOption,
    QuietOption,
)
from musetalk_cli.ui.downloads import TransferDisplay, agree_to_licences, list_weights, report_results

app = typer.Typer(help="Download, import and check the weights of MuseTalk.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """List the weights: installed, missing, and sizes."""
    from musetalk_cli.engine.weights.inventory import describe_all

    described = describe_all(weight_store())
    typer.echo(json.dumps(described, indent=2) if as_json else "\n".join(list_weights(described)))


@app.command()
def download(
    names: NamesArgument = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences without a prompt.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Download weights from the Hugging Face hub. Without a name: musetalk-1.5. Resumes where it was interrupted."""
    from musetalk_cli.engine.weights.download import check_download, download_file, size_text
    from musetalk_cli.engine.weights.inventory import wanted_files
    from musetalk_cli.engine.weights.registry import find_weight_sets

    store, weight_sets = weight_store(), find_weight_sets(names or ["musetalk-1.5"])
    files = wanted_files(weight_sets, store)
    if files:
        num_bytes = check_download(files, store.models)
        agree_to_licences(
            files, f"{size_text(num_bytes)} to download into {store.models}", is_agreed=yes, is_quiet=quiet
        )
    with TransferDisplay(is_quiet=quiet) as display:
        for file in files:
            download_file(file, store.models, display)
        display.say(f"{', '.join(each.name for each in weight_sets)}: all there")


@app.command("import")
def import_(
    folder: FolderArgument,
    is_copy: Annotated[bool, typer.Option("--convert", help="Store a converted copy instead of using DIR.")] = False,
    name: NameOption = None,
    base: BaseOption = None,
    quiet: QuietOption = False,
) -> None:
    """Use weights that are on this computer. They stay where they are."""
    from musetalk_cli.engine.weights.imports import import_folder, keep_fine_tune

    if (name is None and base is not None) or (name is not None and is_copy):
        raise typer.BadParameter("--base goes with --name" if name is None else "--convert does not go with --name")
    store = weight_store()
    with TransferDisplay(is_quiet=quiet) as display:
        if name is not None:
            results = keep_fine_tune(folder, name, base, store, display)
            report_results(results, weight_store(), is_quiet=quiet)
            display.say(f"musetalk render … --model {name}")
            return
        results = import_folder(folder, store, display, is_copy=is_copy)
        report_results(results, weight_store(), is_quiet=quiet)


@app.command()
def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of your own.")], quiet: QuietOption = False
) -> None:
    """Forget a model of your own. Its files stay where they are."""
    from musetalk_cli.engine.weights.custom import forget_custom

    forget_custom(name, weight_store())
    if not quiet:
        typer.echo(f"{name} is forgotten; its files are untouched")


@app.command()
def convert(
    names: NamesArgument = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the downloaded originals afterwards.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Convert weights to fp16 safetensors: half the disk space, a faster start. Without a name: all installed ones."""
    from musetalk_cli.engine.weights.convert import convert as convert_part
    from musetalk_cli.engine.weights.inventory import originals, parts_here
    from musetalk_cli.engine.weights.registry import find_weight_sets

    store, weight_sets = weight_store(), find_weight_sets(names)
    for weight_set in weight_sets if names else ():
        store.require(weight_set)
    parts_here(weight_sets, store)
    found = list(originals(weight_sets, store, has_converted=replace))
    with TransferDisplay(is_quiet=quiet) as display:
        if not found:
            display.say("everything is converted already")
        for part, path in found:
            display.say(f"{part.title}: {convert_part(part, path, store.find_settings(part), store.models)}")
            if replace and path.is_relative_to(store.models):
                path.unlink()


@app.command()
def export(
    onnx: OnnxOption,
    name: ModelArgument = "musetalk-1.5",
    batch_size: BatchSizesOption = None,
    is_overwriting: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in DIR.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Export the UNet, the VAE's decoder and Whisper's encoder as ONNX graphs, checked against PyTorch."""
    from musetalk_cli.engine.weights.onnx_export import export_onnx, find_model

    files = find_model(name, weight_store())
    with TransferDisplay(is_quiet=quiet) as display:
        graphs = export_onnx(name, files, onnx, batch_size or [1], display.say, is_replacing=is_overwriting)
    for graph in graphs if not quiet else ():
        typer.echo(onnx / graph.file)


@app.command()
def verify(names: NamesArgument = None, quiet: QuietOption = False) -> None:
    """Check weights: checksums, tensor names and shapes. Without a name: all installed ones."""
    from musetalk_cli.engine.weights.imports import verify_names

    with TransferDisplay(is_quiet=quiet) as display:
        results = verify_names(names or (), weight_store(), display)
    report_results(results, weight_store(), is_quiet=quiet)
