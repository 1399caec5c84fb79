"""numpy arrays and structures → what C functions are called with, after their shapes and types have been checked."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

_scratch = threading.local()


def scratch(num_floats: int) -> int:
    """Address of so many floats of this thread's memory, which the next call may return, too."""
    if getattr(_scratch, "size", -1) < num_floats:
        _scratch.memory = np.empty(num_floats, np.float32)
        _scratch.size, _scratch.address = num_floats, address(_scratch.memory)
    return int(_scratch.address)


def pointer(array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> int:
    """Address of an array. Raises ValueError where it is not C-contiguous, or has another type or shape."""
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(f"needs a contiguous {np.dtype(dtype)} array {shape}, not {array.dtype} {array.shape}")
    return address(array)


def address(array: NDArray[Any]) -> int:
    """Address of a contiguous array's first value."""
    buffer: Any = array  # mypy does not know that arrays are buffers before Python 3.12
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # a quarter of the time of array.ctypes
    except (TypeError, ValueError):  # empty, or not to be written to
        return int(array.ctypes.data)


def pointer_to_rows(box: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """Address of a box within an array whose rows are longer, and the bytes from one of its rows to the next.

    Raises ValueError where the rows themselves are not contiguous, or the type or shape is another.
    """
    row = 1
    strides: list[int] = []
    for extent in shape[:0:-1]:
        strides.insert(0, row * box.itemsize)
        row *= extent
    if box.dtype != dtype or box.shape != shape or box.strides[1:] != tuple(strides):
        raise ValueError(f"needs rows of a {np.dtype(dtype)} array {shape}, not {box.dtype} {box.shape} {box.strides}")
    return int(box.ctypes.data), int(box.strides[0])


def structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    """A C structure with these fields, in this order: their ctypes types by name."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


def declare(library: ctypes.CDLL, parameters: dict[str, list[Any]], returns: Any = None) -> None:
    """Have functions check the types that they are called with: ctypes types by name; ``returns``: their result's."""
    last = next(reversed(parameters))
    if getattr(library, last).argtypes is not None:  # not the first time
        return
    for name, types in parameters.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returns, types
