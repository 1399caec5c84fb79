"""Finds weights on this computer: in our own models folder and in imported folders, which are used in place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from musetalk_cli.engine.runtime.files import replace_file
from musetalk_cli.engine.weights.registry import WEIGHT_SETS, Part, PartKind, WeightSet
from musetalk_cli.errors import ANOTHER_COPY, ModelError, system_words
from musetalk_cli.system.locks import lock_folder
from musetalk_cli.system.small_files import read_small_json

IMPORTS = "imported.json"
STAGING = ".download"


class WeightStore:
    """The weights under a home folder. The models folder is created when something is written."""

    def __init__(self, home: Path) -> None:
        self.models = home / "models"

    def imported(self) -> list[Path]:
        """Imported folders. Raises ModelError when their list is damaged."""
        return [Path(folder) for folder in self._read_imports()["folders"]]

    def custom_records(self) -> dict[str, dict[str, Any]]:
        """Custom models by name, as ``CustomModel.as_record`` has them. Raises ModelError for a damaged list."""
        return dict(self._read_imports()["models"])

    def _read_imports(self) -> dict[str, Any]:
        path = self.models / IMPORTS
        try:
            values = read_small_json(path)
            models = {
                str(name): {"base": str(each["base"]), "files": {str(k): str(v) for k, v in each["files"].items()}}
                for name, each in values.get("models", {}).items()
            }
            return {"folders": [str(Path(folder)) for folder in values["folders"]], "models": models}
        except (FileNotFoundError, NotADirectoryError):
            return {"folders": [], "models": {}}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"cannot read the list of imported folders, {path}: {system_words(error)}",
                hint="delete it and import them again",
            ) from None

    @contextmanager
    def _changed_imports(self) -> Iterator[dict[str, Any]]:
        """The list, to be changed; it is written afterwards. Nobody else changes it meanwhile.

        Raises ModelError when it is damaged or cannot be written.
        """
        path = self.models / IMPORTS
        try:
            self.models.mkdir(parents=True, exist_ok=True)
            with lock_folder(self.models, waits=True):
                imports = self._read_imports()
                yield imports
                kept = {key: value for key, value in imports.items() if value or key == "folders"}
                with replace_file(path) as staged:
                    staged.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ModelError(f"cannot write {path}: {system_words(error)}") from None

    def keep_custom(self, name: str, record: dict[str, Any] | None) -> None:
        """Keep a custom model under a name, or, without a record, forget it. Raises ModelError when the list cannot be
        written."""
        with self._changed_imports() as imports:
            imports["models"].pop(name, None)
            if record is not None:
                imports["models"][name] = record

    def refer_to(self, folder: Path) -> None:
        """Import an upstream ``models`` folder in place. Raises ModelError when the list cannot be written."""
        if folder in self.imported():
            return
        with self._changed_imports() as imports:
            imports["folders"] = list(dict.fromkeys([*imports["folders"], str(folder)]))

    def find(self, part: Part) -> Path | None:
        """The file to use for a part; our folder has priority over imported ones."""
        return find_in([self.models, *self.imported()], part)

    def find_settings(self, part: Part) -> Path | None:
        """A part's config file, beside its weights."""
        weights = self.find(part)
        if weights is None or part.settings is None:
            return None
        path = weights.parent / Path(part.settings.name).name
        return path if path.is_file() else None

    def next_step(self, problem: str, hint: str) -> str:
        """``hint``, but for a damaged file that ``problem`` names and that `musetalk models download` brought, how it
        comes again. A file of another size is a user's own."""
        for weight_set in WEIGHT_SETS if hint == ANOTHER_COPY else ():
            for file in weight_set.files:
                path = self.models / file.path
                if str(path) in problem and path.is_file() and path.stat().st_size == file.num_bytes:
                    return f"delete it and download it again: musetalk models download {weight_set.name}"
        return hint

    def places(self) -> str:
        """For messages: our folder, and imported ones that no longer exist."""
        gone = [f"; {each} was imported and no longer exists" for each in self.imported() if not each.is_dir()]
        return "".join([str(self.models), *gone])

    def require(self, weight_set: WeightSet) -> dict[PartKind, Path]:
        """Every part's file. Raises ModelError with the missing parts and the command that downloads them."""
        found = {part.kind: self.find(part) for part in weight_set.parts}
        missing = [part.title for part in weight_set.parts if found[part.kind] is None]
        if missing:
            raise ModelError(
                f"the weights of {weight_set.title} are not all here: {', '.join(missing)} missing in {self.places()}",
                hint=f"musetalk models download {weight_set.name}, or musetalk models import DIR if you have them",
            )
        return {kind: path for kind, path in found.items() if path is not None}


def find_in(folders: Sequence[Path], part: Part) -> Path | None:
    """The first of a part's paths that exists in one of ``folders``, earlier folders first."""
    paths = (folder / path for folder in folders for path in part.paths)
    return next((path for path in paths if path.is_file()), None)
