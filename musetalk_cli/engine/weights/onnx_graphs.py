"""Nets → ONNX graphs with fixed batch sizes; all sizes of a net share one file of weights. Needs onnxscript."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.checkpoints.loading import LATENT_PX, Nets
from musetalk_cli.engine.models.musetalk.nets.layers import PhaseUpsample
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, positional_encoding
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder

OPSET = 18
NUM_TOKENS = 50
# Smaller tensors stay in the graph, where tools can read shapes and constants.
MIN_EXTERNAL_BYTES = 1024
ALIGNMENT = 4096  # of a tensor in the file of weights, so that it can be mapped


@dataclass(frozen=True)
class OnnxNet:
    """A net to be exported: names and shapes of its inputs without the batch, and the name of its output."""

    name: str
    net: nn.Module
    inputs: dict[str, tuple[int, ...]]
    output: str

    def random_inputs(self, batch_size: int, seed: int) -> tuple[Tensor, ...]:
        """Noise of deviation 1, float32 (batch, …) each."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn((batch_size, *shape), generator=generator) for shape in self.inputs.values())


class _UNetOfTokens(nn.Module):
    """A folded UNet that adds the tokens' positions itself."""

    positions: Tensor

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("positions", positional_encoding(NUM_TOKENS, net.config.audio_dim))

    def forward(self, latents: Tensor, audio: Tensor) -> Tensor:
        out: Tensor = self.net(latents, audio + self.positions)
        return out


class _Whisper(nn.Module):
    """Whisper's encoder as a version of MuseTalk was trained with it."""

    def __init__(self, net: WhisperEncoder, *, has_final_norm: bool) -> None:
        super().__init__()
        self.net, self._has_final_norm = net, has_final_norm

    def forward(self, mel: Tensor) -> Tensor:
        out: Tensor = self.net(mel, has_final_norm=self._has_final_norm)
        return out


class _Interleaved(nn.Module):
    """PhaseUpsample without writing into slices, for which ONNX has scatter operators only."""

    def __init__(self, layer: PhaseUpsample) -> None:
        super().__init__()
        self.conv = layer.conv

    def forward(self, x: Tensor) -> Tensor:
        dim, height, width = x.shape[1:]
        phases = self.conv(x)
        parts = [
            phases[:, phase * dim : (phase + 1) * dim, row : row + height, column : column + width]
            for phase, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1)))
        ]
        return functional.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), 2)


def onnx_nets(nets: Nets) -> list[OnnxNet]:
    """The UNet, the VAE's decoder and Whisper's encoder, ready to be exported; ``nets`` is for nothing else then."""
    for net in (nets.unet, nets.decoder):
        _replace_upsamplers(net)
    unet, whisper = nets.unet.config, nets.whisper.config
    plane = (LATENT_PX, LATENT_PX)
    shapes = {"latents": (unet.in_channels, *plane), "audio": (NUM_TOKENS, unet.audio_dim)}
    encoder = _Whisper(nets.whisper, has_final_norm=nets.version != "1.0")
    return [
        OnnxNet("unet", _UNetOfTokens(nets.unet).eval(), shapes, "face_latents"),
        OnnxNet("vae_decoder", nets.decoder, {"face_latents": (unet.out_channels, *plane)}, "image"),
        OnnxNet("whisper_encoder", encoder, {"mel": (whisper.num_mels, 2 * whisper.num_steps)}, "hidden_states"),
    ]


def _replace_upsamplers(net: nn.Module) -> None:
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, PhaseUpsample):
                setattr(parent, name, _Interleaved(child))


class WeightFile:
    """One file of weights for all graphs of a net: equal tensors are in it once. Use it as a context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._places: dict[bytes, int] = {}

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def take_from(self, model: Any) -> None:
        """Move a graph's large tensors, one after the other, into the file; the graph refers to them."""
        for value in model.graph.initializers.values():
            if value.const_value is not None and value.const_value.nbytes >= MIN_EXTERNAL_BYTES:
                value.const_value = self._take(value.const_value)
        self._file.flush()

    def _take(self, tensor: Any) -> Any:
        import onnx_ir

        data = np.ascontiguousarray(tensor.numpy()).data.cast("B")
        digest = hashlib.blake2b(data).digest()
        if digest not in self._places:
            self._file.seek(-(-self._file.tell() // ALIGNMENT) * ALIGNMENT)
            self._places[digest] = self._file.tell()
            self._file.write(data)
        return onnx_ir.ExternalTensor(
            self._path.name,
            self._places[digest],
            len(data),
            tensor.dtype,
            shape=tensor.shape,
            name=tensor.name,
            base_dir=str(self._path.parent),
        )


def write_graph(net: OnnxNet, batch_size: int, path: Path, weights: WeightFile) -> None:
    """Trace a net for one batch size and write its graph; its weights go into ``weights``, in the same folder.

    Raises OSError when they cannot be written.
    """
    import onnx_ir

    with _silenced(), torch.no_grad():
        program = torch.onnx.export(
            net.net,
            net.random_inputs(batch_size, seed=0),
            dynamo=True,
            input_names=list(net.inputs),
            output_names=[net.output],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - it is None only for the exporter that is not used here
    _strip_origins(program.model.graph)
    weights.take_from(program.model)
    onnx_ir.save(program.model, path)


def run_graph(path: Path, inputs: dict[str, np.ndarray[Any, np.dtype[np.float32]]]) -> np.ndarray[Any, Any]:
    """The output of a graph in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    # Weights stay mapped: copies in the layout of its kernels would take as much memory again.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def _strip_origins(graph: Any) -> None:
    """Remove the exporter's notes: the lines of code of each operator, with paths of this computer."""
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


@contextmanager
def _silenced() -> Iterator[None]:
    """Without the exporter's warnings, which are of optional libraries and of PyTorch's own code."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
