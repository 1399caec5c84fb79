"""``musetalk models``: the neural models' weights – list, download, import, convert and verify."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musetalk_cli.app.folders import weight_store
from musetalk_cli.commands.common.completion import complete_weights
from musetalk_cli.errors import ModelError
from musetalk_cli.ui.downloads import TransferDisplay, agree_to_licences

if TYPE_CHECKING:
    from musetalk_cli.engine.weights.verification import CheckResult

app = typer.Typer(help="Download, import and check the weights of MuseTalk.", no_args_is_help=True)

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Weights: musetalk-1.5, musetalk-1.0 or face-parsing.",
        show_default=False,
        autocompletion=complete_weights,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """List the weights: installed, missing, and sizes."""
    from musetalk_cli.engine.weights.download import size_text
    from musetalk_cli.engine.weights.inventory import describe_all

    described = describe_all(weight_store())
    if as_json:
        typer.echo(json.dumps(described, indent=2))
    for one in () if as_json else described:
        rest = f", {size_text(one['download_bytes'])} to download" if one["download_bytes"] else ""
        typer.echo(f"{one['name']:<14}{one['state']:<10}{size_text(one['num_bytes'])}{rest}   {one['title']}")
        for part in one["parts"]:
            typer.echo(f"  {part['title']:<14}{part['state']:<10}{part['path'] or part['wanted']}")


@app.command()
def download(
    names: NamesArgument = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences without a prompt.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Download weights from the Hugging Face hub. Without a name: musetalk-1.5. Resumes where it was interrupted."""
    from musetalk_cli.engine.weights.download import check_space, count_missing_bytes, download_file, size_text
    from musetalk_cli.engine.weights.inventory import wanted_files
    from musetalk_cli.engine.weights.registry import find_weight_sets

    store, weight_sets = weight_store(), find_weight_sets(names or ["musetalk-1.5"])
    files = wanted_files(weight_sets, store)
    if files:
        num_bytes = count_missing_bytes(files, store.models)
        check_space(store.models, num_bytes, "the download")
        agree_to_licences(
            files, f"{size_text(num_bytes)} to download into {store.models}", is_agreed=yes, is_quiet=quiet
        )
    with TransferDisplay(is_quiet=quiet) as display:
        for file in files:
            download_file(file, store.models, display)
        display.say(f"{', '.join(each.name for each in weight_sets)}: all there")


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Models folder of the original project, or its parent.")
    ],
    is_copy: Annotated[bool, typer.Option("--convert", help="Store a converted copy instead of using DIR.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Use weights that are on this computer. They stay where they are."""
    from musetalk_cli.engine.weights.convert import convert_verified
    from musetalk_cli.engine.weights.imports import check_folder, find_models_folder

    store, found = weight_store(), find_models_folder(folder)
    with TransferDisplay(is_quiet=quiet) as display:
        results = check_folder(found, display)
        _report(results, is_quiet=quiet)
        if not is_copy:
            store.refer_to(found)
        for result in results if is_copy else ():
            display.say(f"{result.part.title}: {convert_verified(result, store.models)}")


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
def verify(names: NamesArgument = None, quiet: QuietOption = False) -> None:
    """Check weights: checksums, tensor names and shapes. Without a name: all installed ones."""
    from musetalk_cli.engine.weights.inventory import parts_here
    from musetalk_cli.engine.weights.registry import find_weight_sets
    from musetalk_cli.engine.weights.verification import verify as verify_part

    store, weight_sets = weight_store(), find_weight_sets(names)
    wanted = list(dict.fromkeys(part for each in weight_sets for part in each.parts))
    parts = wanted if names else parts_here(weight_sets, store)
    with TransferDisplay(is_quiet=quiet) as display:
        results = [verify_part(part, store.find(part), store.find_settings(part), display) for part in parts]
    _report(results, is_quiet=quiet)


def _report(results: Sequence[CheckResult], *, is_quiet: bool) -> None:
    """A line for each file on stdout; raise ModelError for the first that no model can use."""
    for result in results if not is_quiet else ():
        typer.echo(f"{result.part.title:<13}{result.status:<11}{result.path or ''}\n{'':<13}{result.note}")
    for bad in (result for result in results if not result.is_good):
        raise ModelError(bad.note, hint=weight_store().next_step(bad.note, bad.hint))
