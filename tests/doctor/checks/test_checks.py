"""Single checks, on machines that lack something."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from musetalk_cli.configuration.schema import Config
from musetalk_cli.doctor.checks import accelerators, ffmpeg, folders, machine, microphone, models, network, self_test
from musetalk_cli.doctor.checks.finding import Finding, Setup
from musetalk_cli.doctor.checks.programs import ask_python, run_program
from musetalk_cli.engine.native import library

SETUP = Setup(Config())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def named(findings: Sequence[Finding], name: str) -> Finding:
    return next(found for found in findings if found.name == name)


def write_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def add_module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that programs find before the real one."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))


def test_encoders_are_tried_not_believed(ffmpeg: str) -> None:
    found = named(check_ffmpeg(Config()), "encoders")
    assert found.state == "ok"
    assert found.value.startswith("libx264 and aac work")


def check_ffmpeg(config: Config) -> list[Finding]:
    return ffmpeg.check_ffmpeg(Setup(config))


def test_an_ffmpeg_without_x264_fails_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_program(tmp_path / "ffmpeg", "case \"$*\" in *libx264*) echo 'Unknown encoder' >&2; exit 1;; esac")
    monkeypatch.setattr(ffmpeg, "find_ffmpeg", lambda *arguments, **options: str(program))
    found = named(check_ffmpeg(Config()), "encoders")
    assert (found.state, found.value) == ("failure", "libx264: Unknown encoder")
    assert found.next_step


def test_an_ffmpeg_that_cannot_start_is_named(tmp_path: Path) -> None:
    program = write_program(
        tmp_path / "ffmpeg", "echo 'libavdevice.so.59: cannot open shared object file' >&2; exit 127"
    )
    (found,) = check_ffmpeg(Config(ffmpeg=str(program)))
    assert found.state == "failure"
    assert "libavdevice.so.59" in found.value


def test_a_program_that_hangs_ends_with_its_children(tmp_path: Path) -> None:
    program = write_program(tmp_path / "hang", "sleep 1000 & sleep 1000")
    assert run_program([str(program)], 0.2).problem == "no answer within 0 s"
    assert run_program([str(tmp_path / "none")], 1).problem.startswith("cannot start")


def test_a_crash_of_a_library_stays_in_its_process() -> None:
    answer, reason = ask_python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 20)
    assert answer is None
    assert "SIGSEGV" in reason


def test_portaudio_that_is_missing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_module(tmp_path, "sounddevice", "raise OSError('PortAudio library not found')", monkeypatch)
    (found,) = microphone.check_microphone(SETUP)
    assert found.state == "warning"
    assert "PortAudio" in found.value
    assert "libportaudio2" in found.next_step


@pytest.mark.skipif(find_spec("torch") is None, reason="asks for a torch that is damaged")
def test_a_torch_that_cannot_be_loaded_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_module(tmp_path, "torch", "raise ImportError('libcudart.so.12: cannot open')", monkeypatch)
    found = named(accelerators.check_accelerators(SETUP), "PyTorch")
    assert found.state == "warning"
    assert "libcudart.so.12" in found.value


def test_gpus_are_listed_with_memory_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path / "nvidia-smi", "echo 'NVIDIA T4, 15360 MiB, 550.1'")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(accelerators, "ask_python", no_gpu_for_torch)
    monkeypatch.setattr(accelerators, "find_spec", lambda name: "there")
    gpu, torch = accelerators.check_accelerators(SETUP)
    assert gpu.value == "0: NVIDIA T4, 15360 MiB; driver 550.1"
    assert torch.state == "warning"
    assert "cannot use the GPU" in torch.value


def no_gpu_for_torch(code: str, limit_s: float) -> tuple[Any, str]:
    return {"version": "2.9", "built": "", "mps": False, "gpus": []}, ""


def test_a_file_in_place_of_a_folder_is_noticed(home: Path) -> None:
    home.write_text("")
    found = folders.check_folders(SETUP)
    assert named(found, "data folder").state == "warning"
    assert "no folder" in named(found, "cache folder").value
    assert named(found, "temporary files").state == "ok"


def test_a_folder_that_was_deleted_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert named(folders.check_folders(SETUP), "current folder").state == "warning"


def test_models_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_is_there", lambda name: False)
    found = models.check_models(SETUP)
    assert named(found, "model warp").state == "ok"
    neural = named(found, "model musetalk-1.5")
    assert "3.9 GB" in neural.value
    assert "musetalk models download musetalk-1.5" in neural.next_step
    assert "neural" in neural.next_step


def test_a_download_that_was_begun_is_a_warning(home: Path) -> None:
    from musetalk_cli.engine.weights.registry import get_weight_set

    part = get_weight_set("musetalk-1.5").parts[0]
    path = home / "models" / part.file.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not whole")
    assert named(models.check_models(SETUP), "model musetalk-1.5").state == "warning"


def test_face_nets_are_not_downloaded() -> None:
    found = named(models.check_avatars(SETUP), "face nets")
    assert found.state in ("ok", "warning")  # an installed mediapipe has them


def test_extras_are_judged_by_their_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_is_there", lambda name: name in ("av", "torch"))
    found = models.check_extras(SETUP)
    assert named(found, "extra session").state == "ok"
    assert "optional" in named(found, "extra serve").value
    assert named(found, "extra neural").state == "warning"
    assert "safetensors" in named(found, "extra neural").value


def test_the_network_is_asked_without_showing_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = network.check_network(SETUP)
    assert [each.state for each in found] == ["warning", "warning"]
    assert all("refused" in each.value for each in found)
    assert "hunter2" not in str(found)
    assert "127.0.0.1" not in str(found)


def test_a_password_of_an_address_becomes_a_header() -> None:
    request = network.build_request("https://user:a%40b@index.example:8443/simple/?x=1")
    assert request.full_url == "https://index.example:8443/simple/?x=1"
    assert request.get_header("Authorization") == "Basic dXNlcjphQGI="
    assert not network.build_request("https://index.example/").has_header("Authorization")


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        ("https://u:p@index.example/a", "https://index.example/b", True),
        ("http://u:p@index.example/a", "https://index.example/a", True),
        ("https://u:p@index.example/a", "http://index.example/a", False),
        ("https://u:p@index.example/a", "https://other.example/a", False),
        ("https://u:p@index.example/a", "https://index.example:8443/a", False),
    ],
)
def test_a_redirect_takes_no_password_elsewhere(before: str, after: str, is_kept: bool) -> None:
    followed = network.PasswordAtHome().redirect_request(network.build_request(before), None, 302, "", {}, after)
    assert followed is not None
    assert followed.has_header("Authorization") == is_kept


def test_a_video_of_something_else_fails_the_self_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render = self_test.run_python

    def replace_video(code: str, limit_s: float, *arguments: str) -> Any:
        done = render(code, limit_s, *arguments)
        video = Path(arguments[arguments.index("-o") + 1])
        from fixtures.programs import find_ffmpeg

        sources = ["-f", "lavfi", "-i", "testsrc2=s=256x256:d=0.52", "-f", "lavfi", "-i", "sine=d=0.52"]
        run_program([find_ffmpeg(), "-y", *sources, str(video)], 30)
        return done

    monkeypatch.setattr(self_test, "run_python", replace_video)
    (found,) = self_test.check_render(SETUP)
    assert found.state == "failure"
    assert "do not show the avatar" in found.value


@pytest.mark.parametrize("reason, state", [("", "ok"), ("MUSETALK_NATIVE=0", "absent"), ("it was not built", "absent")])
def test_what_draws_the_face_is_said(reason: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = library.Found(None if reason else ctypes.pythonapi, reason)
    monkeypatch.setattr(library, "_found", found)
    monkeypatch.setattr(machine, "ask_python", lambda code, limit_s: ({}, ""))
    monkeypatch.setenv(library.SWITCH, reason.removeprefix("MUSETALK_NATIVE=") or "1")
    kernel = named(machine.check_python(SETUP), "warp kernel")
    assert (kernel.state, kernel.value) == (state, found.describe())
    assert ("C compiler" in kernel.next_step) == (reason == "it was not built")
