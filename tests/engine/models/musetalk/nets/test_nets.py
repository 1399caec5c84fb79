"""The nets against diffusers and transformers with the same weights, and the folded nets against the unfolded ones.

The libraries are only used here and by ``python -m tools.measure.parity``; the model itself does not need them.
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.small_nets import CONFIGS, CPU, noise, relative_error  # noqa: E402
from musetalk_cli.engine.models.musetalk.audio.mel import log_mel, mel_filters  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.key_mapping import select_keys  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import build_on_meta, random_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import random_state_dict  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.folding import fold_decoder, fold_unet, split_phases  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.layers import PhaseUpsample, TwoPassGroupNorm, Upsample  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import (  # noqa: E402
    UNet,
    UNetConfig,
    positional_encoding,
)
from musetalk_cli.engine.models.musetalk.nets.vae import (  # noqa: E402
    SCALE,
    VaeConfig,
    VaeDecoder,
    VaeEncoder,
    encode_avatar,
    to_bgr,
)
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperConfig, WhisperEncoder  # noqa: E402

UNET, VAE, WHISPER = CONFIGS.unet, CONFIGS.vae, CONFIGS.whisper
LATENTS, TOKENS = noise(2, 8, 32, 32), noise(2, 50, UNET.audio_dim, seed=1)


def filled(kind, config, state=None):
    net = build_on_meta(kind, config)
    net.load_state_dict(state or random_state_dict(net, seed=3), assign=True)
    return net.eval().requires_grad_(False)


def vae_state():
    return random_state_dict(build_on_meta(VaeEncoder, VAE), 3) | random_state_dict(build_on_meta(VaeDecoder, VAE), 3)


def widened(state):
    return {name: tensor.double() for name, tensor in state.items()}


def test_the_unet_is_diffusers() -> None:
    pytest.importorskip("diffusers", reason="needs diffusers to compare with")
    from fixtures import references

    net = filled(UNet, UNET)
    reference = references.unet(UNET, dict(net.state_dict()))
    wanted = reference(LATENTS, torch.tensor([0]), TOKENS).sample
    assert relative_error(net(LATENTS, TOKENS), wanted) < 1e-5


def test_the_vae_is_diffusers() -> None:
    pytest.importorskip("diffusers", reason="needs diffusers to compare with")
    from fixtures import references

    state = vae_state()
    reference = references.vae(VAE, state)
    encoder = filled(VaeEncoder, VAE, select_keys(state, "encoder.", "quant_conv."))
    decoder = filled(VaeDecoder, VAE, select_keys(state, "decoder.", "post_quant_conv."))
    images = noise(1, 3, 64, 64).clamp(-1, 1)
    wanted = reference.encode(images).latent_dist.mode() * SCALE
    assert relative_error(encoder(images), wanted) < 1e-5
    latents = LATENTS[:, :4]
    assert relative_error(decoder(latents), reference.decode(latents / SCALE).sample) < 1e-5


def face_like(size: int) -> torch.Tensor:
    """(1, 3, size, size) in ±1 as a masked face is: a bright, almost even upper half and a black lower one."""
    images = 0.75 + 0.02 * noise(1, 3, size, size, seed=5)
    images[:, :, size // 2 :] = -1.0
    return images.clamp(-1, 1)


def test_the_vaes_encoder_is_exact_on_faces_with_a_flat_half() -> None:
    """PyTorch's norm in channels_last loses four digits on the CPU, where diffusers' layout loses none."""
    pytest.importorskip("diffusers", reason="needs diffusers to compare with")
    from fixtures import references

    state = vae_state()
    for name in state:
        if name.endswith("conv1.bias") or name == "encoder.conv_in.bias":
            state[name] = state[name] + 3.0  # a mean that is large against the deviation, as trained nets have it
    images = face_like(128)
    encoder = filled(VaeEncoder, VAE, select_keys(state, "encoder.", "quant_conv."))
    wanted = references.vae(VAE, widened(state)).encode(images.double()).latent_dist.mode() * SCALE
    theirs = references.vae(VAE, state).encode(images).latent_dist.mode() * SCALE
    assert relative_error(encoder(images).double(), wanted) < 1e-5
    assert relative_error(encoder(images), theirs) < 1e-5


@torch.inference_mode()
def test_the_exact_norm_is_pytorchs_in_double_precision() -> None:
    norm, plain = TwoPassGroupNorm(4, 32, 1e-6), torch.nn.GroupNorm(4, 32, 1e-6)
    norm.weight.data, norm.bias.data = noise(32, seed=6), noise(32, seed=7)
    plain.load_state_dict(norm.state_dict())
    x = (1.5 + 0.05 * noise(2, 32, 64, 64)).contiguous(memory_format=torch.channels_last)
    wanted = plain.double()(x.double().contiguous())
    made = norm(x)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(made.double(), wanted) < 1e-5
    assert relative_error(torch.nn.functional.group_norm(x, 4, norm.weight, norm.bias, 1e-6).double(), wanted) > 1e-4


def test_another_scaling_factor_reaches_encoder_decoder_and_folds() -> None:
    halved = dataclasses.replace(VAE, scale=SCALE / 2)
    state = vae_state()
    encoder_state = select_keys(state, "encoder.", "quant_conv.")
    images = noise(1, 3, 64, 64).clamp(-1, 1)
    latents = filled(VaeEncoder, VAE, encoder_state)(images)
    assert torch.allclose(filled(VaeEncoder, halved, encoder_state)(images), latents / 2)
    decoder_state = select_keys(state, "decoder.", "post_quant_conv.")
    plain = filled(VaeDecoder, VAE, decoder_state)(latents)
    assert relative_error(filled(VaeDecoder, halved, decoder_state)(latents / 2), plain) < 1e-5
    unet_state = random_state_dict(build_on_meta(UNet, UNET), 3)
    folded = build_on_meta(UNet, dataclasses.replace(UNET, is_folded=True))
    once, twice = (fold_unet(unet_state, folded, state, scale)["conv_out.weight"] for scale in (SCALE, SCALE / 2))
    assert torch.allclose(2 * once, twice)


def test_every_level_of_whisper_is_transformers() -> None:
    pytest.importorskip("transformers", reason="needs transformers to compare with")
    from fixtures import references

    net = filled(WhisperEncoder, WHISPER)
    mel = noise(1, 80, 600)
    reference = references.whisper(WHISPER, dict(net.state_dict()))
    wanted = torch.stack(reference(mel, output_hidden_states=True).hidden_states, dim=2)
    assert wanted.shape == (1, 300, 5, WHISPER.dim)
    assert relative_error(net(mel), wanted) < 1e-5


def test_without_the_final_norm_only_the_last_level_differs() -> None:
    net = filled(WhisperEncoder, WHISPER)
    plain, normed = net(noise(1, 80, 400), has_final_norm=False), net(noise(1, 80, 400))
    assert torch.equal(plain[:, :, :-1], normed[:, :, :-1])
    assert torch.allclose(net.layer_norm(plain[:, :, -1]), normed[:, :, -1])


@pytest.mark.parametrize("num_samples", [400, 16_000, 123_457, 480_000])
def test_the_log_mel_is_transformers(num_samples: int) -> None:
    pytest.importorskip("transformers", reason="needs transformers to compare with")
    from fixtures import references

    samples = 0.1 * noise(num_samples)
    padded = torch.nn.functional.pad(samples, (0, 480_000 - num_samples))
    mine = log_mel(padded, mel_filters(80))
    wanted = references.log_mel(samples, window_s=30, num_mels=80)
    assert mine.shape == wanted.shape == (80, 3000)
    assert relative_error(mine, wanted) < 1e-5


def test_silence_has_the_known_log_mel() -> None:
    assert torch.equal(log_mel(torch.zeros(16_000), mel_filters(80)), torch.full((80, 100), -1.5))


def test_the_positional_encoding_has_the_known_values() -> None:
    encoding = positional_encoding(50, 384)
    assert torch.allclose(encoding[1, :4], torch.tensor([0.841471, 0.540302, 0.815251, 0.579108]), atol=1e-6)
    assert torch.equal(encoding[0], torch.tensor([0.0, 1.0]).repeat(192))


def test_the_official_sizes_have_the_official_numbers_of_tensors() -> None:
    counts = {}
    for kind, config in ((UNet, UNetConfig()), (VaeEncoder, VaeConfig()), (VaeDecoder, VaeConfig())):
        counts[kind] = [tensor.numel() for tensor in build_on_meta(kind, config).state_dict().values()]
    assert (len(counts[UNet]), sum(counts[UNet])) == (686, 849_947_844)
    vae = counts[VaeEncoder] + counts[VaeDecoder]
    assert (len(vae), sum(vae)) == (248, 83_653_863)
    whisper = [tensor.numel() for tensor in build_on_meta(WhisperEncoder, WhisperConfig()).state_dict().values()]
    assert (len(whisper), sum(whisper)) == (67, 8_208_384)


@pytest.mark.parametrize("has_phases", [(True, True, True), (False, True, False)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_folded_nets_are_the_unfolded_ones(dtype: torch.dtype, has_phases: tuple[bool, ...]) -> None:
    """In double precision the folds are exact to 1e-12, so that nothing but rounding differs in any other."""
    is_wide = dtype == torch.float64
    unet_state = random_state_dict(build_on_meta(UNet, UNET), 3)
    states = (unet_state, vae_state())
    unet_state, vae = (widened(state) if is_wide else state for state in states)
    decoder_state = select_keys(vae, "decoder.", "post_quant_conv.")
    folded_unet = build_on_meta(UNet, dataclasses.replace(UNET, is_folded=True, has_phases=has_phases))
    folded_unet = filled_as(folded_unet, fold_unet(unet_state, folded_unet, vae))
    folded_decoder = build_on_meta(VaeDecoder, dataclasses.replace(VAE, is_folded=True, has_phases=has_phases))
    folded_decoder = filled_as(folded_decoder, fold_decoder(decoder_state, folded_decoder))
    plain_unet = filled_as(build_on_meta(UNet, UNET), unet_state)
    plain_decoder = filled_as(build_on_meta(VaeDecoder, VAE), decoder_state)
    latents, tokens = LATENTS.to(dtype), TOKENS.to(dtype)
    error = relative_error(folded_decoder(folded_unet(latents, tokens)), plain_decoder(plain_unet(latents, tokens)))
    assert error < (1e-12 if is_wide else 1e-4)


def filled_as(net, state):
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)


def test_folding_leaves_the_official_state_as_it_is() -> None:
    state = random_state_dict(build_on_meta(UNet, UNET), 3)
    before = {name: tensor.clone() for name, tensor in state.items()}
    fold_unet(state, build_on_meta(UNet, dataclasses.replace(UNET, is_folded=True)), vae_state())
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_four_phases_are_an_upsampling_up_to_the_border() -> None:
    plain, phases = (kind(6).double().requires_grad_(False) for kind in (Upsample, PhaseUpsample))
    phases.conv.weight.data = split_phases(plain.conv.weight.data)
    phases.conv.bias.data = plain.conv.bias.data.repeat(4)
    x = noise(2, 6, 5, 7).double()
    assert relative_error(phases(x), plain(x)) < 1e-14


def test_prefix_and_audio_kv_computed_apart_give_the_same_as_the_whole() -> None:
    """One avatar frame with two audio inputs: its prefix is encoded once."""
    net = random_nets("1.5", CPU, seed=5, configs=CONFIGS).unet
    wanted = net(LATENTS[:1].expand(2, -1, -1, -1), TOKENS)
    prefix = net.encode_prefix(LATENTS[:1])
    for index in range(2):
        alone = net.predict(prefix, net.project_kv(TOKENS[index : index + 1]))
        assert relative_error(alone, wanted[index : index + 1]) < 1e-5


def test_random_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (random_nets("1.5", CPU, seed, CONFIGS).unet.state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_the_avatar_is_encoded_masked_and_whole() -> None:
    encoder = filled(VaeEncoder, VAE)
    images = noise(1, 3, 64, 64).clamp(-1, 1) / 2 + 0.5
    latents = encode_avatar(encoder, images)
    half = images * 2 - 1
    assert relative_error(latents[:, 4:], encoder(half)) < 1e-4
    half[:, :, 32:] = -1
    assert relative_error(latents[:, :4], encoder(half)) < 1e-4


def test_images_become_bytes_rounded_clipped_and_blue_first() -> None:
    image = torch.tensor([-1.5, 0.5 / 127.5, 1.0])[:, None, None].expand(3, 2, 1)[None]
    bgr = to_bgr(image)
    assert bgr.shape == (1, 2, 1, 3)
    assert bgr[0, 0, 0].tolist() == [255, 128, 0]
    assert bgr.is_contiguous()


def test_every_saving_takes_operations_away() -> None:
    from fixtures.operations import count_all

    totals = [count.total for count in count_all(CONFIGS)][:-1]
    assert all(after < before for before, after in itertools.pairwise(totals))
