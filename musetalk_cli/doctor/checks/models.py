"""Each lip-sync model, the face nets, the avatars and the extras: ready, or what is missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from musetalk_cli.app.settings.folders import cache_folder, weight_store
from musetalk_cli.doctor.checks.finding import Finding, Setup, absent, ok, warning
from musetalk_cli.errors import AvatarError
from musetalk_cli.installation import install_command
from musetalk_cli.system.folders import expand

# Modules of each extra.
EXTRAS = {
    "session": ("av",),
    "serve": ("starlette", "uvicorn", "websockets", "prometheus_client", "av"),
    "neural": ("torch", "safetensors", "huggingface_hub"),
    "pipecat": ("pipecat",),
    "livekit": ("livekit.agents",),
}


def check_models(setup: Setup) -> list[Finding]:
    """The built-in model's files, and the neural models' weights and libraries."""
    from musetalk_cli.engine.weights.inventory import describe_all

    missing = [name for name in ("torch", "safetensors") if not _is_there(name)]
    sets = [each for each in describe_all(weight_store()) if each["name"].startswith("musetalk-")]
    return [_check_warp(), *(_judge_weights(each, missing) for each in sets)]


def _check_warp() -> Finding:
    from musetalk_cli.engine.avatar.portrait import portrait_names
    from musetalk_cli.support.versions import PACKAGE

    names = portrait_names()
    is_whole = (PACKAGE / "assets" / "mouth_net.npz").is_file() and bool(names)
    if not is_whole:
        return Finding("model warp", "failure", "files that ship are missing", "install musetalk again")
    return ok("model warp", f"ready, with the avatars {' and '.join(names)}")


def _judge_weights(described: dict[str, Any], missing_modules: list[str]) -> Finding:
    name, parts = f"model {described['name']}", described["parts"]
    missing = [each["title"] for each in parts if each["state"] in ("missing", "begun")]
    doubtful = [each["title"] for each in parts if each["state"] == "doubtful"]
    if not missing and not doubtful and not missing_modules:
        return ok(name, "ready")
    wanted = [f"weights of {', '.join(missing)} ({described['download_bytes'] / 1e9:.1f} GB)"] if missing else []
    wanted += [f"{', '.join(doubtful)} may be damaged"] if doubtful else []
    wanted += [" and ".join(missing_modules)] if missing_modules else []
    steps = [install_command("neural")] if missing_modules else []
    steps += [f"musetalk models download {described['name']}"] if missing else []
    steps += [f"musetalk models verify {described['name']}"] if doubtful else []
    # What is optional and was never begun is no fault.
    is_begun = doubtful or len(missing) < len(parts)
    finding = warning if is_begun else absent
    state = "not ready" if is_begun else "not installed, optional"
    return finding(name, f"{state}: {'; '.join(wanted)}", "; ".join(steps))


def check_avatars(setup: Setup) -> list[Finding]:
    """The face nets, which prepare faces of one's own, and the avatars that were prepared."""
    return [_check_face_nets(setup), _check_prepared(setup)]


def _check_face_nets(setup: Setup) -> Finding:
    from musetalk_cli.engine.avatar.preparation.face_models import locate_face_models

    given = setup.config.face_models
    found = locate_face_models(expand(given) if given else None, cache_folder() / "face-models")
    if found is None:
        step = "the first own image or video downloads them, 36 MB; doctor --network tries the connection"
        return warning("face nets", "not downloaded yet; only faces of your own need them", step)
    return ok("face nets", f"ready, in {found.detector.parent}")


def _check_prepared(setup: Setup) -> Finding:
    from musetalk_cli.app.avatars.listing import list_avatars

    try:
        found = [each for each in list_avatars(setup.config) if each.kind != "built in"]
    except AvatarError as error:
        return warning("own avatars", str(error), error.hint or "set MUSETALK_HOME to a folder that you may read")
    damaged = [each.name for each in found if each.problem]
    if damaged:
        return warning("own avatars", f"{len(found)}, damaged: {', '.join(damaged)}", "prepare them again")
    return ok(
        "own avatars", str(len(found)) if found else "none yet", "" if found else "musetalk prepare-avatar me.jpg"
    )


def check_extras(setup: Setup) -> list[Finding]:
    """Which extras are installed, by their modules."""
    findings = []
    for name, modules in EXTRAS.items():
        missing, hint = [module for module in modules if not _is_there(module)], install_command(name)
        if not missing:
            findings.append(ok(f"extra {name}", "installed"))
        elif len(missing) == len(modules) or (name == "serve" and missing == list(modules[:-1])):
            findings.append(absent(f"extra {name}", "not installed, optional", hint))
        else:
            findings.append(warning(f"extra {name}", f"incomplete: without {', '.join(missing)}", hint))
    return findings


def _is_there(module: str) -> bool:
    """Whether a module is installed; it is not imported, though the packages above it are."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
