"""A net's graph → the steps of ``nets.c``: where each map is, and the weights in the order in which they are read.

The face nets are convolutions and blocks: a depthwise convolution, one by 1 × 1, and the block's own input added, whose
2 × 2 pixels are pooled where the block halves its size, and whose channels are filled up where it has fewer.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.nets.arena import place_maps
from musetalk_cli.engine.avatar.preparation.nets.tflite import Graph, Operation, Operator, Tensor, UnreadableNetError

WIDE = 8  # WIDE, CHUNK_PX and the order of fields of nets.c
CHUNK_PX = 48
MAP, BLOCK = 0, 1
# The face nets need 0.4 million for their maps, and 0.6 for their weights; an int32 counts further.
MAX_FLOATS = 1 << 26


class Map(NamedTuple):
    """A map, float32 (height, width, filled), of whose channels the first ones count; ``number`` in order of making."""

    number: int
    height: int
    width: int
    channels: int
    filled: int

    @property
    def size(self) -> int:
        """How many floats it holds."""
        return self.height * self.width * self.filled


class Layout(NamedTuple):
    """What ``nets_run`` takes, and where it leaves the results.

    ``steps`` int32 (n, fields); ``weights`` float32; ``arena`` and ``scratch``: how many floats they hold; ``height``
    and ``width`` of the image. ``places``: where each map begins in the arena. ``outputs``: by the name of each result,
    the maps whose values it is made of.
    """

    steps: NDArray[np.int32]
    weights: FloatArray
    arena: int
    scratch: int
    height: int
    width: int
    places: list[int]
    outputs: dict[str, tuple[Map, ...]]


class _Unfinished(NamedTuple):
    """Operations that become one step once what ends it is known."""

    source: Map
    matrix: FloatArray  # (depth, outputs)
    biases: FloatArray
    kernel: int
    stride: int
    padding: tuple[int, int]  # above and to the left
    size: tuple[int, int]
    taps: FloatArray | None = None  # (10, channels): nine taps and the biases, of a block
    residual: Map | None = None
    is_pooled: bool = False


class _Depthwise(NamedTuple):
    source: Map
    taps: FloatArray
    stride: int
    padding: tuple[int, int]
    size: tuple[int, int]


class _Pooled(NamedTuple):
    """The maxima of a map's 2 × 2 pixels, which only a block's sum reads."""

    source: Map


def lay_out(graph: Graph) -> Layout:
    """Lay out a net that takes one RGB image. Raises UnreadableNetError where it has parts that ``nets.c`` has not."""
    try:
        return _Planner(graph).plan()
    except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise UnreadableNetError(f"a net of another kind: {error}") from error


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._maps: dict[int, Map] = {}
        self._parts: dict[int, tuple[Map, ...]] = {}
        self._waiting: dict[int, _Unfinished | _Depthwise | _Pooled] = {}
        self._uses = Counter(number for operation in graph.operations for number in operation.inputs)
        self._made: list[Map] = []
        self._steps: list[tuple[_Unfinished, Map, int, int]] = []
        self._weights: list[FloatArray] = []
        self._num_weights, self._scratch = 0, 0

    def plan(self) -> Layout:
        graph = self._graph
        (image,) = graph.inputs
        _, height, width, channels = graph.tensors[image].shape
        if channels != 3:
            raise ValueError("its image has other channels")
        self._maps[image] = self._place(height, width, channels, channels)
        for operation in graph.operations:
            self._take(operation)
        outputs = {graph.tensors[number].name: self._values_of(number) for number in graph.outputs}
        places = self._places([part for parts in outputs.values() for part in parts])
        arena = max(place + each.size for place, each in zip(places, self._made, strict=True))
        if max(arena, self._scratch, self._num_weights) > MAX_FLOATS:
            raise ValueError("its maps are too large")
        steps = np.array([_fields(*step, places) for step in self._steps], np.int32)
        weights = np.concatenate(self._weights, dtype=np.float32)
        return Layout(steps, weights, arena, self._scratch, height, width, places, outputs)

    def _places(self, results: list[Map]) -> list[int]:
        read_until = dict.fromkeys(range(len(self._made)), 0)
        made_by = {0: -1}
        for number, (step, made, _, _) in enumerate(self._steps):
            made_by[made.number] = number
            for each in (step.source, step.residual, made):
                if each is not None:
                    read_until[each.number] = number
        read_until |= {each.number: len(self._steps) for each in results}
        return place_maps([each.size for each in self._made], made_by, read_until)

    def _take(self, operation: Operation) -> None:
        kind, (first, *others), (made,) = operation.operator, operation.inputs, operation.outputs
        if kind is Operator.DEPTHWISE:
            self._waiting[made] = self._depthwise(operation)
        elif kind is Operator.CONVOLUTION:
            self._waiting[made] = self._convolution(operation)
        elif kind is Operator.MAX_POOL:
            self._waiting[made] = _Pooled(self._filled_map(first))
        elif kind is Operator.PAD:
            self._fill_up(first, made)
        elif kind is Operator.ADD:
            self._waiting[made] = self._sum(first, *others)
        elif kind is Operator.PRELU:
            self._finish(first, made, self._data(others[0]).reshape(-1))
        elif kind is Operator.RELU:
            self._finish(first, made, np.zeros(self._tensor(made).shape[-1], np.float32))
        elif kind is Operator.RESHAPE:
            self._parts[made] = self._values_of(first)
        else:
            self._parts[made] = tuple(part for number in operation.inputs for part in self._values_of(number))

    def _depthwise(self, operation: Operation) -> _Depthwise:
        source, weights, biases = operation.inputs
        given = self._filled_map(source)
        taps = self._data(weights)
        if taps.shape != (1, 3, 3, given.channels) or not operation.is_same:
            raise ValueError("a depthwise convolution of another size")
        both = np.vstack([taps.reshape(9, -1), self._data(biases)])
        padding = _padding(given, 3, operation)
        size = self._size(operation)
        return _Depthwise(given, _widen(both, given.filled), operation.stride, padding, size)

    def _convolution(self, operation: Operation) -> _Unfinished:
        source, weights, biases = operation.inputs
        matrix, bias = self._data(weights), self._data(biases)
        kernel, channels = matrix.shape[2:]
        size = self._size(operation)
        before = self._waiting.get(source)
        if isinstance(before, _Depthwise):
            if self._uses[source] != 1 or kernel != 1 or operation.stride != 1:
                raise ValueError("a block of another kind")
            given = before.source
            rows = _fill_rows(matrix, given.filled)
            return _Unfinished(given, rows, bias, 3, before.stride, before.padding, size, taps=before.taps)
        given = self._map(source)
        if channels != given.channels or matrix.shape[1] != matrix.shape[2]:
            raise ValueError("a convolution of another size")
        padding = _padding(given, kernel, operation) if operation.is_same else (0, 0)
        return _Unfinished(given, _fill_rows(matrix, given.filled), bias, kernel, operation.stride, padding, size)

    def _fill_up(self, source: int, made: int) -> None:
        """More channels, zeros: a map has them already, up to a multiple of WIDE, and a sum leaves out the rest."""
        before, after = self._tensor(source).shape, self._tensor(made).shape
        if before[:3] != after[:3] or after[3] < before[3]:
            raise ValueError("a padding of another kind")
        waiting = self._waiting.get(source)
        if isinstance(waiting, _Pooled):
            self._waiting[made] = waiting
        else:
            self._maps[made] = self._map(source)

    def _sum(self, *numbers: int) -> _Unfinished:
        both = [self._waiting.get(number) for number in numbers]
        place = 0 if isinstance(both[0], _Unfinished) else 1
        main, other = both[place], both[1 - place]
        if not isinstance(main, _Unfinished) or self._uses[numbers[place]] != 1 or main.residual is not None:
            raise ValueError("a sum of another kind")
        added = other.source if isinstance(other, _Pooled) else self._filled_map(numbers[1 - place])
        is_pooled = isinstance(other, _Pooled)
        times = 2 if is_pooled else 1
        if (added.height, added.width) != (times * main.size[0], times * main.size[1]):
            raise ValueError("a sum of maps of other sizes")
        return main._replace(residual=added, is_pooled=is_pooled)

    def _finish(self, source: int, made: int, slopes: FloatArray) -> None:
        waiting = self._waiting.get(source)
        if not isinstance(waiting, _Unfinished) or self._uses[source] != 1:
            raise ValueError("an activation of another kind")
        self._maps[made] = self._add_step(waiting, slopes)

    def _values_of(self, number: int) -> tuple[Map, ...]:
        """The maps that a result is made of; a convolution without an activation ends here."""
        if number in self._parts:
            return self._parts[number]
        waiting = self._waiting.get(number)
        if number not in self._maps and isinstance(waiting, _Unfinished):
            self._maps[number] = self._add_step(waiting, np.ones(len(waiting.biases), np.float32))
        return (self._map(number),)

    def _add_step(self, step: _Unfinished, slopes: FloatArray) -> Map:
        source, num_outputs = step.source, len(step.biases)
        filled = -(-num_outputs // WIDE) * WIDE
        made = self._place(*step.size, num_outputs, filled)
        taps = self._keep(step.taps) if step.taps is not None else 0
        rest = _widen(np.vstack([step.biases, slopes]), filled)
        matrix = self._keep(np.concatenate([_pack(_widen(step.matrix, filled)), rest.ravel()]))
        if step.residual is not None and step.residual.filled > filled:
            raise ValueError("a sum of maps of other channels")
        self._steps.append((step, made, taps, matrix))
        chunk = max(1, CHUNK_PX // step.size[1]) * step.size[1]
        added = step.residual.filled if step.residual is not None else 0
        self._scratch = max(self._scratch, source.width * source.filled + chunk * (added + len(step.matrix)))
        return made

    def _place(self, height: int, width: int, channels: int, filled: int) -> Map:
        made = Map(len(self._made), height, width, channels, filled)
        self._made.append(made)
        return made

    def _keep(self, weights: FloatArray) -> int:
        at = self._num_weights
        self._weights.append(weights.ravel())
        self._num_weights += weights.size
        return at

    def _map(self, number: int) -> Map:
        return self._maps[number]

    def _filled_map(self, number: int) -> Map:
        """One that is read WIDE channels at a time: all but the image."""
        found = self._map(number)
        if found.filled % WIDE:
            raise ValueError("a block of the image")
        return found

    def _tensor(self, number: int) -> Tensor:
        return self._graph.tensors[number]

    def _data(self, number: int) -> FloatArray:
        data = self._tensor(number).data
        if data is None:
            raise ValueError("weights that are computed")
        return data.astype(np.float32, copy=False)

    def _size(self, operation: Operation) -> tuple[int, int]:
        """Height and width of what a convolution makes, which must be those that the file says."""
        given, made = (self._tensor(number).shape for number in (operation.inputs[0], operation.outputs[0]))
        kernel = self._tensor(operation.inputs[1]).shape[1]
        lost = 0 if operation.is_same else kernel - 1
        size = tuple(-(-(side - lost) // operation.stride) for side in given[1:3])
        if size != tuple(made[1:3]) or min(size) < 1:
            raise ValueError("a map of another size")
        return size[0], size[1]


def _fields(step: _Unfinished, made: Map, taps: int, matrix: int, places: list[int]) -> list[int]:
    """A step as ``nets.c`` has it."""
    source, added = step.source, step.residual
    kind = MAP if step.taps is None else BLOCK
    given = [kind, places[source.number], source.height, source.width, source.filled]
    result = [places[made.number], made.height, made.width, made.filled]
    residual = [-1, 0] if added is None else [places[added.number], added.filled]
    return [*given, *result, step.kernel, step.stride, *step.padding, *residual, int(step.is_pooled), taps, matrix]


def _padding(given: Map, kernel: int, operation: Operation) -> tuple[int, int]:
    """Rows above and columns to the left that a convolution of unchanged size adds, as TensorFlow counts them."""
    stride = operation.stride
    missing = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in (given.height, given.width)]
    return missing[0] // 2, missing[1] // 2


def _fill_rows(matrix: FloatArray, filled: int) -> FloatArray:
    """Weights (outputs, kernel, kernel, channels) → (kernel · kernel · filled, outputs)."""
    outputs, kernel, _, channels = matrix.shape
    if channels == filled:
        return np.asarray(matrix.reshape(outputs, -1).T)
    wide = np.zeros((outputs, kernel, kernel, filled), np.float32)
    wide[..., :channels] = matrix
    return np.asarray(wide.reshape(outputs, -1).T)


def _widen(rows: FloatArray, filled: int) -> FloatArray:
    """Rows (n, channels) with zeros up to ``filled`` channels."""
    if rows.shape[1] == filled:
        return rows
    wide = np.zeros((len(rows), filled), np.float32)
    wide[:, : rows.shape[1]] = rows
    return wide


def _pack(matrix: FloatArray) -> FloatArray:
    """(depth, outputs) → panels of 2 · WIDE outputs one after the other, the last one of WIDE where those are left."""
    firsts = range(0, matrix.shape[1], 2 * WIDE)
    return np.concatenate([matrix[:, first : first + 2 * WIDE].ravel() for first in firsts])
