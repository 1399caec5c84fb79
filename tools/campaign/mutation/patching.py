"""Puts a changed module's code into the functions of the one that is loaded, so that nothing is imported again.

What cannot be changed in place, defaults of parameters and what a decorator has made of them, raises CannotPatch.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np


class CannotPatch(Exception):  # noqa: N818 - not an error: another way has to be taken
    """The change shows only when the module is imported."""


def patch(module: types.ModuleType, changed: bytes) -> None:
    """Make a loaded module do what its changed source says.

    Raises CannotPatch when nothing in it can be replaced, and whatever the changed source raises when it is run.
    """
    code = compile(changed, module.__file__ or "", "exec")
    codes = dict(_codes(code, ""))
    num_changed = 0
    for function in _functions(module):
        new = codes.get(function.__qualname__)
        if new is not None and _differs(new, function.__code__):
            function.__code__ = new
            num_changed += 1
    if not num_changed and not _patch_constants(module, code):
        raise CannotPatch(module.__name__)


def _codes(code: types.CodeType, prefix: str) -> Iterator[tuple[str, types.CodeType]]:
    """Qualified names, and the code of each function and class."""
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            name = prefix + inner.co_name
            yield name, inner
            is_function = inner.co_flags & inspect.CO_OPTIMIZED
            yield from _codes(inner, f"{name}.<locals>." if is_function else f"{name}.")


def _functions(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """The functions that a module defines, those of its classes included, without what decorators put around them."""
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            for inner in list(vars(value).values()):
                yield from _inside(inner, module)
        else:
            yield from _inside(value, module)


def _inside(value: Any, module: types.ModuleType) -> Iterator[types.FunctionType]:
    if isinstance(value, property):
        for part in (value.fget, value.fset):
            yield from _inside(part, module)
        return
    value = getattr(value, "__func__", value)  # static methods and those of a class
    value = getattr(value, "func", value) if type(value).__name__ == "cached_property" else value
    value = getattr(value, "__wrapped__", value)
    if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
        yield value


def _differs(one: types.CodeType, other: types.CodeType) -> bool:
    """Apart from positions in the text."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return True
    return len(one.co_consts) != len(other.co_consts) or any(
        _differs(a, b) if isinstance(a, types.CodeType) and isinstance(b, types.CodeType) else repr(a) != repr(b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _patch_constants(module: types.ModuleType, code: types.CodeType) -> bool:
    """Whether constants of the module differ; they are replaced in it, and wherever they have been imported."""
    scratch = types.ModuleType(module.__name__)
    scratch.__file__ = module.__file__
    # Dataclasses look their module up.
    sys.modules[module.__name__] = scratch
    try:
        exec(code, vars(scratch))  # noqa: S102 - our own source, with a small change
    finally:
        sys.modules[module.__name__] = module
    own = vars(module)
    changed = [
        name
        for name, value in vars(scratch).items()
        if not name.startswith("__") and name in own and _is_other(value, own[name])
    ]
    for name in changed:
        old = own[name]
        for other in list(sys.modules.values()):
            if getattr(other, "__dict__", {}).get(name) is old:
                setattr(other, name, vars(scratch)[name])
    return bool(changed)


def _is_other(value: Any, before: Any) -> bool:
    """Whether a constant has changed; of other objects nobody can say."""
    if isinstance(value, np.ndarray):
        return value.tobytes() != before.tobytes()
    return isinstance(value, (int, float, str, bytes, tuple, list, dict)) and repr(value) != repr(before)
