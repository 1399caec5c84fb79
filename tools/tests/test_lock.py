"""The lock file: it covers what pyproject.toml asks for, each with a hash, and nothing of one machine."""

from __future__ import annotations

import re
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.assets.lock import LOCK, ROOT, without_hashes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [
    *PYPROJECT["dependencies"],
    *(each for extra in PYPROJECT["optional-dependencies"].values() for each in extra),
]
PINNED = [Requirement(line) for line in without_hashes(LOCK.read_text(encoding="utf-8")).splitlines()]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.14"])
@pytest.mark.parametrize("line", sorted(set(WANTED)))
def test_what_the_project_asks_for_is_pinned_in_its_range(line: str, python: str) -> None:
    wanted, system = Requirement(line), {"python_version": python, "python_full_version": f"{python}.0"}
    if not applies(wanted, system):
        return
    versions = [
        str(next(iter(pinned.specifier)).version)
        for pinned in PINNED
        if canonicalize_name(pinned.name) == canonicalize_name(wanted.name) and applies(pinned, system)
    ]
    assert len(versions) == 1, f"run python -m tools.assets.lock: {wanted.name} has {len(versions)} versions"
    assert wanted.specifier.contains(versions[0])


def applies(requirement: Requirement, system: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(system)


def test_everything_is_pinned_with_hashes() -> None:
    blocks = re.split(r"\n(?=\S)", "\n".join(LOCK.read_text(encoding="utf-8").splitlines()))
    pins = [block for block in blocks if not block.startswith("#")]
    assert len(pins) == len(PINNED) > 100
    assert [block.splitlines()[0] for block in pins if "--hash=sha256:" not in block] == []


def test_no_index_is_named() -> None:
    assert "://" not in LOCK.read_text(encoding="utf-8")
