"""The face nets give the same numbers however they are run, and a file that is none of them is left to OpenCV."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from fixtures.native_kernel import native_kernel, numpy_alone
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.engine.avatar.preparation.nets import tflite
from musetalk_cli.engine.avatar.preparation.nets.arena import place_maps
from musetalk_cli.engine.avatar.preparation.nets.face_net import ABI, NativeNet, OpenCvNet, Range, open_net
from musetalk_cli.engine.avatar.preparation.nets.steps import lay_out
from musetalk_cli.engine.avatar.preparation.nets.tflite import (
    Graph,
    Operation,
    Operator,
    Tensor,
    UnreadableNetError,
    read_graph,
)
from musetalk_cli.engine.native import library

MESH = (("conv2d_31", "conv2d_21"), Range(1 / 255, 0.0), 192)
DETECTOR = (("classificators", "regressors"), Range(1 / 127.5, -1.0), 128)


@pytest.fixture
def kernel() -> Iterator[Any]:
    with native_kernel():
        loaded = library.load()
        assert loaded is not None
        if loaded.nets_abi() != ABI:
            pytest.skip("this processor has no AVX2")
        yield loaded


class GraphMaker:
    """A graph that is made operation by operation, with random weights."""

    def __init__(self, height: int, width: int) -> None:
        self.random = np.random.default_rng(height * 1000 + width)
        self.tensors = [Tensor("image", (1, height, width, 3), None)]
        self.operations: list[Operation] = []

    def add(
        self, operator: Operator, inputs: list[int], shape: tuple[int, ...], *weights: np.ndarray, **more: Any
    ) -> int:
        numbers = [self._keep(Tensor("weights", each.shape, each)) for each in weights]
        made = self._keep(Tensor(f"map{len(self.tensors)}", shape, None))
        self.operations.append(Operation(operator, (*inputs, *numbers), (made,), **more))
        return made

    def convolve(self, source: int, outputs: int, kernel: int, stride: int, *, is_same: bool = True) -> int:
        _, height, width, channels = self.tensors[source].shape
        lost = 0 if is_same else kernel - 1
        shape = (1, -(-(height - lost) // stride), -(-(width - lost) // stride), outputs)
        weights = self.draw(outputs, kernel, kernel, channels), self.draw(outputs)
        return self.add(Operator.CONVOLUTION, [source], shape, *weights, stride=stride, is_same=is_same)

    def prelu(self, source: int) -> int:
        shape = self.tensors[source].shape
        return self.add(Operator.PRELU, [source], shape, self.draw(1, 1, shape[-1]))

    def block(self, source: int, outputs: int, stride: int) -> int:
        _, height, width, channels = self.tensors[source].shape
        small = (1, height // stride, width // stride, channels)
        taps = self.draw(1, 3, 3, channels), self.draw(channels)
        deep = self.add(Operator.DEPTHWISE, [source], small, *taps, stride=stride, is_same=True)
        main, other = self.convolve(deep, outputs, 1, 1), source
        if stride == 2:
            other = self.add(Operator.MAX_POOL, [source], small)
        if outputs > channels:
            other = self.add(Operator.PAD, [other], (*small[:3], outputs), np.array([outputs - channels], np.int32))
        return self.add(Operator.ADD, [other, main], (*small[:3], outputs))

    def flat(self, source: int) -> int:
        shape = self.tensors[source].shape
        return self.add(Operator.RESHAPE, [source], (1, shape[1] * shape[2], shape[3]), np.array(shape, np.int32))

    def draw(self, *shape: int) -> np.ndarray:
        return self.random.uniform(-0.5, 0.5, shape).astype(np.float32)

    def graph(self, *outputs: int) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.operations), (0,), outputs)

    def _keep(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def small_net(height: int, width: int, channels: tuple[int, int, int]) -> Graph:
    """The parts of both face nets, smaller."""
    net, (few, more, most) = GraphMaker(height, width), channels
    first = net.prelu(net.convolve(0, few, 5, 2))
    same = net.prelu(net.block(first, few, 1))
    half = net.block(same, more, 2)
    half = net.add(Operator.RELU, [half], net.tensors[half].shape)
    last = net.prelu(net.block(half, most, 1))
    heads = [net.flat(net.convolve(each, 6, 1, 1)) for each in (half, last)]
    rows = sum(net.tensors[each].shape[1] for each in heads)
    both = net.add(Operator.CONCATENATION, heads, (1, rows, 6))
    return net.graph(net.convolve(last, 11, 2, 2, is_same=False), both)


def compute(graph: Graph, image: np.ndarray) -> list[np.ndarray]:
    """The same by numpy, one operation after the other."""
    values: dict[int, np.ndarray] = {0: image.astype(np.float64)}

    def weights(number: int) -> np.ndarray:
        data = graph.tensors[number].data
        assert data is not None
        return np.asarray(data, np.float64)

    def windows(operation: Operation, kernel: int) -> np.ndarray:
        """What each output pixel sees, (h, w, channels, kernel, kernel)."""
        given, stride = values[operation.inputs[0]], operation.stride
        if operation.is_same:
            missing = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in given.shape[:2]]
            given = np.pad(given, (*((each // 2, each - each // 2) for each in missing), (0, 0)))
        seen = np.lib.stride_tricks.sliding_window_view(given, (kernel, kernel), axis=(0, 1))
        return seen[::stride, ::stride]

    for operation in graph.operations:
        first, *others = operation.inputs
        kind, shape = operation.operator, graph.tensors[operation.outputs[0]].shape
        if kind is Operator.CONVOLUTION:
            matrix = weights(others[0])
            result = np.einsum("hwcyx,oyxc->hwo", windows(operation, matrix.shape[1]), matrix) + weights(others[1])
        elif kind is Operator.DEPTHWISE:
            result = np.einsum("hwcyx,yxc->hwc", windows(operation, 3), weights(others[0])[0]) + weights(others[1])
        elif kind is Operator.MAX_POOL:
            result = values[first].reshape(shape[1], 2, shape[2], 2, -1).max(axis=(1, 3))
        elif kind is Operator.PAD:
            result = np.pad(values[first], ((0, 0), (0, 0), (0, shape[3] - values[first].shape[2])))
        elif kind is Operator.ADD:
            result = values[first] + values[others[0]]
        elif kind is Operator.CONCATENATION:
            result = np.concatenate([values[number] for number in operation.inputs])
        elif kind is Operator.RESHAPE:
            result = values[first].reshape(-1, shape[-1])
        else:
            slopes = 0.0 if kind is Operator.RELU else weights(others[0])[0, 0]
            result = np.maximum(values[first], 0) + slopes * np.minimum(values[first], 0)
        values[operation.outputs[0]] = result
    return [values[number] for number in graph.outputs]


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (16, 44), (24, 100), (36, 28)])
@pytest.mark.parametrize("channels", [(5, 9, 24), (16, 16, 40), (24, 28, 33)])
def test_the_native_kernel_computes_what_numpy_does(
    kernel: Any, size: tuple[int, int], channels: tuple[int, int, int]
) -> None:
    graph = small_net(*size, channels)
    levels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    expected = compute(graph, levels[..., ::-1] / 100 - 1)
    layout = lay_out(graph)
    net = NativeNet(kernel, layout, tuple(layout.outputs), Range(1 / 100, -1.0))
    for _ in range(2):  # nothing is left of the run before
        for values, wanted in zip(net.run(levels), expected, strict=True):
            assert np.abs(values - wanted.ravel()).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name, about", [("mesh", MESH), ("detector", DETECTOR)])
@pytest.mark.usefixtures("kernel")
def test_the_native_kernel_computes_what_opencv_does(
    face_models: FaceModels, name: str, about: tuple[tuple[str, ...], Range, int]
) -> None:
    outputs, levels, side = about
    path = getattr(face_models, name)
    native, by_opencv = open_net(path, outputs, levels, side), OpenCvNet(path, outputs, levels)
    assert isinstance(native, NativeNet)
    rows = np.random.default_rng(2).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
    image = np.ascontiguousarray(rows.repeat(16, axis=0).repeat(16, axis=1))
    for values, wanted in zip(native.run(image), by_opencv.run(image), strict=True):
        assert np.abs(values - wanted).max() < 1e-3


@pytest.mark.usefixtures("kernel")
def test_a_net_for_images_of_another_size_is_left_to_opencv(face_models: FaceModels) -> None:
    assert isinstance(open_net(face_models.mesh, *MESH[:2], 128), OpenCvNet)


def test_without_the_native_kernel_opencv_runs_a_net(face_models: FaceModels) -> None:
    with numpy_alone():
        assert isinstance(open_net(face_models.mesh, *MESH), OpenCvNet)


def unlike(change: Callable[[GraphMaker, int], int]) -> Graph:
    net = GraphMaker(8, 8)
    return net.graph(change(net, net.prelu(net.convolve(0, 8, 3, 2))))


@pytest.mark.parametrize(
    "change",
    [
        lambda net, first: net.add(Operator.MAX_POOL, [first], (1, 2, 2, 8)),
        lambda net, first: net.add(Operator.RELU, [first], (1, 4, 4, 8)),
        lambda net, first: net.add(Operator.ADD, [first, first], (1, 4, 4, 8)),
        lambda net, first: net.add(Operator.PAD, [first], (1, 6, 6, 8), np.zeros(1, np.int32)),
        lambda net, first: net.add(
            Operator.CONVOLUTION, [first], (1, 4, 4, 2), net.draw(2, 3, 3, 7), net.draw(2), is_same=True
        ),
        lambda net, first: net.add(
            Operator.CONVOLUTION, [first], (1, 5, 4, 2), net.draw(2, 3, 3, 8), net.draw(2), is_same=True
        ),
        lambda net, first: net.prelu(net.block(0, 8, 1)),
        lambda net, first: net.prelu(net.add(Operator.ADD, [0, net.convolve(0, 3, 3, 1)], (1, 8, 8, 3))),
        lambda net, first: net.prelu(
            net.add(
                Operator.ADD,
                [net.add(Operator.MAX_POOL, [0], (1, 4, 4, 3)), net.convolve(0, 3, 3, 2)],
                (1, 4, 4, 3),
            )
        ),
    ],
)
def test_a_net_of_other_parts_is_refused(change: Callable[[GraphMaker, int], int]) -> None:
    with pytest.raises(UnreadableNetError):
        lay_out(unlike(change))


@pytest.mark.parametrize("operator, dilation", [(Operator.CONVOLUTION, 4), (Operator.DEPTHWISE, 5)])
def test_a_convolution_with_gaps_is_refused(operator: Operator, dilation: int) -> None:
    class Options:
        """Fields of a table: strides, and the dilation across."""

        def __init__(self, value: int) -> None:
            self.fields = {1: 1, 2: 1, dilation: value}

        def number(self, field: int, kind: str = "<i", default: int = 0) -> int:
            return self.fields.get(field, default)

        def numbers(self, field: int) -> tuple[int, ...]:
            return ()

        def table(self, field: int) -> Options:
            return self

    assert tflite._operation_of(cast(Any, Options(1)), operator).stride == 1
    with pytest.raises(ValueError, match="gaps"):
        tflite._operation_of(cast(Any, Options(2)), operator)


def test_a_net_that_would_take_too_much_memory_is_refused() -> None:
    net = GraphMaker(1 << 20, 1 << 20)
    with pytest.raises(UnreadableNetError, match="too large"):
        lay_out(net.graph(net.prelu(net.convolve(0, 8, 3, 2))))


def test_a_damaged_file_is_refused(face_models: FaceModels, tmp_path: Path) -> None:
    """Whatever is in it, nothing else is raised; what can still be laid out has the same sizes."""
    whole, chance = face_models.detector.read_bytes(), random.Random(3)
    path = tmp_path / "net.tflite"
    num_refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(20):  # where the tables are: the file ends with them
            damaged[len(whole) - 1 - chance.randrange(30_000)] = chance.randrange(256)
        path.write_bytes(bytes(damaged) if number % 3 else whole[: chance.randrange(len(whole))])
        try:
            lay_out(read_graph(path))
        except UnreadableNetError:
            num_refused += 1
    assert num_refused > 40


def test_maps_that_are_needed_together_do_not_overlap() -> None:
    sizes, made_by, read_until = [4, 2, 6, 2, 3], {0: -1, 1: 0, 2: 1, 3: 2, 4: 3}, {0: 1, 1: 2, 2: 4, 3: 3, 4: 4}
    places = place_maps(sizes, made_by, read_until)
    for one in range(5):
        for other in range(one):
            if read_until[other] >= made_by[one]:
                first, second = (set(range(places[i], places[i] + sizes[i])) for i in (one, other))
                assert not first & second
    assert max(place + size for place, size in zip(places, sizes, strict=True)) < sum(sizes)
