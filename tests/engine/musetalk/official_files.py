"""Writes the nets of the tests' size as the official files hold them: names, containers and folders."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.face_parsing import FaceParsingNet
from musetalk_cli.engine.models.musetalk.loading import NetConfigs, build
from musetalk_cli.engine.models.musetalk.random_weights import random_state
from musetalk_cli.engine.models.musetalk.unet import UNet
from musetalk_cli.engine.models.musetalk.vae import VaeDecoder, VaeEncoder
from musetalk_cli.engine.models.musetalk.whisper import WhisperEncoder

State = dict[str, Tensor]

LEGACY = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
OPENAI = {
    "embed_positions.weight": "positional_embedding",
    "self_attn_layer_norm": "attn_ln",
    "final_layer_norm": "mlp_ln",
    "layer_norm": "ln_post",
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "layers.": "blocks.",
}


def states(configs: NetConfigs, seed: int = 3) -> tuple[State, State, State]:
    """UNet, VAE, Whisper encoder under today's names."""
    vae = random_state(build(VaeEncoder, configs.vae), seed) | random_state(build(VaeDecoder, configs.vae), seed)
    unet, whisper = build(UNet, configs.unet), build(WhisperEncoder, configs.whisper)
    return random_state(unet, seed), vae, random_state(whisper, seed)


def legacy_vae(state: State) -> State:
    """As diffusers before 0.18 named the attention, and as the .bin of sd-vae-ft-mse is."""
    named = {}
    for name, tensor in state.items():
        for new, old in LEGACY.items():
            name = name.replace(f".{new}.", f".{old}.") if ".attentions.0." in name else name
        named[name] = tensor
    return named


def openai_whisper(state: State) -> State:
    named = {}
    for name, tensor in state.items():
        for new, old in OPENAI.items():
            name = name.replace(new, old)
        named[f"encoder.{name}"] = tensor.half()
    return named


def write_models(folder: Path, configs: NetConfigs, seed: int = 3) -> Path:
    """The folder that upstream's scripts call ``models``, for both versions."""
    unet, vae, whisper = states(configs, seed)
    for name in ("musetalkV15", "musetalk", "sd-vae", "whisper"):
        (folder / name).mkdir(parents=True)
    torch.save(unet, folder / "musetalkV15" / "unet.pth")
    torch.save(unet, folder / "musetalk" / "pytorch_model.bin")
    for name in ("musetalkV15", "musetalk"):
        (folder / name / "musetalk.json").write_text(json.dumps(unet_json(configs)))
    torch.save(legacy_vae(vae), folder / "sd-vae" / "diffusion_pytorch_model.bin")
    (folder / "sd-vae" / "config.json").write_text(json.dumps(vae_json(configs)))
    decoder = {"model.decoder.embed_tokens.weight": torch.zeros(4, 4), "proj_out.weight": torch.zeros(4, 4)}
    full = {f"model.encoder.{name}": tensor for name, tensor in whisper.items()}
    torch.save(full | decoder, folder / "whisper" / "pytorch_model.bin")
    (folder / "whisper" / "config.json").write_text(json.dumps(whisper_json(configs)))
    openai = openai_whisper(whisper) | {"decoder.positional_embedding": torch.zeros(4, 4)}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": openai}, folder / "whisper" / "tiny.pt")
    return folder


def parsing_state(seed: int = 5) -> State:
    """Face parsing by lot, at its only size: variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in FaceParsingNet().state_dict().items()}
    values = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            values[name] = torch.tensor(80_000)
        elif len(shape) == 4:
            fan_in = shape[1] * shape[2] * shape[3]
            values[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        else:
            centre = 1.0 if name.endswith(("weight", "var")) else 0.0
            values[name] = centre + 0.2 * torch.rand(shape, generator=generator)
    return values


def write_parsing(models: Path) -> Path:
    """Face parsing's file, in the container of 2019."""
    path = models / "face-parse-bisent" / "79999_iter.pth"
    path.parent.mkdir(parents=True)
    torch.save(parsing_state(), path, _use_new_zipfile_serialization=False)
    return path


def unet_json(configs: NetConfigs) -> dict[str, object]:
    unet = configs.unet
    down = ["CrossAttnDownBlock2D" if has_sound else "DownBlock2D" for has_sound in unet.has_sound]
    return {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": unet.num_heads,
        "block_out_channels": list(unet.dims),
        "cross_attention_dim": unet.audio_dim,
        "down_block_types": down,
        "in_channels": unet.in_channels,
        "layers_per_block": unet.num_resnets,
        "norm_num_groups": unet.num_groups,
        "out_channels": unet.out_channels,
    }


def vae_json(configs: NetConfigs) -> dict[str, object]:
    vae = configs.vae
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": list(vae.dims),
        "latent_channels": vae.latent_channels,
        "layers_per_block": vae.num_resnets,
        "norm_num_groups": vae.num_groups,
    }


def whisper_json(configs: NetConfigs) -> dict[str, object]:
    whisper = configs.whisper
    return {
        "d_model": whisper.dim,
        "encoder_attention_heads": whisper.num_heads,
        "encoder_ffn_dim": whisper.hidden_dim,
        "encoder_layers": whisper.num_layers,
        "max_source_positions": whisper.num_steps,
        "num_mel_bins": whisper.num_mels,
    }
