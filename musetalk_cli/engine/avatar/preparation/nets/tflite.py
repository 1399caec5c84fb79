"""Reads the graph of a TFLite file: its operations, the sizes of its maps, and its weights.

A TFLite file is a FlatBuffer: tables whose fields are found through a list of offsets. The numbers of fields and
operators are those of TensorFlow's schema, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MARK = b"TFL3"
FLOAT32, FLOAT16, INT32 = 0, 1, 2
_INT8, _UINT16, _INT32, _UINT32 = (struct.Struct(f"<{code}") for code in "bHiI")
_DTYPES: dict[int, Any] = {FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2"), INT32: np.dtype("<i4")}
SAME = 0  # of padding; the other is valid


class UnreadableNetError(Exception):
    """A file that is no net, or one of another kind than those that can be run here."""


class Operator(IntEnum):
    """Operators that the face nets use, by their numbers in the schema."""

    ADD = 0
    CONCATENATION = 2
    CONVOLUTION = 3
    DEPTHWISE = 4
    DEQUANTIZE = 6
    MAX_POOL = 17
    RELU = 19
    RESHAPE = 22
    PAD = 34
    PRELU = 54


class Tensor(NamedTuple):
    """A map, or weights: then ``data`` holds them, float32 or int32."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[np.generic] | None


class Operation(NamedTuple):
    """One operation: numbers of the tensors that it takes and makes; ``stride`` and ``is_same`` of convolutions."""

    operator: Operator
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stride: int = 1
    is_same: bool = False


class Graph(NamedTuple):
    """A net: its tensors, its operations in order, and the numbers of the tensors that it takes and gives."""

    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(path: Path) -> Graph:
    """Read a file. Raises UnreadableNetError where it is not understood, OSError where it cannot be read."""
    data = memoryview(path.read_bytes())
    if data[4:8] != MARK:
        raise UnreadableNetError(f"{path.name} is not a TFLite file")
    try:
        return _graph_of(_Table(data, *struct.unpack_from("<I", data)))
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise UnreadableNetError(f"{path.name}: {error}") from error


class _Table:
    """One table of a FlatBuffer, whose fields are asked for by number."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at
        fields = at - _number(_INT32, data, at)
        # The list's own length, then that of the table, come before the offsets.
        self._offsets = struct.unpack_from(f"<{max(_number(_UINT16, data, fields) // 2 - 2, 0)}H", data, fields + 4)

    def number(self, field: int, kind: struct.Struct = _INT32, default: int = 0) -> int:
        at = self._find(field)
        return _number(kind, self._data, at) if at else default

    def table(self, field: int) -> _Table | None:
        at = self._find(field)
        return _Table(self._data, self._follow(at)) if at else None

    def tables(self, field: int) -> list[_Table]:
        first, count = self._vector(field)
        offsets = struct.unpack_from(f"<{count}I", self._data, first)
        return [_Table(self._data, first + 4 * i + offset) for i, offset in enumerate(offsets)]

    def numbers(self, field: int) -> tuple[int, ...]:
        first, count = self._vector(field)
        return struct.unpack_from(f"<{count}i", self._data, first)

    def bytes(self, field: int) -> memoryview:
        first, count = self._vector(field)
        return self._data[first : first + count]

    def _find(self, field: int) -> int:
        """Where a field is; 0 where the table has none."""
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self._at + offset if offset else 0

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._find(field)
        if not at:
            return 0, 0
        start = self._follow(at)
        return start + 4, _number(_UINT32, self._data, start)

    def _follow(self, at: int) -> int:
        return at + _number(_UINT32, self._data, at)


def _number(kind: struct.Struct, data: memoryview, at: int) -> int:
    if at < 0:
        raise ValueError("an offset is negative")
    number: int = kind.unpack_from(data, at)[0]
    return number


def _graph_of(model: _Table) -> Graph:
    codes = [max(code.number(0, _INT8), code.number(3)) for code in model.tables(1)]
    (subgraph,) = model.tables(2)
    buffers = [buffer.bytes(0) for buffer in model.tables(4)]
    tensors = [_tensor_of(tensor, buffers) for tensor in subgraph.tables(0)]
    operations = []
    for table in subgraph.tables(3):
        operation = _operation_of(table, Operator(codes[table.number(0, _UINT32)]))
        if operation.operator is Operator.DEQUANTIZE:
            (source,), (target,) = operation.inputs, operation.outputs
            data = tensors[source].data
            if data is None:
                raise ValueError("something else than weights is dequantized")
            tensors[target] = Tensor(tensors[target].name, tensors[target].shape, data.astype(np.float32))
        else:
            operations.append(operation)
    return Graph(tuple(tensors), tuple(operations), subgraph.numbers(1), subgraph.numbers(2))


def _tensor_of(table: _Table, buffers: Sequence[memoryview]) -> Tensor:
    shape, name = table.numbers(0), bytes(table.bytes(3)).decode()
    data = buffers[table.number(2, _UINT32)]
    if not data:
        return Tensor(name, shape, None)
    return Tensor(name, shape, np.frombuffer(data, _DTYPES[table.number(1, _INT8)]).reshape(shape))


def _operation_of(table: _Table, operator: Operator) -> Operation:
    inputs, outputs, options = table.numbers(1), table.numbers(2), table.table(4)
    if operator in (Operator.CONVOLUTION, Operator.DEPTHWISE):
        activation = 3 if operator is Operator.CONVOLUTION else 4
        if options is None or options.number(activation, _INT8) or options.number(1) != options.number(2):
            raise ValueError("a convolution of another kind")
        if any(options.number(field, default=1) != 1 for field in (activation + 1, activation + 2)):
            raise ValueError("a convolution with gaps")
        return Operation(operator, inputs, outputs, options.number(1), options.number(0, _INT8) == SAME)
    if operator is Operator.MAX_POOL:
        if options is None or [options.number(field) for field in (1, 2, 3, 4)] != [2, 2, 2, 2]:
            raise ValueError("a pooling of another kind")
    elif operator is Operator.ADD and options is not None and options.number(0, _INT8):
        raise ValueError("an addition with an activation")
    return Operation(operator, inputs, outputs)
