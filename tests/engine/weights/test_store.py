"""Verifying weight files by their contents, finding them, and converting them."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
pytest.importorskip("safetensors", reason="needs safetensors: pip install -e '.[neural]'")

from fixtures.official_files import write_models  # noqa: E402
from fixtures.small_nets import CONFIGS  # noqa: E402
from musetalk_cli.app.settings.folders import home_folder  # noqa: E402
from musetalk_cli.engine.weights import registry  # noqa: E402
from musetalk_cli.engine.weights.convert import convert  # noqa: E402
from musetalk_cli.engine.weights.download import check_download, check_space, size_text  # noqa: E402
from musetalk_cli.engine.weights.registry import PARSING, UNET_10, UNET_15, VAE, WHISPER, Part  # noqa: E402
from musetalk_cli.engine.weights.store import WeightStore, find_in  # noqa: E402
from musetalk_cli.engine.weights.verification import CheckResult, identify, is_likely_whole, verify  # noqa: E402
from musetalk_cli.errors import ANOTHER_COPY, ModelError  # noqa: E402

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("published"), CONFIGS)


@pytest.fixture
def models(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "models"))


def sized(part: Part, published: Path) -> Part:
    """The part as if the small files were the published ones."""
    path = published / part.file.path
    total = hashlib.sha256(path.read_bytes()).hexdigest() if part.file.sha256 else None
    file = part.file._replace(num_bytes=path.stat().st_size, sha256=total)
    return part._replace(file=file, other_files=())


def nothing(what: str, done: int, total: int) -> None:
    """No progress is shown."""


def check(part: Part, models: Path) -> CheckResult:
    store = WeightStore(models.parent)
    return verify(part, store.find(part), store.find_settings(part), nothing)


@pytest.mark.parametrize("part", [UNET_15, UNET_10, VAE, WHISPER], ids=lambda part: part.file.path)
def test_whole_files_are_known(part: Part, models: Path, published: Path) -> None:
    own = sized(part, published)
    assert check(own, models).status == "official"
    assert check(part, models).status == "unofficial"  # it fits, but has another sum than upstream's
    assert is_likely_whole(own, models / part.file.path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_bits(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def flip_a_bit_of_the_contents(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the archive's table of contents
    data[at + 46] ^= 0x80  # its name's first letter, no UTF-8 then
    data[at + 9] |= 0x08  # which it is said to be
    path.write_bytes(data)


def save_marked_web_page(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><title>Log in</title></html>")


def save_web_page(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><html><title>Rate limited</title></html>")


def save_pointer(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:7ebf\nsize 3400074924\n")


class Touch:
    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ("touch executed",)


def put_code_in(path: Path) -> None:
    torch.save({"conv_in.weight": Touch()}, path)


def save_bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"conv_in.weight": Touch()}))


def save_another_net(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(10, 10), "fc.bias": torch.zeros(10)}, path)


def widen(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["conv_in.weight"] = torch.zeros(32, 4, 3, 3)
    torch.save(state, path)


def break_a_value(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["conv_in.weight"][3, 2, 1, 0] = float("nan")
    state["conv_out.bias"][0] = float("inf")
    torch.save(state, path)


def save_whole_checkpoint(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    torch.save({"state_dict": state, "args": argparse.Namespace(learning_rate=1e-5)}, path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, ["cut short", "bytes"]),
        (empty, ["empty"]),
        (save_web_page, ["web page"]),
        (save_marked_web_page, ["web page"]),
        (flip_bits, ["damaged", "checksum", "data/"]),
        (flip_a_bit_of_the_contents, ["damaged", "archive"]),
        (save_pointer, ["Git LFS"]),
        (put_code_in, ["code or objects", "not opened"]),
        (save_bare_pickle, ["no PyTorch file"]),
        (save_another_net, ["conv_in.weight", "missing", "fc.weight"]),
        (break_a_value, ["2 of ", "not finite", "conv_in.weight", "conv_out.bias"]),
        (save_whole_checkpoint, ["code or objects", "argparse.Namespace"]),
        (widen, ["conv_in.weight", "32 × 4 × 3 × 3", "16 × 8 × 3 × 3"]),
    ],
)
def test_what_is_wrong_is_reported(
    damage: Callable[[Path], None], words: list[str], models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(models / UNET_15.file.path)
    result = check(UNET_15, models)
    assert result.status == "damaged"
    assert str(models / UNET_15.file.path) in result.note
    assert [word for word in words if word not in result.note] == [], result.note
    assert result.hint
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_with_more_than_tensors_says_how_to_save_them_alone(models: Path) -> None:
    save_whole_checkpoint(models / UNET_15.file.path)
    assert "torch.save(net.state_dict(), 'unet.pth')" in check(UNET_15, models).hint


@pytest.mark.parametrize("part", [UNET_15, UNET_10])
def test_zeros_of_the_published_size_are_not_taken_for_weights(part: Part, models: Path, published: Path) -> None:
    own, path = sized(part, published), models / part.file.path
    own = own._replace(file=own.file._replace(sha256=None))
    path.write_bytes(bytes(path.stat().st_size))
    assert not is_likely_whole(own, path)
    status, _ = identify(own, path, lambda *progress: None)
    assert status != "official"


def test_only_a_file_that_was_downloaded_is_to_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = WeightStore(tmp_path)
    file = UNET_15.file._replace(num_bytes=100)
    part = UNET_15._replace(file=file)
    monkeypatch.setattr("musetalk_cli.engine.weights.store.WEIGHT_SETS", (registry.WeightSet("a-set", "A", (part,)),))
    path = store.models / file.path
    path.parent.mkdir(parents=True)
    problem = f"{path} is damaged"
    path.write_bytes(bytes(100))
    assert store.next_step(problem, ANOTHER_COPY) == "delete it and download it again: musetalk models download a-set"
    path.write_bytes(bytes(99))
    assert store.next_step(problem, ANOTHER_COPY) == ANOTHER_COPY
    path.write_bytes(bytes(100))
    assert store.next_step(f"{tmp_path / 'mine.pth'} is damaged", ANOTHER_COPY) == ANOTHER_COPY
    assert store.next_step(problem, "something else") == "something else"


def test_a_file_that_was_saved_without_checksums_is_not_called_damaged(models: Path) -> None:
    path = models / UNET_15.file.path
    state = torch.load(path, weights_only=True)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert check(UNET_15, models).status == "unofficial"


def test_the_first_versions_file_under_the_seconds_name_is_found_out(models: Path, published: Path) -> None:
    other = sized(UNET_10, published)
    pretended = registry.WEIGHT_SETS[1]._replace(parts=(other,))
    shutil.copy(models / UNET_10.file.path, models / UNET_15.file.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "WEIGHT_SETS", (registry.WEIGHT_SETS[0], pretended))
        result = check(sized(UNET_15, published), models)
        assert result.status == "damaged"
        assert "is really musetalk/pytorch_model.bin" in result.note
        converted = convert(other, models / UNET_10.file.path, models / "musetalk" / "musetalk.json", models)
        shutil.copy(converted, models / UNET_15.converted)
        assert "is really musetalk/pytorch_model.bin" in check(UNET_15, models).note


def test_settings_that_are_a_web_page_are_named(models: Path) -> None:
    save_web_page(models / "musetalkV15" / "musetalk.json")
    assert "musetalk.json" in check(UNET_15, models).note


@pytest.mark.parametrize("part", [UNET_15, VAE, WHISPER], ids=lambda part: part.kind)
def test_a_conversion_keeps_names_and_values_to_16_bits(part: Part, models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = models / part.file.path
    settings = source.parent / Path(part.settings.name).name if part.settings else None
    target = convert(part, source, settings, tmp_path / "ours")
    assert target == tmp_path / "ours" / part.converted
    assert target.stat().st_mode == source.stat().st_mode
    wanted, got = torch.load(source, weights_only=True), load_file(target)
    kept = {name for name in wanted if part.kind != "whisper" or name.startswith("model.encoder.")}
    assert set(got) == kept
    assert {tensor.dtype for tensor in got.values()} == {torch.float16}
    assert all(torch.equal(got[name], wanted[name].half()) for name in kept)
    result = verify(part, target, target.parent / settings.name if settings else None, nothing)
    assert result.status == "converted"
    assert part.file.path in result.note
    assert is_likely_whole(part, target)
    target.write_bytes(target.read_bytes()[:-1])
    assert not is_likely_whole(part, target)


def test_a_conversion_is_on_the_disk_before_it_takes_its_name(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original may be deleted next; a computer that then stops must not leave an empty file."""
    target = tmp_path / "ours" / VAE.converted
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(not target.exists() and os.fstat(number).st_size > 0))
    convert(VAE, models / VAE.file.path, models / "sd-vae" / "config.json", tmp_path / "ours")
    assert synced == [True]
    assert target.exists()


def test_values_that_16_bits_cannot_hold_are_not_converted(models: Path, tmp_path: Path) -> None:
    source = models / UNET_15.file.path
    state = torch.load(source, weights_only=True)
    state["conv_in.bias"][0] = 1e6
    torch.save(state, source)
    with pytest.raises(ModelError, match=r"conv_in\.bias"):
        convert(UNET_15, source, source.parent / "musetalk.json", tmp_path / "ours")
    assert not [path for path in (tmp_path / "ours").rglob("*") if path.is_file()]


def test_ours_comes_before_imported_and_safetensors_before_pickles(models: Path, tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "home")
    assert store.find(UNET_15) is None
    with pytest.raises(ModelError, match="UNet, VAE, Whisper missing") as caught:
        store.require(registry.get_weight_set("musetalk-1.5"))
    assert "musetalk models download musetalk-1.5" in caught.value.hint
    store.refer_to(models)
    store.refer_to(models)
    assert store.imported() == [models]
    assert store.find(UNET_15) == models / UNET_15.file.path
    (models / UNET_15.converted).write_bytes(b"x")
    assert find_in([models], UNET_15) == models / UNET_15.converted
    (store.models / "musetalkV15").mkdir()
    (store.models / UNET_15.file.path).write_bytes(b"x")
    assert store.find(UNET_15) == store.models / UNET_15.file.path
    assert set(store.require(registry.get_weight_set("musetalk-1.5"))) == {"unet", "vae", "whisper"}


def test_a_damaged_list_of_imports_is_named(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    store.models.mkdir()
    (store.models / "imported.json").write_text("{")
    with pytest.raises(ModelError, match=r"imported\.json"):
        store.find(UNET_15)


def test_home_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    assert home_folder() == tmp_path
    monkeypatch.delenv("MUSETALK_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home_folder().name == "musetalk"


def test_a_full_disk_is_reported_before_anything_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 3 * 10**8))  # type: ignore[attr-defined]
    check_space(tmp_path / "not" / "yet", 10**8, "the download")
    with pytest.raises(ModelError, match=r"no space for the download: 3\.40 GB needed .* 300 MB free"):
        check_space(tmp_path / "not" / "yet", 3_400_000_000, "the download")


def test_sizes_read_well() -> None:
    assert [size_text(size) for size in (748, 184_990, 53_289_463, 3_400_074_924)] == [
        "748 bytes",
        "185 kB",
        "53.3 MB",
        "3.40 GB",
    ]


def test_every_published_file_is_pinned() -> None:
    files = {file for each in registry.WEIGHT_SETS for file in each.files}
    assert all(file.num_bytes > 0 for file in files)
    assert {file.path for file in files if file.sha256 is None} == {"musetalk/pytorch_model.bin"}
    assert {file.repository.name for file in files if file.repository.revision == "main"} == {
        PARSING.file.repository.name
    }


def test_without_the_library_a_download_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.engine.weights.download.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs huggingface_hub"):
        check_download([], tmp_path)
