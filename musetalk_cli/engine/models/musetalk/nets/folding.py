"""Folds constant computations into the weights; the results differ by rounding only.

Every function takes an official state dict and returns a new one. Unchanged tensors are shared, so folding a
memory-mapped file reads little of it. Sums are computed in at least float32, whatever the precision of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.layers import PhaseUpsample
from musetalk_cli.engine.models.musetalk.nets.unet import UNet
from musetalk_cli.engine.models.musetalk.nets.vae import SCALE, VaeDecoder

StateDict = Mapping[str, Tensor]


def fold_unet(state: StateDict, net: UNet, vae: StateDict | None, scale: float = SCALE) -> dict[str, Tensor]:
    """An official UNet's state dict → that of ``net``, a folded UNet on any device (only its architecture is used).

    - The timestep embedding at timestep 0 is a constant of every resnet: it moves into conv1's bias.
    - The key and value projections of all cross-attentions become one matrix.
    - Where ``net`` has phases, nearest ×2 and 3 × 3 convolution become four 2 × 2 convolutions.
    - 1 / ``scale``, 0.18215 in the official one, and the VAE's ``post_quant_conv`` move into conv_out. They cannot
      move into the decoder's conv_in, whose zero padding would then stand for another value. Without a ``vae``,
      latents keep their scale.
    """
    folded = dict(state)
    time = _time_embedding(folded)
    for name in [name for name in state if name.endswith("time_emb_proj.weight")]:
        resnet = name.removesuffix("time_emb_proj.weight")
        shift = _wide(folded.pop(name)) @ time + _wide(folded.pop(f"{resnet}time_emb_proj.bias"))
        folded[f"{resnet}conv1.bias"] = _wide(folded[f"{resnet}conv1.bias"]) + shift
    names = {module: name for name, module in net.named_modules()}
    parts = []
    for transformer in net.transformers():
        attention = names[transformer.layer.attn2]
        parts += [folded.pop(f"{attention}.to_k.weight"), folded.pop(f"{attention}.to_v.weight")]
    folded["audio_projection.weight"] = torch.cat(parts)
    _fold_upsamplers(folded, net)
    if vae is None:
        return folded
    mix, shift = _wide(vae["post_quant_conv.weight"]).flatten(1), _wide(vae["post_quant_conv.bias"])
    weight, bias = _wide(folded["conv_out.weight"]), _wide(folded["conv_out.bias"])
    folded["conv_out.weight"] = torch.einsum("ab,bchw->achw", mix, weight) / scale
    folded["conv_out.bias"] = mix @ bias / scale + shift
    return folded


def fold_decoder(state: StateDict, net: VaeDecoder) -> dict[str, Tensor]:
    """An official VAE decoder's state dict → that of ``net``, a folded decoder on any device.

    - ``post_quant_conv`` is dropped: it is part of the folded UNet.
    - The attention's value and output projections become one: there is one head, and its weights sum to one.
    - Where ``net`` has phases, nearest ×2 and 3 × 3 convolution become four 2 × 2 convolutions.
    """
    folded = {name: tensor for name, tensor in state.items() if not name.startswith("post_quant_conv.")}
    for name in [name for name in state if name.endswith("to_out.0.weight")]:
        attention = name.removesuffix("to_out.0.weight")
        out, shift = _wide(folded.pop(name)), _wide(folded.pop(f"{attention}to_out.0.bias"))
        folded[f"{attention}to_v.weight"] = out @ _wide(folded[f"{attention}to_v.weight"])
        folded[f"{attention}to_v.bias"] = out @ _wide(folded[f"{attention}to_v.bias"]) + shift
    _fold_upsamplers(folded, net)
    return folded


def _fold_upsamplers(state: dict[str, Tensor], net: nn.Module) -> None:
    for name, module in net.named_modules():
        if isinstance(module, PhaseUpsample):
            state[f"{name}.conv.weight"] = split_phases(state[f"{name}.conv.weight"])
            state[f"{name}.conv.bias"] = state[f"{name}.conv.bias"].repeat(4)


def split_phases(weight: Tensor) -> Tensor:
    """The weights of a 3 × 3 convolution behind a nearest ×2 upsampling, (out, in, 3, 3) → (4 out, in, 2, 2).

    An even output row depends on source rows i − 1, i, i, an odd one on i, i, i + 1: weights of equal rows are summed.
    """
    wide = _wide(weight)
    rows = (_merge(wide, 2, is_odd=False), _merge(wide, 2, is_odd=True))
    return torch.cat([_merge(row, 3, is_odd=is_odd) for row in rows for is_odd in (False, True)])


def _merge(weight: Tensor, axis: int, *, is_odd: bool) -> Tensor:
    first, second, third = torch.split(weight, 1, dim=axis)
    pair = (first + second, third) if is_odd else (first, second + third)
    return torch.cat(pair, dim=axis)


def _time_embedding(state: dict[str, Tensor]) -> Tensor:
    """Remove the timestep embedding from ``state``; SiLU of its value at timestep 0, (time_dim,)."""
    linear = {part: _wide(state.pop(f"time_embedding.{part}")) for part in _TIME_PARTS}
    sinusoids = torch.zeros_like(linear["linear_1.weight"][0])
    sinusoids[: len(sinusoids) // 2] = 1.0
    hidden = functional.silu(linear["linear_1.weight"] @ sinusoids + linear["linear_1.bias"])
    return functional.silu(linear["linear_2.weight"] @ hidden + linear["linear_2.bias"])


_TIME_PARTS = ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
