"""Which model a configuration means: decided without loading PyTorch wherever that can be."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from musetalk_cli.app import model_choice
from musetalk_cli.app.assembly import count_devices
from musetalk_cli.app.model_choice import choose_model
from musetalk_cli.configuration.schema import Config, MuseTalkConfig, PerformanceConfig, SilenceConfig, VideoConfig
from musetalk_cli.engine.weights.registry import get_weight_set
from musetalk_cli.errors import ConfigError, ModelError
from musetalk_cli.installation import install_command


class Machine:
    """A computer on which nothing of MuseTalk is there until it is put there."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._home, self._monkeypatch = home, monkeypatch
        self.told: list[str] = []
        monkeypatch.setenv("MUSETALK_HOME", str(home))
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(model_choice, "GPU_FILES", (str(home / "no-gpu"),))
        self.has_torch(False)

    def has_torch(self, is_there: bool, *, has_cuda: bool = False) -> None:
        self._monkeypatch.setattr(model_choice, "find_spec", lambda name: object() if is_there else None)
        torch = types.ModuleType("torch")
        torch.cuda = types.SimpleNamespace(is_available=lambda: has_cuda)  # type: ignore[attr-defined]
        torch.backends = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))  # type: ignore[attr-defined]
        self._monkeypatch.setitem(sys.modules, "torch", torch if is_there else None)

    def has_weights(self) -> None:
        for part in get_weight_set("musetalk-1.5").parts:
            path = self._home / "models" / part.paths[0]
            path.parent.mkdir(parents=True)
            path.write_bytes(b"weights")

    def has_gpu(self) -> None:
        self._monkeypatch.setattr(model_choice, "GPU_FILES", (str(self._home),))

    def choose(self, **changes: object) -> str:
        return choose_model(Config(**changes), self.told.append)  # type: ignore[arg-type]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_gpu_that_was_requested_and_is_missing_is_reported(machine: Machine) -> None:
    machine.has_gpu()
    assert machine.choose(device="cuda") == "warp"
    assert machine.told == [
        "model: warp, which runs on the CPU; 'device' is for musetalk-1.5, whose weights are not here"
    ]


def test_without_weights_it_is_warp_without_a_word(machine: Machine) -> None:
    machine.has_gpu()
    machine.has_torch(True, has_cuda=True)
    assert machine.choose() == "warp"
    assert machine.told == []


def test_with_everything_it_is_musetalk(machine: Machine) -> None:
    machine.has_weights()
    machine.has_gpu()
    machine.has_torch(True, has_cuda=True)
    assert machine.choose() == "musetalk-1.5"


def test_without_torch_it_is_warp_and_why_is_reported(machine: Machine) -> None:
    machine.has_weights()
    machine.has_gpu()
    assert machine.choose() == "warp"
    assert [install_command("neural") in line for line in machine.told] == [True]


@pytest.mark.parametrize("has_gpu", [False, True])
def test_without_a_gpu_that_torch_can_use_it_is_warp(machine: Machine, has_gpu: bool) -> None:
    machine.has_weights()
    machine.has_torch(True, has_cuda=not has_gpu)  # without a GPU's files torch is not even asked
    if has_gpu:
        machine.has_gpu()
    assert machine.choose() == "warp"
    assert ["no GPU" in line and "'model' musetalk-1.5" in line for line in machine.told] == [True]


def test_a_cpu_that_was_asked_for_means_warp(machine: Machine) -> None:
    machine.has_weights()
    machine.has_gpu()
    machine.has_torch(True, has_cuda=True)
    assert machine.choose(device="cpu") == "warp"
    assert len(machine.told) == 1


def test_a_named_model_without_weights_names_the_command(machine: Machine) -> None:
    machine.has_torch(True)
    with pytest.raises(ModelError, match=r"MuseTalk 1\.5.*UNet, VAE, Whisper missing") as caught:
        machine.choose(model="musetalk-1.5")
    assert "musetalk models download musetalk-1.5" in caught.value.hint


def test_a_named_model_without_torch_names_what_to_install(machine: Machine) -> None:
    machine.has_weights()
    with pytest.raises(ModelError, match="torch") as caught:
        machine.choose(model="musetalk-1.5")
    assert caught.value.hint == install_command("neural")


def test_a_named_model_without_anything_names_both_steps(machine: Machine) -> None:
    with pytest.raises(
        ModelError, match="needs torch and safetensors, not installed here, nor are its weights"
    ) as caught:
        machine.choose(model="musetalk-1.5")
    step = f"{install_command('neural')}, then musetalk models download musetalk-1.5"
    assert caught.value.hint.startswith(step)


def test_random_weights_need_no_files(machine: Machine) -> None:
    machine.has_torch(True)
    assert machine.choose(random_weights=True) == "musetalk-1.5"
    assert machine.choose(model="musetalk-1.0", random_weights=True) == "musetalk-1.0"
    with pytest.raises(ConfigError):
        machine.choose(model="warp", random_weights=True)


@pytest.mark.parametrize("device", ["cuda", "cuda:0,1", "mps"])
def test_a_device_that_is_not_there_is_reported_before_an_avatar_is_prepared_for_it(device: str) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    pytest.importorskip("safetensors", reason="needs safetensors: pip install -e '.[neural]'")
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this computer has a GPU")
    with pytest.raises(ModelError, match=r"there is no (CUDA device|Apple GPU)"):
        choose_model(Config(random_weights=True, device=device), str)


def test_following_the_official_script_means_musetalk(machine: Machine) -> None:
    machine.has_torch(True)
    machine.has_weights()
    assert machine.choose(compat="upstream") == "musetalk-1.5"
    with pytest.raises(ConfigError, match="official script"):
        machine.choose(model="warp", compat="upstream")


@pytest.mark.parametrize(
    ("name", "section", "mode", "margin_px"),
    [
        ("musetalk-1.5", MuseTalkConfig(), "jaw", 10),
        ("musetalk-1.0", MuseTalkConfig(), "raw", 0),
        ("musetalk-1.0", MuseTalkConfig("jaw", 40, 130, extra_margin=7), "jaw", 7),
        ("musetalk-1.5", MuseTalkConfig("neck", extra_margin=0), "neck", 0),
    ],
)
def test_mask_and_crop_box_follow_the_settings_or_else_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, section: MuseTalkConfig, mode: str, margin_px: int
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    from musetalk_cli.app.avatars.choice import choose_avatar
    from musetalk_cli.engine.avatar.avatar import Avatar
    from musetalk_cli.engine.models.musetalk import factory
    from musetalk_cli.engine.models.musetalk.face.face_parts import derive_face_parts

    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    opened: list[tuple[factory.MuseTalkSettings, Avatar]] = []
    monkeypatch.setattr(
        factory, "open_model", lambda settings, weights, each, *rest, **options: opened.append((settings, each))
    )
    boxes = []
    for config in (Config(random_weights=True), Config(random_weights=True, musetalk=section, compat="upstream")):
        chosen = choose_avatar(config)
        model_choice.open_musetalk(config, "musetalk-1.5" if not boxes else name, chosen, chosen.load(), str)
        settings, avatar = opened[-1]
        boxes.append(derive_face_parts(avatar, factory.part_settings(settings)).boxes[0])
    assert (settings.mask.mode, settings.mask.left_cheek_px) == (mode, section.left_cheek_width)
    assert settings.mask.right_cheek_px == section.right_cheek_width
    assert settings.follows_upstream
    assert (boxes[1] - boxes[0]).tolist() == [0, 0, 0, margin_px - 10]


def test_taesd_needs_to_be_told_where_its_weights_are(machine: Machine, tmp_path: Path) -> None:
    machine.has_torch(True)
    machine.has_weights()
    with pytest.raises(ModelError, match="taesd needs its weights") as caught:
        machine.choose(model="musetalk-1.5", performance=PerformanceConfig(decoder="taesd"))
    assert "performance.taesd_weights" in caught.value.hint
    told = PerformanceConfig(decoder="taesd", taesd_weights=str(tmp_path / "taesd.safetensors"))
    with pytest.raises(ModelError, match="there are no weights"):
        machine.choose(model="musetalk-1.5", performance=told)
    (tmp_path / "taesd.safetensors").touch()
    assert machine.choose(model="musetalk-1.5", performance=told) == "musetalk-1.5"
    assert machine.choose(random_weights=True, performance=PerformanceConfig(decoder="taesd")) == "musetalk-1.5"


def test_the_settings_reach_the_model() -> None:
    pytest.importorskip("torch")
    performance = PerformanceConfig(compile=True, decoder="taesd", half_rate=True, gpu_memory_fraction=0.5)
    config = Config(device="cuda:0,1", video=VideoConfig(batch_size=5), performance=performance)
    settings = model_choice._settings(config, "musetalk-1.0")
    assert (settings.version, settings.device, settings.batch_size) == ("1.0", "cuda:0,1", 5)
    assert (settings.is_compiled, settings.decoder, settings.has_half_rate) == (True, "taesd", True)
    assert settings.memory_fraction == 0.5


def test_every_device_has_two_workers() -> None:
    assert [count_devices(name) for name in ("auto", "cpu", "cuda:1", "cuda:0,1,3")] == [1, 1, 1, 3]


def test_the_gate_is_by_default_set_as_the_engine_has_it() -> None:
    pytest.importorskip("numpy")
    from musetalk_cli.engine.models.musetalk.audio.silence import SilenceSettings

    values = vars(SilenceConfig())
    assert values == {"gate": True, **vars(SilenceSettings())}
