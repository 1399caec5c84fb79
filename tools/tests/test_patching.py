"""A changed module in place of the one that is loaded: whatever is called, does what the change says."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.campaign.mutation.patching import CannotPatch, patch

SOURCE = """
from __future__ import annotations
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

LIMIT = 8

def add(a, b, bonus=1):
    return a + b + bonus * 0

@dataclass(frozen=True)
class Box:
    width: int = 3

    @property
    def area(self):
        return self.width * 2

    @cached_property
    def cached(self):
        return self.width * 4

    @staticmethod
    def fixed():
        return 5

    @classmethod
    def made(cls):
        return cls(6)

    def inner(self):
        return (lambda value: value + 7)(self.width)

    def below(self):
        return self.width < LIMIT

@contextmanager
def opened():
    yield 9
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    (tmp_path / "patched_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("patched_module")
    del sys.modules["patched_module"]


def change(module: types.ModuleType, old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    patch(module, SOURCE.replace(old, new).encode())


def test_functions_and_all_kinds_of_methods_change(module: types.ModuleType) -> None:
    box, add = module.Box(), module.add
    change(module, "a + b +", "a - b +")
    assert add(5, 2) == 3
    change(module, "self.width * 2", "self.width * 20")
    assert box.area == 60
    change(module, "self.width * 4", "self.width * 40")
    assert box.cached == 120
    change(module, "return 5", "return 50")
    assert module.Box.fixed() == 50
    change(module, "cls(6)", "cls(60)")
    assert module.Box.made().width == 60
    change(module, "value + 7", "value + 70")
    assert box.inner() == 73
    change(module, "yield 9", "yield 90")
    with module.opened() as value:
        assert value == 90


def test_a_constant_changes_wherever_it_was_imported(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    user = types.ModuleType("user_of_patched_module")
    user.LIMIT = module.LIMIT  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, user.__name__, user)
    change(module, "LIMIT = 8", "LIMIT = 2")
    assert (module.LIMIT, user.LIMIT) == (2, 2)  # type: ignore[attr-defined]
    assert not module.Box().below()


@pytest.mark.parametrize(("old", "new"), [("bonus=1", "bonus=2"), ("width: int = 3", "width: int = 4")])
def test_what_shows_only_at_import_is_left_to_an_import(module: types.ModuleType, old: str, new: str) -> None:
    with pytest.raises(CannotPatch):
        change(module, old, new)
    assert sys.modules["patched_module"] is module
