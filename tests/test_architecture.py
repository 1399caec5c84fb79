"""Who may import whom: the rooms of docs/architecture.md, held by reading the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "musetalk_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(PACKAGE.rglob("*.[ch]"))
CODE = (".py", ".c", ".h")
MAX_FILES_PER_ROOM = 13

# Each room and what it may import besides itself; docs/architecture.md has a sentence on each.
ENGINE = "musetalk_cli.engine"
MUSETALK = f"{ENGINE}.models.musetalk"
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "hints": set(),
    "option_names": set(),
    "system": set(),
    "ending": set(),
    "installation": set(),
    "configuration": {"errors"},
    "engine.types": {"errors"},
    "engine.runtime": {"engine.types"},
    "engine.audio": {"engine.runtime", "engine.types"},
    "engine.outputs.mp4": {"engine.types"},
    "engine.outputs": {"engine.outputs.mp4", "engine.runtime", "engine.types"},
    "engine.live": {"engine.audio", "engine.outputs", "engine.runtime", "engine.types"},
    "engine.video": {"engine.outputs", "engine.outputs.mp4", "engine.runtime", "engine.types"},
    "engine.native": {"engine.types"},
    "engine.avatar": {"engine.native", "engine.runtime", "engine.types"},
    "engine.avatar.inputs": {"engine.avatar", "engine.runtime", "engine.types"},
    "engine.avatar.preparation": {
        "engine.avatar",
        "engine.avatar.inputs",
        "engine.avatar.preparation.checks",
        "engine.avatar.preparation.cutout",
        "engine.avatar.preparation.nets",
        "engine.runtime",
        "engine.types",
    },
    "engine.avatar.preparation.nets": {"engine.avatar", "engine.native", "engine.types"},
    "engine.avatar.preparation.checks": {"engine.avatar", "engine.types"},
    "engine.avatar.preparation.cutout": {"engine.avatar", "engine.avatar.inputs", "engine.runtime", "engine.types"},
    "engine.models": {"engine.types"},
    "engine.models.warp.audio": {"engine.types"},
    "engine.models.warp.native.pixels": {"engine.native", "engine.types"},
    "engine.models.warp.native": {"engine.native", "engine.types", "engine.models.warp.native.pixels"},
    "engine.models.warp.native.video": {
        "engine.native",
        "engine.types",
        "engine.models.warp.native",
        "engine.models.warp.native.pixels",
    },
    "engine.models.warp.face": {
        "engine.avatar",
        "engine.native",
        "engine.types",
        "engine.models.warp.native",
        "engine.models.warp.native.pixels",
    },
    "engine.models.warp.idle": {
        "engine.avatar",
        "engine.types",
        "engine.models.warp.face",
        "engine.models.warp.native",
        "engine.models.warp.native.pixels",
    },
    "engine.models.warp": {"engine.avatar", "engine.native", "engine.types", "engine.models", "engine.models.warp.*"},
    "engine.models.musetalk.checkpoints": {"engine.models.musetalk.nets"},
    "engine.models.musetalk.nets": set(),
    "engine.models.musetalk.audio": {"engine.types", "engine.models.musetalk.nets"},
    "engine.models.musetalk.face": {
        "engine.avatar",
        "engine.runtime",
        "engine.types",
        "engine.models.musetalk.nets",
        "engine.models.musetalk.checkpoints",
    },
    "engine.models.musetalk.inference": {
        "engine.avatar",
        "engine.runtime",
        "engine.types",
        "engine.models.musetalk.*",
    },
    "engine.models.musetalk": {
        "engine.avatar",
        "engine.runtime",
        "engine.types",
        "engine.models",
        "engine.models.musetalk.*",
    },
    "engine.dub": {
        "engine.audio",
        "engine.avatar",
        "engine.avatar.inputs",
        "engine.avatar.preparation",
        "engine.models.musetalk.audio",
        "engine.models.warp",
        "engine.models.warp.audio",
        "engine.runtime",
        "engine.types",
        "engine.video",
    },
    "engine.weights": {
        "engine.runtime",
        "engine.types",
        "engine.models.musetalk.nets",
        "engine.models.musetalk.checkpoints",
    },
    "engine": {"engine.*"},
    "support": {"engine.types"},
    "doctor.checks": {"app", "app.avatars", "app.settings", "configuration", "engine", "engine.*", "support"},
    "doctor": {"app.settings", "configuration", "doctor.checks", "support"},
    "ui": {"configuration", "engine", "engine.*"},
    "app.settings": {"configuration", "engine.*"},
    "app.avatars": {"app.settings", "configuration", "engine.*", "ui"},
    "app.running": {"ending", "engine", "engine.*", "ui"},
    "app": {"app.avatars", "app.running", "app.settings", "configuration", "ending", "engine", "engine.*", "ui"},
    "app.dubbing": {"app", "app.settings", "configuration", "ending", "engine", "engine.*", "ui"},
    "app.batch": {"app", "app.avatars", "app.running", "app.settings", "configuration", "engine", "engine.*", "ui"},
    "app.cluster": {"app", "app.batch", "app.settings", "configuration", "ending", "engine", "engine.*"},
    "integrations": set(),  # the public interface, `musetalk_cli`, and nothing below it
    "benchmark.workload": {"app", "app.avatars", "app.settings", "configuration", "engine", "engine.*"},
    "benchmark.comparison": {
        "app",
        "app.avatars",
        "app.settings",
        "benchmark.workload",
        "configuration",
        "engine",
        "engine.*",
    },
    "benchmark.measurements": {
        "app",
        "benchmark.comparison",
        "benchmark.workload",
        "configuration",
        "engine",
        "engine.*",
        "support",
    },
    "benchmark.report": {"benchmark.comparison", "benchmark.measurements", "benchmark.workload", "engine", "engine.*"},
    "serve": {"app", "app.avatars", "configuration", "engine", "engine.*", "ui"},
    "serve.worker": {"app", "app.settings", "configuration", "engine", "engine.*", "serve", "support", "ui"},
    "serve.front": {"app.settings", "configuration", "engine", "engine.*", "serve", "ui"},
    "serve.cluster": {"app", "app.cluster", "configuration", "serve", "serve.front"},
    "commands.common": {"app", "app.settings", "configuration", "engine", "engine.*", "ui"},
    "commands.values": {"installation"},
    "commands": {
        "commands.values",
        "commands.common",
        "app",
        "app.*",
        "benchmark.*",
        "configuration",
        "doctor",
        "ending",
        "engine",
        "engine.*",
        "serve",
        "serve.cluster",
        "serve.front",
        "support",
        "ui",
    },
    "cli": {"commands", "commands.common", "ending", "support", "ui"},
    "__main__": {"cli", "ending"},
}


def imports(path: Path, *, at_top_only: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, also under ``if TYPE_CHECKING``; ``at_top_only``: what it loads."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    """The folder of a module, dotted; a module of the package's own folder is a room by itself."""
    relative = path.relative_to(PACKAGE)
    return ".".join(relative.parts[:-1]) or relative.stem


def imported_rooms(path: Path) -> set[str]:
    """Rooms of the package that a module imports from."""
    found = set()
    for name in imports(path):
        target = ROOT / Path(*name.split("."))
        module = target.with_suffix(".py")
        if name.startswith("musetalk_cli.") and module.is_file():
            found.add(room_of(module))
    return found


def included_rooms(source: Path) -> set[str]:
    """Rooms of the engine of which a C file includes a header; all are named from the engine's folder on."""
    return {room_of(PACKAGE / "engine" / name) for name in re.findall(r'^#include "(.+)"$', source.read_text(), re.M)}


def is_allowed(room: str, other: str) -> bool:
    """Whether a room may import from another: named, or below a name with a star.

    Everybody may raise errors with hints, ask the operating system, and say how to install what is missing.
    """
    allowed = ROOMS[room] | {room, "errors", "hints", "installation", "option_names", "system"}
    return other in allowed or any(name.endswith(".*") and other.startswith(name[:-1]) for name in allowed)


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=named)
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{room} is a new room: say what it may import"
    above = {other for other in imported_rooms(path) if not is_allowed(room, other)}
    assert above == set(), f"{named(path)} imports from {sorted(above)}"


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_includes_point_down(source: Path) -> None:
    above = {other for other in included_rooms(source) if not is_allowed(room_of(source), other)}
    assert above == set(), f"{named(source)} includes from {sorted(above)}"


def test_no_room_imports_itself_through_another() -> None:
    arrows = {room: set[str]() for room in ROOMS}
    for path in MODULES:
        if path.name != "__init__.py":
            arrows[room_of(path)] |= imported_rooms(path) - {room_of(path)}
    for source in SOURCES:
        arrows[room_of(source)] |= included_rooms(source) - {room_of(source)}
    left = dict(arrows)
    while leaves := [room for room, others in left.items() if not others & set(left)]:
        for room in leaves:
            del left[room]
    assert left == {}, f"these rooms import each other in a circle: {left}"


def test_every_room_is_small() -> None:
    for folder in sorted({path.parent for path in MODULES}):
        count = len([path for path in folder.iterdir() if path.suffix in CODE and path.name != "__init__.py"])
        assert count <= MAX_FILES_PER_ROOM, f"{named(folder)} holds {count} files"


@pytest.mark.parametrize("path", [path for path in MODULES if "engine" in path.parts], ids=named)
def test_the_engine_neither_draws_nor_reads_settings(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"rich", "typer", "click", "pydantic", "yaml"}
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert "print" not in {getattr(call, "id", "") for call in calls}


@pytest.mark.parametrize("path", [path for path in MODULES if "benchmark" in path.parts], ids=named)
def test_the_benchmark_draws_nothing(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {"rich", "typer", "click"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "commands").glob("*.py")), ids=named)
def test_a_command_is_thin_and_imports_late(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 150
    for name in imports(path, at_top_only=True):
        assert not name.startswith("musetalk_cli.engine"), f"{named(path)} imports {name} at the top"
    others = {f"musetalk_cli.commands.{other.stem}" for other in path.parent.glob("*.py")} - {
        "musetalk_cli.commands.options",
        f"musetalk_cli.commands.{path.stem}",
    }
    assert not others & set(imports(path))


@pytest.mark.parametrize("folder, other", [("tools", "tests"), ("tests", "tools"), ("fixtures", "tests")])
def test_tools_and_tests_share_fixtures_and_nothing_else(folder: str, other: str) -> None:
    users = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*.py")
        if any(name.split(".")[0] == other for name in imports(path))
    ]
    assert users == []


def test_the_encoder_alone_cuts_fragments() -> None:
    """Everything behind it gets them whole; what measures a command from outside has only its bytes."""
    users = [named(path) for path in MODULES if "FragmentSplitter(" in path.read_text()]
    assert users == ["benchmark/measurements/cold_start.py", "engine/video/encoder.py"]


def test_ffmpeg_reasons_are_found_in_one_place() -> None:
    users = [named(path) for path in MODULES if any(mark in path.read_text() for mark in ("[error]", "[fatal]"))]
    assert users == ["engine/runtime/ffmpeg.py"]


def test_only_the_command_line_turns_errors_into_exit_codes() -> None:
    bare = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []
    exits = [named(path) for path in MODULES if re.search(r"sys\.exit|(SystemExit|SignalExit)\(1", path.read_text())]
    assert exits == ["__main__.py", "app/cluster/ray_cluster.py", "cli.py", "ending.py"]


def test_long_signatures_are_documented_one_by_one() -> None:
    """Public functions of more than four parameters say what each is; a command's are described by its options."""
    silent = []
    for path in MODULES:
        if path.parent.name == "commands":
            continue
        for scope in ast.walk(ast.parse(path.read_text())):
            for node in getattr(scope, "body", []) if isinstance(scope, ast.Module | ast.ClassDef) else []:
                owner = scope if isinstance(scope, ast.ClassDef) else None
                if isinstance(node, ast.FunctionDef) and is_public(node, owner) and num_parameters(node) > 4:
                    text = (ast.get_docstring(node) or "") + ((owner and ast.get_docstring(owner)) or "")
                    silent += [] if "Args:" in text else [f"{named(path)}:{node.lineno} {node.name}"]
    assert silent == []


def is_public(node: ast.FunctionDef, owner: ast.ClassDef | None) -> bool:
    return (not node.name.startswith("_") or node.name == "__init__") and not (owner and owner.name.startswith("_"))


def num_parameters(node: ast.FunctionDef) -> int:
    arguments = node.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("import musetalk_cli.__main__, musetalk_cli.cli")
    assert not loaded & {"numpy", "cv2", "torch", "pydantic", "yaml", "ffmpeg", "musetalk_cli.engine.pipeline"}


def test_the_default_path_loads_neither_torch_nor_a_face_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    loaded = loaded_by(
        "from musetalk_cli.app.assembly import build_model\n"
        "from musetalk_cli.app.avatars.choice import choose_avatar\n"
        "from musetalk_cli.configuration.schema import Config\n"
        "from musetalk_cli.app.model_choice import choose_model\n"
        "import musetalk_cli.engine.pipeline, musetalk_cli.engine.audio.sources, musetalk_cli.app.runner\n"
        "chosen = choose_avatar(Config())\n"
        "name = choose_model(Config(), print)\n"
        "build_model(Config(), name, chosen, chosen.load(), print)"
    )
    assert "cv2" in loaded
    assert not loaded & {"torch", "mediapipe", "onnxruntime", "scipy", "sounddevice"}
    unused = ("installation", "app.avatars.preparation", "app.settings.arguments", "engine.outputs.hls")
    assert not loaded & {"socket", "pydantic", *(f"musetalk_cli.{name}" for name in unused)}


def test_a_command_that_is_named_first_loads_no_other() -> None:
    code = "import sys; sys.argv[1:] = {}; from musetalk_cli import cli; {}"
    named = loaded_by(code.format(["render", "a.wav"], "cli._chosen()"))
    assert "musetalk_cli.commands.render" in named
    assert not named & {f"musetalk_cli.commands.{name}" for name in ("bench", "dub", "avatars", "models", "stream")}
    assert "musetalk_cli.commands.bench" not in loaded_by(code.format(["--version"], "cli._chosen()"))
    for unnamed in (["--verbose", "render"], ["rendr"], ["avatars"], []):
        assert "musetalk_cli.commands.bench" in loaded_by(code.format(unnamed, "cli._chosen()")), unnamed


def test_the_decoder_starts_before_anything_heavy_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    loaded = loaded_by(
        "import os, subprocess, sys\n"
        "begin = subprocess.Popen.__init__\n"
        "def look(self, args, *more, **options):\n"
        "    if any(str(each).endswith('hello.wav') for each in args):\n"
        "        os.write(1, chr(10).join(sys.modules).encode())\n"
        "        os._exit(0)\n"
        "    begin(self, args, *more, **options)\n"
        "subprocess.Popen.__init__ = look\n"
        f"sys.argv = ['musetalk', 'render', {str(ROOT / 'examples' / 'hello.wav')!r}, '-o', '-', '-q']\n"
        "sys.argv += ['--size', '512', '--fps', '30', '--device', 'cpu', '--precision', 'fp32', '--silence-gate']\n"
        "from musetalk_cli.__main__ import main\n"
        "main()"
    )
    assert "musetalk_cli.engine.audio.decoder" in loaded
    assert not loaded & {"numpy", "cv2", "pydantic", "musetalk_cli.engine.pipeline"}
