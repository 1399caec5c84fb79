"""Who may import whom: the arrows of the engine's map, held by reading the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "musetalk_cli"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
STAGES = {"sources", "blocks", "workers", "compositing", "encoder"}


def imports(path: Path, *, at_top_only: bool = False) -> Iterator[str]:
    """Dotted names that a module imports; those under ``if TYPE_CHECKING`` do not count."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_top_only else _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING"
        if not is_for_types:
            yield child
            yield from _walk(child)


def engine_modules(folder: str = "") -> list[Path]:
    return [path for path in MODULES if path.is_relative_to(PACKAGE / "engine" / folder)]


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", engine_modules(), ids=named)
def test_the_engine_knows_nothing_above_it(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in {"rich", "typer", "click", "pydantic", "yaml"}, f"{named(path)} imports {name}"
        if top == "musetalk_cli":
            allowed = ("musetalk_cli.engine", "musetalk_cli.errors")
            assert name == "musetalk_cli" or name.startswith(allowed), f"{named(path)} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "benchmark").glob("*.py")), ids=named)
def test_the_benchmark_stands_between_commands_and_assembly(path: Path) -> None:
    above = ("musetalk_cli.commands", "musetalk_cli.cli", "musetalk_cli.ui.console", "musetalk_cli.app.runner")
    for name in imports(path):
        assert name.split(".")[0] not in {"rich", "typer", "click"}, f"{named(path)} imports {name}"
        assert not name.startswith(above), f"{named(path)} imports {name}"


def test_only_its_command_knows_the_benchmark() -> None:
    users = {
        named(path)
        for path in MODULES
        if path.parent.name != "benchmark" and any("musetalk_cli.benchmark" in name for name in imports(path))
    }
    assert users == {"commands/bench.py"}


@pytest.mark.parametrize("path", engine_modules(), ids=named)
def test_the_engine_prints_nothing(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert "print" not in {getattr(call, "id", "") for call in calls}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_knows_no_other_stage(stage: str) -> None:
    others = {f"musetalk_cli.engine.{name}" for name in STAGES - {stage}} | {"musetalk_cli.engine.pipeline"}
    assert not others & set(imports(PACKAGE / "engine" / f"{stage}.py"))


@pytest.mark.parametrize("path", engine_modules("models") + engine_modules("avatar"), ids=named)
def test_models_and_avatars_know_no_stage(path: Path) -> None:
    stages = {f"musetalk_cli.engine.{name}" for name in STAGES | {"pipeline", "sinks", "stage"}}
    assert not stages & set(imports(path))


@pytest.mark.parametrize("path", [path for path in engine_modules("models") if path.name != "base.py"], ids=named)
def test_a_model_knows_no_other_model(path: Path) -> None:
    models = "musetalk_cli.engine.models."
    own = (f"{models}{path.parent.name}", f"{models}base")
    assert [name for name in imports(path) if name.startswith(models) and not name.startswith(own)] == []


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


def test_only_the_command_line_turns_errors_into_exit_codes() -> None:
    bare = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []
    exits = [named(path) for path in MODULES if "sys.exit" in path.read_text()]
    assert exits == ["__main__.py", "cli.py"]


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
        "from musetalk_cli.app.avatar_library import choose_avatar\n"
        "from musetalk_cli.config import Config\n"
        "from musetalk_cli.app.model_choice import choose_model\n"
        "import musetalk_cli.engine.pipeline, musetalk_cli.engine.audio.sources, musetalk_cli.app.runner\n"
        "chosen = choose_avatar(Config())\n"
        "name = choose_model(Config(), print)\n"
        "build_model(Config(), name, chosen, chosen.load(), print)"
    )
    assert "cv2" in loaded
    assert not loaded & {"torch", "mediapipe", "onnxruntime", "scipy", "sounddevice"}
