"""Fine-tunes under a name: found in what training writes, checked, described, and never taken for damaged files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
save_file = pytest.importorskip("safetensors.torch", reason="needs safetensors: pip install -e '.[neural]'").save_file

from fixtures.official_files import write_models  # noqa: E402
from fixtures.small_nets import CONFIGS, CPU  # noqa: E402
from musetalk_cli.app import model_choice  # noqa: E402
from musetalk_cli.configuration.schema import Config  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import ModelFiles, load_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.lora import merge_lora  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import read_state_dict  # noqa: E402
from musetalk_cli.engine.weights.custom import find_custom, find_fine_tune, require_custom  # noqa: E402
from musetalk_cli.engine.weights.imports import check_is_complete  # noqa: E402
from musetalk_cli.engine.weights.inventory import describe_all, wanted_files  # noqa: E402
from musetalk_cli.engine.weights.registry import UNET_15, get_weight_set  # noqa: E402
from musetalk_cli.engine.weights.store import WeightStore  # noqa: E402
from musetalk_cli.engine.weights.verification import verify_custom  # noqa: E402
from musetalk_cli.errors import ConfigError, ModelError  # noqa: E402

pytestmark = pytest.mark.timeout(120)
UNET = "musetalkV15/unet.pth"
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("published"), CONFIGS)


@pytest.fixture
def store(published: Path, tmp_path: Path) -> WeightStore:
    """With the official base, of small nets."""
    store = WeightStore(tmp_path / "home")
    store.refer_to(published)
    return store


@pytest.fixture
def trained(published: Path, tmp_path: Path) -> Path:
    """What training writes: checkpoints by step, wrapped, and the UNet's settings."""
    folder = tmp_path / "exp_out"
    folder.mkdir()
    state = torch.load(published / UNET, weights_only=True)
    for step in (500, 20_000, 3_000):
        changed = {f"module.unet.{name}": tensor + step * 1e-6 for name, tensor in state.items()}
        torch.save({"net": changed, "step": step}, folder / f"unet-{step}.pth")
    shutil.copy(published / "musetalkV15" / "musetalk.json", folder)
    return folder


def nets_of(files: dict[str, Path]):
    chosen = ModelFiles("1.5", files["unet"], files["vae"], files["whisper"], lora=files.get("lora"), is_custom=True)
    return load_nets(chosen, CPU)


def write_lora(folder: Path, *, scale: float | None, style: str) -> Path:
    """A LoRA of rank 2 on a query and an output projection, as PEFT or diffusers saves one."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for module, (rows, columns) in {QUERY: (16, 16), OUT: (32, 32)}.items():
        down, up = torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator)
        if style == "peft":
            names = (f"base_model.model.{module}.lora_A.weight", f"base_model.model.{module}.lora_B.weight")
        elif style == "diffusers":
            names = (f"unet.{module}.lora_A.weight", f"unet.{module}.lora_B.weight")
        else:
            head, _, last = module.removesuffix(".0").rpartition(".")
            names = tuple(f"unet.{head}.processor.{last}_lora.{side}.weight" for side in ("down", "up"))
        tensors |= dict(zip(names, (down, up), strict=True))
    path = folder / ("adapter_model.safetensors" if style == "peft" else "pytorch_lora_weights.safetensors")
    save_file(tensors, path)
    if scale is not None:
        (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 2 * scale}))
    return folder


def test_the_newest_checkpoint_of_a_training_is_found_unwrapped_and_used(
    trained: Path, published: Path, store: WeightStore
) -> None:
    model = find_fine_tune(trained, "mine", None, store)
    assert model.files == {"unet": trained / "unet-20000.pth"}
    assert model.base == "musetalk-1.5"
    (result,) = verify_custom(model, store)
    assert (result.status, result.is_good) == ("custom", True)
    own = nets_of(require_custom(model, store))
    official = nets_of({part.kind: store.find(part) for part in get_weight_set("musetalk-1.5").parts})
    name = "conv_norm_out.weight"
    assert torch.allclose(own.unet.state_dict()[name], official.unet.state_dict()[name] + 0.02)


def test_a_model_is_kept_described_as_custom_chosen_and_forgotten(
    trained: Path, store: WeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_choice, "weight_store", lambda: store)
    model = find_fine_tune(trained / "unet-500.pth", "mine", None, store)
    store.keep_custom("mine", model.as_record())
    assert find_custom("mine", store) == model
    described = describe_all(store)[-1]
    assert (described["name"], described["state"]) == ("mine", "custom")
    assert [part["state"] for part in described["parts"]] == ["custom", "present", "present"]
    assert model_choice.choose_model(Config(model="mine"), nothing_said) == "mine"
    settings = model_choice._settings(Config(model="mine"), "mine")
    assert (settings.version, settings.custom_name, settings.mask.mode) == ("1.5", "mine", "jaw")
    with pytest.raises(ConfigError, match=r"'model' is 'mime': must be .*musetalk-1.0 or mine") as caught:
        model_choice.choose_model(Config(model="mime"), nothing_said)
    assert caught.value.hint == "did you mean 'mine'?"
    store.keep_custom("mine", None)
    assert find_custom("mine", store) is None
    assert store.imported()  # the folders stay


def nothing_said(text: str) -> None:
    raise AssertionError(text)


def test_a_file_that_is_gone_is_named(trained: Path, store: WeightStore) -> None:
    store.keep_custom("mine", find_fine_tune(trained, "mine", None, store).as_record())
    (trained / "unet-20000.pth").unlink()
    model = find_custom("mine", store)
    with pytest.raises(ModelError, match=r"model 'mine' is not all here: .*unet-20000\.pth missing"):
        require_custom(model, store)
    assert describe_all(store)[-1]["state"] == "partial"


@pytest.mark.parametrize(("style", "scale"), [("peft", 0.5), ("diffusers", None), ("processors", None)])
def test_a_lora_changes_the_official_unet(style: str, scale: float | None, tmp_path: Path, store: WeightStore) -> None:
    folder = write_lora(tmp_path / "lora", scale=scale, style=style)
    model = find_fine_tune(folder, "mine", "musetalk-1.5", store)
    assert list(model.files) == ["lora"]
    (result,) = verify_custom(model, store)
    assert result.status == "custom"
    assert "a LoRA of 2 layers" in result.note
    files = require_custom(model, store)
    plain, merged = read_state_dict(files["unet"]), merge_lora(read_state_dict(files["unet"]), files["lora"])
    changed = [name for name in plain if not torch.equal(plain[name], merged[name])]
    assert changed == [f"{QUERY}.weight", f"{OUT}.weight"]
    generator = torch.Generator().manual_seed(3)
    down, up = torch.randn(2, 16, generator=generator), torch.randn(16, 2, generator=generator)
    wanted = plain[changed[0]] + (scale or 1.0) * up @ down
    assert torch.allclose(merged[changed[0]], wanted)
    assert torch.allclose(nets_of(files).unet.state_dict()[changed[0]], wanted)


def test_a_lora_of_another_model_is_refused(tmp_path: Path, store: WeightStore) -> None:
    folder = tmp_path / "lora"
    folder.mkdir()
    tensors = {f"unet.text_model.q.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    save_file(tensors, folder / "adapter_model.safetensors")
    (result,) = verify_custom(find_fine_tune(folder, "mine", None, store), store)
    assert result.status == "damaged"
    assert "which MuseTalk's UNet does not have" in result.note
    save_file({"a": torch.zeros(2)}, folder / "adapter_model.safetensors")
    (result,) = verify_custom(find_fine_tune(folder, "mine", None, store), store)
    assert "is not a LoRA (a)" in result.note


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"lora_B": torch.ones(16, 3)}, "cannot be multiplied"),
        ({"lora_B": torch.ones(16)}, "cannot be multiplied"),
        ({"lora_A": torch.ones(0, 16), "lora_B": torch.ones(16, 0)}, "cannot be multiplied"),
        ({"lora_A": torch.full((2, 16), torch.nan)}, "by values that are not finite"),
        ({"alpha": torch.ones(3)}, r"is not a LoRA \(.*alpha\)"),
    ],
)
def test_a_damaged_lora_is_refused(
    damage: dict[str, torch.Tensor], words: str, published: Path, tmp_path: Path
) -> None:
    tensors = {"lora_A": torch.ones(2, 16), "lora_B": torch.ones(16, 2), **damage}
    ends = {name: "" if name == "alpha" else ".weight" for name in tensors}
    path = tmp_path / "adapter_model.safetensors"
    save_file({f"unet.{QUERY}.{name}{ends[name]}": tensor for name, tensor in tensors.items()}, path)
    with pytest.raises(ModelError, match=words):
        merge_lora(read_state_dict(published / UNET), path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [("[]", "holds no settings"), ('{"lora_alpha": "2"}', "'lora_alpha' is '2'"), ('{"lora_alpha": null}', "is None")],
)
def test_damaged_settings_of_a_lora_are_refused(settings: str, words: str, published: Path, tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "lora", scale=None, style="peft")
    (folder / "adapter_config.json").write_text(settings)
    with pytest.raises(ModelError, match=words):
        merge_lora(read_state_dict(published / UNET), folder / "adapter_model.safetensors")


@pytest.mark.parametrize("name", ["warp", "auto", "musetalk-1.5", "face-parsing", "a b", "", "../x"])
def test_names_that_are_taken_or_no_names_are_refused(name: str, trained: Path, store: WeightStore) -> None:
    with pytest.raises(ModelError, match="a model cannot be called"):
        find_fine_tune(trained, name, None, store)


def test_what_is_no_checkpoint_is_named(tmp_path: Path, store: WeightStore) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="there is no checkpoint in"):
        find_fine_tune(tmp_path / "empty", "mine", None, store)
    with pytest.raises(ModelError, match="there is no folder or file"):
        find_fine_tune(tmp_path / "nowhere", "mine", None, store)
    for name in ("a.pth", "b.pth"):
        (tmp_path / "empty" / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=r"holds 2 checkpoints \(a.pth, b.pth\)"):
        find_fine_tune(tmp_path / "empty", "mine", None, store)


def test_without_an_official_base_what_is_missing_is_said(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"VAE .*Whisper .* missing there and in") as caught:
        find_fine_tune(trained, "mine", None, WeightStore(tmp_path / "nothing"))
    assert "musetalk models download musetalk-1.5" in caught.value.hint


def test_a_folder_in_upstreams_layout_brings_its_own_parts_and_version(published: Path, tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "nothing")
    model = find_fine_tune(published, "mine", "musetalk-1.0", store)
    assert set(model.files) == {"unet", "vae", "whisper"}
    assert model.version == "1.0"


def test_an_incomplete_folder_says_what_is_missing(published: Path, tmp_path: Path) -> None:
    store, folder = WeightStore(tmp_path / "home"), tmp_path / "part"
    shutil.copytree(published / "musetalkV15", folder / "musetalkV15")
    with pytest.raises(ModelError, match=r"is not a whole musetalk-1\.5: VAE \(sd-vae/.*Whisper \(whisper/"):
        check_is_complete(folder, store)
    store.refer_to(published)
    check_is_complete(folder, store)
    check_is_complete(published, WeightStore(tmp_path / "other"))


def test_a_fine_tune_in_an_imported_folder_is_neither_doubtful_nor_downloaded_over(
    published: Path, tmp_path: Path
) -> None:
    """It has another size than the published file, and is a whole archive."""
    folder = Path(shutil.copytree(published, tmp_path / "models"))
    store = WeightStore(tmp_path / "home")
    store.refer_to(folder)
    part = describe_all(store)[0]["parts"][0]
    assert part["state"] == "custom"
    assert describe_all(store)[0]["state"] == "ready"
    assert UNET_15.file not in wanted_files([get_weight_set("musetalk-1.5")], store)
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-1000])
    assert describe_all(store)[0]["parts"][0]["state"] == "doubtful"
