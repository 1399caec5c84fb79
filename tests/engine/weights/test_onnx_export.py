"""``musetalk models export``: graphs that equal PyTorch, in a folder that appears whole or not at all."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural,onnx]'")

import numpy as np  # noqa: E402

from fixtures.official_files import find_files, write_models  # noqa: E402
from fixtures.small_nets import CONFIGS, noise  # noqa: E402
from musetalk_cli.engine.models.musetalk.checkpoints.loading import ModelFiles, Precision, load_nets  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.layers import PhaseUpsample  # noqa: E402
from musetalk_cli.engine.models.musetalk.nets.unet import positional_encoding  # noqa: E402
from musetalk_cli.engine.weights import onnx_export, onnx_graphs  # noqa: E402
from musetalk_cli.engine.weights.onnx_export import export_onnx, find_model  # noqa: E402
from musetalk_cli.engine.weights.store import WeightStore  # noqa: E402
from musetalk_cli.errors import ModelError  # noqa: E402

# Tracing takes as long as there are layers, however small: two levels, one resnet each.
TINY = dataclasses.replace(
    CONFIGS,
    unet=dataclasses.replace(CONFIGS.unet, dims=(16, 24), has_audio=(True, False), num_resnets=1),
    vae=dataclasses.replace(CONFIGS.vae, dims=(8, 16), num_resnets=1),
    whisper=dataclasses.replace(CONFIGS.whisper, num_steps=50, num_layers=1),
)
GRAPHS = {f"{net}-b{size}.onnx" for net in ("unet", "vae_decoder", "whisper_encoder") for size in (1, 3)}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return find_files(write_models(tmp_path_factory.mktemp("models"), TINY), "1.5")


@pytest.fixture(scope="module")
def exported(files: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exports") / "new" / "onnx"
    said: list[str] = []
    graphs = export_onnx("musetalk-1.5", files, target, [3, 1, 3], said.append, is_replacing=False)
    assert {graph.file for graph in graphs} == GRAPHS
    assert all(graph.error < 1e-5 for graph in graphs)
    assert sum("differs from PyTorch by" in line for line in said) == len(GRAPHS)
    return target


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tracing: every graph is an empty file that is as far from PyTorch as ``error`` says."""

    def write(net: onnx_graphs.OnnxNet, batch_size: int, path: Path, weights: onnx_graphs.WeightFile) -> None:
        path.write_bytes(f"{net.name} {batch_size}".encode())

    monkeypatch.setattr(onnx_graphs, "write_graph", write)
    monkeypatch.setattr(onnx_graphs, "run_graph", lambda path, inputs: _torch_says(path, inputs))


_NETS: dict[str, onnx_graphs.OnnxNet] = {}


@pytest.fixture(autouse=True)
def _nets(files: ModelFiles) -> None:
    if not _NETS:
        loaded = load_nets(files, Precision(torch.device("cpu"), torch.float32))
        _NETS.update({net.name: net for net in onnx_graphs.onnx_nets(loaded)})


@torch.inference_mode()
def _torch_says(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    out = _NETS[path.name.rpartition("-b")[0]].net(*map(torch.from_numpy, inputs.values()))
    return np.asarray(out.numpy())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def quiet(text: str) -> None:
    pass


def test_the_graphs_are_the_nets_that_render_uses(exported: Path, files: ModelFiles) -> None:
    nets = load_nets(files, Precision(torch.device("cpu"), torch.float32))
    latents, audio = noise(3, 8, 32, 32), noise(3, 50, TINY.unet.audio_dim, seed=1)
    with torch.inference_mode():
        face_latents = nets.unet(latents, audio + positional_encoding(50, TINY.unet.audio_dim))
        image = nets.decoder(face_latents)
    made = onnx_graphs.run_graph(exported / "unet-b3.onnx", {"latents": latents.numpy(), "audio": audio.numpy()})
    np.testing.assert_allclose(made, face_latents.numpy(), atol=1e-4 * float(face_latents.abs().max()))
    made = onnx_graphs.run_graph(exported / "vae_decoder-b3.onnx", {"face_latents": face_latents.numpy()})
    np.testing.assert_allclose(made, image.numpy(), atol=1e-4 * float(image.abs().max()))


def test_sizes_share_weights_and_the_manifest_describes_them(exported: Path, files: ModelFiles) -> None:
    import onnx

    weights = {"unet.data", "vae_decoder.data", "whisper_encoder.data"}
    assert names(exported) == GRAPHS | weights | {"export.json"}
    nets = load_nets(files, Precision(torch.device("cpu"), torch.float32))
    num_bytes = sum(tensor.nbytes for tensor in nets.unet.state_dict().values())
    assert (exported / "unet.data").stat().st_size < 1.5 * num_bytes + 4096 * len(nets.unet.state_dict())
    manifest = json.loads((exported / "export.json").read_text())
    assert (manifest["model"], manifest["version"]) == ("musetalk-1.5", "1.5")
    for graph in manifest["graphs"]:
        model = onnx.load(exported / graph["file"], load_external_data=False)
        onnx.checker.check_model(str(exported / graph["file"]))
        inputs = {each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in model.graph.input}
        assert inputs == graph["inputs"]
        assert {each.name for each in model.graph.output} == set(graph["output"])
        assert b"musetalk_cli" not in (exported / graph["file"]).read_bytes(), "no paths of this computer"


def test_the_first_version_has_no_norm_behind_whisper(files: ModelFiles) -> None:
    mel = noise(1, 80, 100)
    outputs = []
    for version in ("1.5", "1.0"):
        loaded = load_nets(dataclasses.replace(files, version=version), Precision(torch.device("cpu"), torch.float32))
        outputs.append(onnx_graphs.onnx_nets(loaded)[2].net(mel))
    assert torch.equal(outputs[0][:, :, :-1], outputs[1][:, :, :-1])
    assert not torch.allclose(outputs[0], outputs[1])


def test_interleaved_phases_are_the_same_upsampling() -> None:
    layer, x = PhaseUpsample(5), noise(2, 5, 4, 6)
    net = torch.nn.Sequential(layer)
    wanted = net(x)
    onnx_graphs._replace_upsamplers(net)
    assert not isinstance(net[0], PhaseUpsample)
    torch.testing.assert_close(net(x), wanted)


@pytest.mark.usefixtures("quick")
def test_nothing_is_replaced_without_the_flag_and_nothing_but_an_export_with_it(
    files: ModelFiles, tmp_path: Path
) -> None:
    target = tmp_path / "onnx"
    target.mkdir()
    export_onnx("musetalk-1.5", files, target, [1], quiet, is_replacing=False)
    with pytest.raises(ModelError, match="exists already") as caught:
        export_onnx("musetalk-1.5", files, target, [2], quiet, is_replacing=False)
    assert "--overwrite" in caught.value.hint
    export_onnx("musetalk-1.5", files, target, [2], quiet, is_replacing=True)
    assert {name for name in names(target) if name.startswith("unet")} == {"unet-b2.onnx", "unet.data"}
    (target / "mine.txt").touch()
    with pytest.raises(ModelError, match=r"other files.*mine\.txt"):
        export_onnx("musetalk-1.5", files, target, [1], quiet, is_replacing=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(ModelError, match="is no export"):
        export_onnx("musetalk-1.5", files, tmp_path / "photos", [1], quiet, is_replacing=True)
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is no export"):
        export_onnx("musetalk-1.5", files, tmp_path / "file", [1], quiet, is_replacing=True)
    assert names(tmp_path) == {"onnx", "photos", "file"}


@pytest.mark.usefixtures("quick")
def test_a_graph_that_differs_leaves_what_was_there(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "onnx"
    export_onnx("musetalk-1.5", files, target, [1], quiet, is_replacing=False)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    monkeypatch.setattr(onnx_graphs, "run_graph", lambda path, inputs: _torch_says(path, inputs) * np.float32(1.001))
    with pytest.raises(ModelError, match=r"unet-b1\.onnx differs from PyTorch by 1\.0e-03"):
        export_onnx("musetalk-1.5", files, target, [1], quiet, is_replacing=True)
    monkeypatch.setattr(onnx_graphs, "run_graph", lambda path, inputs: _torch_says(path, inputs) * np.nan)
    with pytest.raises(ModelError, match="differs"):
        export_onnx("musetalk-1.5", files, tmp_path / "other", [1], quiet, is_replacing=False)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert names(tmp_path) == {"onnx"}


@pytest.mark.usefixtures("quick")
def test_what_a_killed_export_left_is_removed(files: ModelFiles, tmp_path: Path) -> None:
    left, at_work = (tmp_path / f".onnx.{pid}-0" for pid in (999_999_999, os.getpid()))
    for folder in (left, at_work):
        folder.mkdir()
        (folder / "unet.data").touch()
    export_onnx("musetalk-1.5", files, tmp_path / "onnx", [1], quiet, is_replacing=False)
    assert not left.exists()
    assert at_work.exists(), "another process may be writing there"


@pytest.mark.usefixtures("quick")
def test_where_names_cannot_be_exchanged_the_folder_is_moved_away(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError("not here")

    monkeypatch.setattr(onnx_export, "exchange", refuse)
    for size in (1, 2):
        export_onnx("musetalk-1.5", files, tmp_path / "onnx", [size], quiet, is_replacing=True)
    assert "unet-b2.onnx" in names(tmp_path / "onnx")
    assert names(tmp_path) == {"onnx"}


def test_a_net_is_released_before_onnxruntime_runs_it(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """Both at once would be twice 3.4 GB."""
    loaded: list[int] = []

    def run(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
        gc.collect()
        loaded.append(
            sum(each.nbytes for each in gc.get_objects() if type(each) is torch.nn.Parameter and _is_of(each))
        )
        return _torch_says(path, inputs)

    known = {id(each) for net in _NETS.values() for each in net.net.parameters()}

    def _is_of(parameter: torch.nn.Parameter) -> bool:
        return parameter.device.type == "cpu" and id(parameter) not in known

    monkeypatch.setattr(onnx_graphs, "run_graph", run)
    export_onnx("musetalk-1.5", files, tmp_path / "onnx", [1], quiet, is_replacing=False)
    assert loaded[0] > loaded[1] > loaded[2]
    unet = sum(each.nbytes for each in _NETS["unet"].net.parameters())
    assert loaded[0] < unet, "the UNet's are gone while it is compared"


def test_models_of_a_store_are_found_by_name(files: ModelFiles, tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "home")
    store.refer_to(files.unet.parents[1])
    assert find_model("musetalk-1.5", store) == files
    assert find_model("musetalk-1.0", store).version == "1.0"
    store.keep_custom("mine", {"base": "musetalk-1.0", "files": {"unet": str(files.unet), "lora": str(files.vae)}})
    mine = find_model("mine", store)
    assert (mine.version, mine.is_custom, mine.lora) == ("1.0", True, files.vae)
    with pytest.raises(ModelError, match="no model that can be exported"):
        find_model("face-parsing", store)
    with pytest.raises(ModelError, match="no weights called"):
        find_model("musetalk-1.6", store)


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ModelError, match="exporting needs onnxscript") as caught:
        find_model("musetalk-1.5", WeightStore(tmp_path))
    assert "onnx" in caught.value.hint
