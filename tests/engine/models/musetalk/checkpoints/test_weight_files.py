"""Weight files in the official layout, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from fixtures.official_files import find_files, write_models  # noqa: E402
from fixtures.small_nets import CONFIGS, CPU, noise, relative_error  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints import loading  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import (  # noqa: E402
    Precision,
    build_on_meta,
    load_encoder,
    load_nets,
    random_encoder,
    random_nets,
)
from musetalk_cli.engine.models.musetalk.checkpoints.random_weights import RandomStateDict, random_state_dict  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import load_into, read_state_dict  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.whisper import WhisperEncoder  # noqa: E402
from musetalk_cli.errors import ModelError  # noqa: E402


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"), CONFIGS)


@pytest.fixture
def own_models(tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return write_models(tmp_path / "models", CONFIGS)


def is_same(first: torch.nn.Module, second: torch.nn.Module, tolerance: float = 1e-6) -> bool:
    """The folds' sums depend on how the file's tensors are aligned, by the last bit."""
    mine, wanted = first.state_dict(), second.state_dict()
    return mine.keys() == wanted.keys() and all(
        torch.allclose(mine[name].float(), wanted[name].float(), rtol=0, atol=tolerance) for name in mine
    )


@pytest.mark.parametrize("version", ["1.5", "1.0"])
def test_official_files_give_the_nets_they_were_made_of(models: Path, version: loading.Version) -> None:
    nets = load_nets(find_files(models, version), CPU)
    wanted = random_nets(version, CPU, seed=3, configs=CONFIGS)
    assert nets.version == version
    assert is_same(nets.unet, wanted.unet)
    assert is_same(nets.decoder, wanted.decoder)
    assert is_same(nets.whisper, wanted.whisper)
    assert is_same(load_encoder(find_files(models, version), CPU), random_encoder(CPU, seed=3, configs=CONFIGS))


def test_openais_encoder_is_taken_where_there_is_no_other(own_models: Path) -> None:
    (own_models / "whisper" / "pytorch_model.bin").unlink()
    files = find_files(own_models, "1.0")
    assert files.whisper.name == "tiny.pt"
    wanted = random_nets("1.0", CPU, seed=3, configs=CONFIGS)
    # It is in half precision.
    assert is_same(load_nets(files, CPU).whisper, wanted.whisper, tolerance=2e-3)


def test_safetensors_are_taken_before_pickles(own_models: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch", reason="needs safetensors").save_file
    unet = own_models / "musetalkV15" / "unet.pth"
    save_file(read_state_dict(unet), own_models / "musetalkV15" / "unet.safetensors")
    unet.unlink()
    files = find_files(own_models, "1.5")
    assert files.unet.suffix == ".safetensors"
    assert is_same(load_nets(files, CPU).unet, random_nets("1.5", CPU, seed=3, configs=CONFIGS).unet)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_nets_have_the_requested_precision(models: Path, dtype: torch.dtype) -> None:
    nets = load_nets(find_files(models, "1.5"), Precision(torch.device("cpu"), dtype))
    for net in (nets.unet, nets.decoder, nets.whisper):
        assert {tensor.dtype for tensor in net.state_dict().values()} == {dtype}
        assert not any(parameter.requires_grad for parameter in net.parameters())
    wanted = random_nets("1.5", CPU, seed=3, configs=CONFIGS)
    latents, tokens = noise(1, 8, 32, 32), noise(1, 50, CONFIGS.unet.audio_dim)
    exact = wanted.decoder(wanted.unet(latents, tokens))
    error = relative_error(nets.decoder(nets.unet(latents.to(dtype), tokens.to(dtype))).float(), exact)
    assert 0 < error < 0.1


def test_the_nets_do_not_need_their_files_any_more(own_models: Path) -> None:
    files = find_files(own_models, "1.5")
    nets = load_nets(files, CPU)
    before = {name: tensor.clone() for name, tensor in nets.unet.state_dict().items()}
    with files.unet.open("r+b") as file:
        file.write(os.urandom(files.unet.stat().st_size))
    assert all(torch.equal(before[name], tensor) for name, tensor in nets.unet.state_dict().items())


def test_convolutions_are_in_channels_last(models: Path) -> None:
    nets = load_nets(find_files(models, "1.5"), CPU)
    weights = [tensor for tensor in nets.unet.state_dict().values() if tensor.ndim == 4 and tensor.shape[2] == 3]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


class Intruder:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._trace),)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def hole(path: Path) -> None:
    """Its table of contents is there, its tensors are not."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if "/data/" not in name}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


DAMAGE = {
    "half a file": (half, "cut short"),
    "without its tensors": (hole, "cut short or damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "a web page": (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>not found</html>"), "is a web page"),
    "a pointer": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "pointer of Git LFS"),
    "noise": (lambda path: path.write_bytes(random.Random(1).randbytes(5000)), "damaged or no PyTorch file"),
    "a list": (lambda path: torch.save([1, 2], path), "holds a list"),
    "an old pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "damaged or no PyTorch file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["musetalkV15/unet.pth", "sd-vae/diffusion_pytorch_model.bin"])
def test_a_damaged_file_is_named_with_what_to_do(own_models: Path, kind: str, name: str) -> None:
    damage, words = DAMAGE[kind]
    damage(own_models / name)
    with pytest.raises(ModelError, match=words) as caught:
        load_nets(find_files(own_models, "1.5"), CPU)
    assert name in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("is_new", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(own_models: Path, tmp_path: Path, is_new: bool) -> None:
    trace = tmp_path / "was-run"
    path = own_models / "musetalkV15" / "unet.pth"
    torch.save({"conv_in.weight": Intruder(trace)}, path, _use_new_zipfile_serialization=is_new)
    with pytest.raises(ModelError, match="code or objects"):
        load_nets(find_files(own_models, "1.5"), CPU)
    assert not trace.exists()


def test_safetensors_that_are_cut_short_are_named(own_models: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch", reason="needs safetensors").save_file
    path = own_models / "musetalkV15" / "unet.safetensors"
    save_file({"conv_in.weight": torch.zeros(100, 100)}, path)
    half(path)
    with pytest.raises(ModelError, match="cut short or damaged") as caught:
        load_nets(find_files(own_models, "1.5"), CPU)
    assert str(path) in str(caught.value)


def test_an_older_archive_is_read_too(own_models: Path) -> None:
    path = own_models / "musetalkV15" / "unet.pth"
    torch.save(read_state_dict(path), path.with_suffix(".old"), _use_new_zipfile_serialization=False)
    path.with_suffix(".old").rename(path)
    assert is_same(
        load_nets(find_files(own_models, "1.5"), CPU).unet, random_nets("1.5", CPU, seed=3, configs=CONFIGS).unet
    )


def test_another_architecture_is_named_by_tensor_and_shape(own_models: Path) -> None:
    path = own_models / "musetalkV15" / "unet.pth"
    state = {name: tensor.clone() for name, tensor in read_state_dict(path).items()}
    state["conv_in.weight"] = state["conv_in.weight"][:, :4].clone()
    del state["conv_out.bias"]
    state["class_embedding.weight"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ModelError) as caught:
        load_nets(find_files(own_models, "1.5"), CPU)
    message = str(caught.value)
    assert "conv_in.weight is 16 × 4 × 3 × 3, must be 16 × 8 × 3 × 3" in message
    assert "1 of 686 tensors are missing (conv_out.bias)" in message
    assert "1 are unknown (class_embedding.weight)" in message


def test_the_whole_of_another_model_is_refused(own_models: Path) -> None:
    (own_models / "musetalkV15" / "unet.pth").write_bytes((own_models / "whisper" / "pytorch_model.bin").read_bytes())
    with pytest.raises(ModelError, match="686 of 686 tensors are missing"):
        load_nets(find_files(own_models, "1.5"), CPU)


def test_settings_that_do_not_fit_are_named(own_models: Path) -> None:
    path = own_models / "musetalkV15" / "musetalk.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"in_channels": "eight"}))
    with pytest.raises(ModelError, match="'in_channels' is 'eight'"):
        load_nets(find_files(own_models, "1.5"), CPU)
    path.write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        load_nets(find_files(own_models, "1.5"), CPU)


def test_the_scaling_factor_is_read_from_the_vaes_settings(own_models: Path) -> None:
    path = own_models / "sd-vae" / "config.json"
    values = json.loads(path.read_text())
    assert loading.read_configs(find_files(own_models, "1.5")).vae.scale == 0.18215
    path.write_text(json.dumps(values | {"scaling_factor": 0.13025}))
    assert loading.read_configs(find_files(own_models, "1.5")).vae.scale == 0.13025
    for wrong in (0, -1, "0.18", True):
        path.write_text(json.dumps(values | {"scaling_factor": wrong}))
        with pytest.raises(ModelError, match=r"'scaling_factor' is .* must be a number above 0"):
            load_nets(find_files(own_models, "1.5"), CPU)


def test_the_other_versions_unet_is_known_by_its_size(own_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two official UNets hold the same tensors; only their sizes tell them apart."""
    size = (own_models / "musetalkV15" / "unet.pth").stat().st_size
    monkeypatch.setattr(loading, "_UNET_BYTES", {size: "1.0"})
    with pytest.raises(ModelError, match=r"is the UNet of MuseTalk 1\.0, not 1\.5") as caught:
        load_nets(find_files(own_models, "1.5"), CPU)
    assert "musetalk-1.0" in caught.value.hint


def test_too_little_memory_is_reported(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("musetalk_cli.engine.models.musetalk.checkpoints.weight_files._to", fail)
    with pytest.raises(ModelError, match="not enough memory on cpu"):
        load_nets(find_files(models, "1.5"), CPU)


def test_loading_into_a_net_leaves_no_second_copy() -> None:
    net = build_on_meta(WhisperEncoder, CONFIGS.whisper)
    state = random_state_dict(net, 3)
    wanted = dict(state)
    placed = load_into(net, state, CPU.device, CPU.dtype)
    assert state == {}
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in placed.state_dict().items())


def test_random_weights_are_generated_at_access_and_always_the_same() -> None:
    state = RandomStateDict(build_on_meta(WhisperEncoder, CONFIGS.whisper), 3)
    name = next(iter(state))
    assert state[name] is not state[name]
    assert torch.equal(state[name], random_state_dict(build_on_meta(WhisperEncoder, CONFIGS.whisper), 3)[name])
    assert not torch.equal(state[name], random_state_dict(build_on_meta(WhisperEncoder, CONFIGS.whisper), 4)[name])
