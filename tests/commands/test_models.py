"""``musetalk models`` as a user runs it, against a hub on this computer, with small models in the official layout."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for library in ("torch", "safetensors", "huggingface_hub"):
    pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural]'")

from safetensors.torch import load_file, save_file  # noqa: E402

from fixtures.hub_server import Hub, serve_hub  # noqa: E402
from fixtures.official_files import find_files, write_models, write_parsing  # noqa: E402
from fixtures.registry import hub_files, write_registry  # noqa: E402
from fixtures.small_nets import CONFIGS  # noqa: E402
from musetalk_cli.engine.weights.registry import PARSING  # noqa: E402
from musetalk_cli.engine.weights.store import WeightStore  # noqa: E402

Run = Callable[..., subprocess.CompletedProcess[str]]
UNET = "musetalkV15/unet.pth"

# Every command is a process of its own, and some load torch.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models as upstream publishes large ones, and ``registry.json``, which says what they are."""
    folder = tmp_path_factory.mktemp("published")
    write_models(folder, CONFIGS)
    write_registry(folder, folder / "registry.json")
    return folder


@pytest.fixture
def hub(published: Path) -> Iterator[Hub]:
    with serve_hub(hub_files(published)) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(hub: Hub, home: Path, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "MUSETALK_HOME": str(home),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "NO_PROXY": "*",
    }


@pytest.fixture
def command(published: Path) -> list[str]:
    return [sys.executable, "-m", "fixtures.registry", str(published / "registry.json"), "models"]


@pytest.fixture
def models(command: list[str], environment: dict[str, str]) -> Run:
    """``models("list", "--json")``; nobody is at the keyboard."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        options = {"env": environment, "stdin": subprocess.DEVNULL, **options}
        line = [*command, *map(str, args)]
        return subprocess.run(line, capture_output=True, text=True, timeout=200, check=False, **options)  # type: ignore[call-overload]

    return run


def fails(done: subprocess.CompletedProcess[str], *wanted: str) -> None:
    """It ended with 1 and one line that holds every word of ``wanted``."""
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert last.startswith("musetalk: error: ")
    assert "Traceback" not in done.stderr
    assert [word for word in wanted if word not in last] == [], last


def test_a_password_in_the_mirrors_address_is_not_shown(models: Run, hub: Hub, environment: dict[str, str]) -> None:
    named = hub.url.replace("://", "://bob:hunter22@")
    for endpoint in (f"{named}/nothing", "http://bob:hunter22@127.0.0.1:9"):
        done = models("download", "face-parsing", "--yes", env={**environment, "HF_ENDPOINT": endpoint})
        assert done.returncode == 1
        assert "127.0.0.1" in done.stderr
        assert "bob" not in done.stderr
        assert "hunter22" not in done.stderr


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def states(models: Run) -> dict[str, str]:
    return {one["name"]: one["state"] for one in json.loads(models("list", "--json").stdout)}


def test_a_download_brings_what_verify_calls_official(models: Run, hub: Hub, home: Path, published: Path) -> None:
    assert states(models) == {"musetalk-1.5": "missing", "musetalk-1.0": "missing", "face-parsing": "missing"}
    assert not home.exists()
    done = models("download", "musetalk-1.5", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "TMElyralab/MuseTalk: " in done.stderr
    wanted = {UNET, "musetalkV15/musetalk.json", "sd-vae/config.json", "sd-vae/diffusion_pytorch_model.bin"}
    wanted |= {"whisper/config.json", "whisper/pytorch_model.bin"}
    assert files_in(home / "models") == wanted
    assert all((home / "models" / name).read_bytes() == (published / name).read_bytes() for name in wanted)
    assert states(models) == {"musetalk-1.5": "ready", "musetalk-1.0": "partial", "face-parsing": "missing"}

    verified = models("verify", "musetalk-1.5")
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.count("official") == 3

    hub.bytes_sent.clear()
    assert models("download", "musetalk-1.5").returncode == 0
    assert not hub.bytes_sent


def test_nothing_is_downloaded_before_the_licences_are_agreed_to(models: Run, hub: Hub, home: Path) -> None:
    fails(models("download"), "licences", "--yes")
    assert not hub.bytes_sent
    assert not home.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_where_it_was(
    models: Run, command: list[str], environment: dict[str, str], hub: Hub, home: Path, published: Path, number: int
) -> None:
    size = (published / UNET).stat().st_size
    hub.hang_after = size // 2
    with subprocess.Popen([*command, "download", "-y", "-q"], env=environment, stderr=subprocess.PIPE) as process:
        assert hub.is_hanging.wait(20)
        wait_until_half_is_there(home, size // 4)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGINT)
    assert not (home / "models" / UNET).exists()
    assert states(models)["musetalk-1.5"] == "partial"

    hub.hang_after = None
    hub.is_released.set()
    assert models("download", "-y").returncode == 0
    assert (home / "models" / UNET).read_bytes() == (published / UNET).read_bytes()
    assert len(hub.ranges) == 1
    start = int(hub.ranges[0].removeprefix("bytes=").rstrip("-"))
    assert size // 4 <= start < size
    assert not (home / "models" / ".download").exists()


def wait_until_half_is_there(home: Path, num_bytes: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, StopIteration):
            if next((home / "models" / ".download").glob("*unet.pth*")).stat().st_size >= num_bytes:
                return
        time.sleep(0.02)
    pytest.fail("the half file does not grow")


def test_a_cut_connection_is_taken_up_by_itself(models: Run, hub: Hub, home: Path, published: Path) -> None:
    hub.cut_after = (published / UNET).stat().st_size // 2
    done = models("download", "-y")
    assert done.returncode == 0, done.stderr
    assert (home / "models" / UNET).read_bytes() == (published / UNET).read_bytes()
    assert len(hub.ranges) == 1


def test_no_token_of_the_users_goes_anywhere(models: Run, hub: Hub, environment: dict[str, str]) -> None:
    assert models("download", "-y", env={**environment, "HF_TOKEN": "hf_secret"}).returncode == 0
    assert hub.tokens == []


def test_a_portals_page_is_not_taken_for_weights(models: Run, hub: Hub, home: Path) -> None:
    hub.page = b"<!DOCTYPE html><title>Please log in</title>"
    fails(models("download", "-y"), "43 bytes", "HF_ENDPOINT")
    assert not files_in(home / "models") - {name for name in files_in(home / "models") if name.startswith(".download")}


def test_another_file_of_the_same_size_is_thrown_away(
    models: Run, hub: Hub, home: Path, published: Path, tmp_path: Path
) -> None:
    changed = bytearray((published / UNET).read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "musetalkV15").mkdir()
    (tmp_path / UNET).write_bytes(changed)
    (tmp_path / "musetalkV15" / "musetalk.json").write_bytes((published / "musetalkV15/musetalk.json").read_bytes())
    hub.files = {key: tmp_path if "MuseTalk" in key[0] else folder for key, folder in hub.files.items()}
    fails(models("download", "-y"), UNET, "sha256")
    assert not [name for name in files_in(home / "models") if "unet" in name]


def test_a_hub_without_the_file_is_named(models: Run, hub: Hub) -> None:
    hub.files = {}
    fails(models("download", "-y"), hub.url, "does not have", "config.json")


def test_no_network_is_reported_in_one_line(models: Run, environment: dict[str, str]) -> None:
    unreachable = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}
    fails(models("download", "-y", env=unreachable), "127.0.0.1:9", "models import")
    fails(models("download", "-y", env={**environment, "HF_HUB_OFFLINE": "1"}), "HF_HUB_OFFLINE")


def test_a_full_disk_keeps_what_came(models: Run, home: Path, published: Path, hub: Hub) -> None:
    size = (published / UNET).stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    fails(models("download", "-y", preexec_fn=limit), "cannot write", UNET)
    assert models("download", "-y").returncode == 0
    assert hub.ranges


def test_what_a_user_put_there_is_not_overwritten(models: Run, home: Path) -> None:
    own = home / "models" / UNET
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    fails(models("download", "-y"), str(own), "move it away")
    assert own.read_bytes() == b"mine"


def test_two_downloads_do_not_write_into_one_file(
    models: Run, command: list[str], environment: dict[str, str], hub: Hub
) -> None:
    hub.hang_after = 1 << 16
    with subprocess.Popen([*command, "download", "-y", "-q"], env=environment, stderr=subprocess.PIPE) as process:
        assert hub.is_hanging.wait(20)
        fails(models("download", "-y"), "another process")
        hub.is_released.set()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_an_upstream_folder_is_used_in_place(models: Run, home: Path, published: Path) -> None:
    before = files_in(published)
    done = models("import", published)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("official") == 4
    assert files_in(published) == before
    assert files_in(home) == {"models/imported.json"}
    assert states(models)["musetalk-1.0"] == "ready"
    assert models("download", "musetalk-1.0").returncode == 0  # nothing to download, nothing to agree to


def test_a_home_that_is_a_file_is_reported(models: Run, home: Path, published: Path) -> None:
    home.touch()
    assert states(models)["musetalk-1.5"] == "missing"
    fails(models("download", "-y"), f"in {home / 'models'}", "not a directory", "MUSETALK_HOME")
    fails(models("import", published), "cannot write", "not a directory")


def test_an_imported_folder_that_is_gone_is_named(models: Run, published: Path, tmp_path: Path) -> None:
    away = Path(shutil.copytree(published, tmp_path / "disk"))
    assert models("import", away, "-q").returncode == 0
    away.rename(tmp_path / "unplugged")
    fails(models("verify"), f"{away} was imported and no longer exists")
    fails(models("convert", "musetalk-1.5"), "UNet, VAE, Whisper missing", f"{away} was imported")


def test_folders_that_hold_no_weights_are_refused(models: Run, tmp_path: Path, published: Path, home: Path) -> None:
    fails(models("import", tmp_path / "nowhere"), "no folder")
    (tmp_path / "empty").mkdir()
    fails(models("import", tmp_path / "empty"), "no weights in", UNET)
    (tmp_path / "around").mkdir()
    (tmp_path / "around" / "models").symlink_to(published)
    done = models("import", tmp_path / "around", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads((home / "models" / "imported.json").read_text()) == {"folders": [str(published)]}


def test_a_damaged_folder_is_not_imported(models: Run, tmp_path: Path, published: Path, home: Path) -> None:
    (tmp_path / "musetalkV15").mkdir()
    (tmp_path / UNET).write_bytes((published / UNET).read_bytes()[:-1000])
    fails(models("import", tmp_path), "unet.pth", "cut short")
    assert not home.exists()


def test_a_model_of_ones_own_from_import_to_forget(
    models: Run, published: Path, tmp_path: Path, home: Path, hub: Hub
) -> None:
    trained = tmp_path / "unet-7.pth"
    shutil.copy(published / UNET, trained)
    shutil.copy(published / "musetalkV15" / "musetalk.json", tmp_path)
    fails(models("import", trained, "--name", "mine"), "VAE", "Whisper", "missing there and in")
    assert not home.exists()
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "musetalkV15").symlink_to(published / "musetalkV15")
    fails(models("import", tmp_path / "part"), "is not a whole musetalk-1.5", "VAE (sd-vae/", "Whisper (whisper/")
    assert models("import", published, "-q").returncode == 0
    done = models("import", trained, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert "custom" in done.stdout
    assert str(trained) in done.stdout
    assert states(models)["mine"] == "custom"
    verified = models("verify", "mine")
    assert verified.returncode == 0, verified.stderr
    assert "'mine', from musetalk-1.5" in verified.stdout
    assert models("download", "musetalk-1.5", "-y").returncode == 0
    assert trained.is_file()
    assert models("forget", "mine").stdout == "mine is forgotten; its files are untouched\n"
    assert "mine" not in states(models)
    fails(models("forget", "mine"), "no model of your own called 'mine'")


def test_conversion_halves_the_files_and_the_originals_may_go(models: Run, home: Path, hub: Hub) -> None:
    quiet = models("download", "-y", "-q")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    folder = home / "models"
    originals = {path: path.stat().st_size for path in folder.rglob("*") if path.suffix in (".pth", ".bin")}
    done = models("convert", "musetalk-1.5", "--replace")
    assert done.returncode == 0, done.stderr
    assert not any(path.exists() for path in originals)
    written = {path.name: path.stat().st_size for path in folder.rglob("*.safetensors")}
    assert set(written) == {"unet.safetensors", "diffusion_pytorch_model.safetensors", "model.safetensors"}
    assert sum(written.values()) < 0.55 * sum(originals.values())
    assert states(models)["musetalk-1.5"] == "ready"
    verified = models("verify", "musetalk-1.5")
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.count("converted") == 3
    hub.bytes_sent.clear()
    assert models("download").returncode == 0
    assert not hub.bytes_sent

    import torch

    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision, load_nets

    nets = load_nets(find_files(folder, "1.5"), Precision(torch.device("cpu"), torch.float32))
    assert nets.version == "1.5"


def test_originals_that_were_converted_before_may_go_later(models: Run, home: Path, published: Path) -> None:
    folder = home / "models"
    shutil.copytree(published, folder, ignore=shutil.ignore_patterns("tiny.pt", "registry.json"))
    abandoned, at_work = (folder / "musetalkV15" / f".unet.safetensors.{pid}" for pid in (999_999_999, os.getpid()))
    abandoned.touch()
    at_work.touch()
    assert models("convert").returncode == 0
    assert at_work.exists()
    assert not abandoned.exists(), "nothing else would find what a conversion left that was killed"
    originals = [path for path in folder.rglob("*") if path.suffix in (".pth", ".bin")]
    assert len(originals) == 4
    again = models("convert")
    assert (again.returncode, again.stderr) == (0, "everything is converted already\n")
    done = models("convert", "--replace")
    assert done.returncode == 0, done.stderr
    assert not any(path.exists() for path in originals)
    assert models("verify").stdout.count("converted") == 4
    assert models("convert", "--replace").returncode == 0
    assert len(list(folder.rglob("*.safetensors"))) == 4


def test_safetensors_that_are_no_conversion_are_not_replaced_by_one(
    models: Run, home: Path, published: Path, tmp_path: Path
) -> None:
    assert models("import", published, "--convert", "-q").returncode == 0
    folder = home / "models" / "sd-vae"
    path = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file(state, path)  # as its makers publish it: without our note in the header
    shutil.copy(published / "sd-vae" / "diffusion_pytorch_model.bin", folder)
    before = path.read_bytes()
    assert models("convert", "--replace").returncode == 0
    assert path.read_bytes() == before
    assert (folder / "diffusion_pytorch_model.bin").exists()


def test_an_imported_folder_is_converted_into_ours_and_left_alone(models: Run, home: Path, published: Path) -> None:
    before = files_in(published)
    assert models("import", published, "--convert").returncode == 0
    assert files_in(published) == before
    assert states(models)["musetalk-1.0"] == states(models)["musetalk-1.5"] == "ready"
    assert not (home / "models" / "imported.json").exists()
    assert (home / "models" / "whisper" / "config.json").exists()


def test_a_conversion_without_room_leaves_nothing(models: Run, home: Path, published: Path) -> None:
    WeightStore(home).refer_to(published)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    fails(models("convert", "musetalk-1.5", preexec_fn=limit), "cannot write")
    assert files_in(home) == {"models/imported.json"}


def test_names_that_are_wrong_get_the_nearest(models: Run) -> None:
    fails(models("download", "musetalk15", "-y"), "did you mean 'musetalk-1.5'?")
    fails(models("convert", "musetalk-1.5"), "missing", "musetalk models download musetalk-1.5")
    for command in ("verify", "convert"):
        fails(models(command), "no weights", "musetalk models download")
    fails(models("verify", "musetalk-1.0"), "pytorch_model.bin is missing", "musetalk models download musetalk-1.0")


def test_face_parsing_is_downloaded_to_the_path_that_a_model_reads(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "published"
    path = write_parsing(folder)
    write_registry(folder, folder / "registry.json")
    with serve_hub(hub_files(folder)) as server:
        command = [sys.executable, "-m", "fixtures.registry", str(folder / "registry.json"), "models"]
        environment = {**os.environ, "MUSETALK_HOME": str(home), "HF_ENDPOINT": server.url, "NO_PROXY": "*"}
        for words in (["download", "face-parsing", "--yes"], ["verify", "face-parsing"]):
            done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, done.stderr
    assert "official" in done.stdout
    found = WeightStore(home).find(PARSING)
    assert found is not None
    assert found.read_bytes() == path.read_bytes()
