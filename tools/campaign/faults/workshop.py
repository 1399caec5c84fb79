"""What the campaign needs beside the commands: voices, avatars, weights, a warm home, an RTMP server."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from fixtures.clips import portrait_image
from fixtures.fakes import tone
from fixtures.media import write_wav
from fixtures.prepared_avatars import write_avatar
from fixtures.servers import RtmpServer, rtmp_server
from musetalk_cli.app.settings.folders import cache_folder
from musetalk_cli.engine.avatar.preparation.face_models import find_face_models
from musetalk_cli.errors import MuseTalkError
from tools.campaign.faults.fork_server import LIST_MODULES, ForkServer

VOICE_S = 0.32
NUM_FRAMES = 8  # of the voice
SIDE = 128


@dataclass(frozen=True)
class Workshop:
    """Files that every run gets copies of, and what this machine has: ``faces``, ``models``, ``rtmp``, ``strace``."""

    folder: Path
    has: frozenset[str]
    environment: dict[str, str]
    rtmp_server: RtmpServer | None
    fork_server: ForkServer | None = None

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def avatars(self) -> Path:
        return self.folder / "avatars"

    @property
    def models(self) -> Path:
        return (self.folder / "models").resolve()

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def rtmp_address(self) -> str:
        assert self.rtmp_server
        return self.rtmp_server.address

    def fill(self, root: Path) -> None:
        """Make the world of one run, empty of earlier ones."""
        shutil.rmtree(root, ignore_errors=True)
        (root / "tmp").mkdir(parents=True)
        shutil.copytree(self.home, root / "home")
        (root / "work").mkdir()
        for name in ("voice.wav", "me.png"):
            shutil.copy(self.folder / name, root / "work")


@contextlib.contextmanager
def open_workshop(folder: Path) -> Iterator[Workshop]:
    """Make everything in ``folder``, and run the server until the end of the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_wav(folder / "voice.wav", tone(VOICE_S), 48_000)
    cv2.imwrite(str(folder / "me.png"), portrait_image(SIDE))
    write_avatar(folder / "avatars" / "anna")
    has, environment = set(find_programs()), clean_environment()
    with contextlib.suppress(MuseTalkError):
        nets = find_face_models(None, cache_folder() / "face-models", lambda line: None)
        environment["MUSETALK_FACE_MODELS"] = str(nets.mesh.parent)
        has.add("faces")
    if all(importlib.util.find_spec(name) for name in ("torch", "safetensors")):
        weights = folder.with_name("weights")  # kept from one call to the next: they take a while
        if not (weights / "registry.json").exists():
            write_weights(weights)
        (folder / "models").symlink_to(weights)
        has.add("models")
    with ExitStack() as ending:
        server = ending.enter_context(rtmp_server(folder / "rtmp")) if "rtmp" in has else None
        shop = Workshop(folder, frozenset(has), environment, server)
        warm_up(shop)
        forks = ForkServer(folder / "modules", environment)
        ending.callback(forks.close)
        yield replace(shop, fork_server=forks)


def find_programs() -> Iterator[str]:
    if shutil.which("nginx") and Path("/usr/lib/nginx/modules/ngx_rtmp_module.so").exists():
        yield "rtmp"
    if shutil.which("strace"):
        yield "strace"


def clean_environment() -> dict[str, str]:
    """Ours, without what would change a command: settings, and the shown traceback."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSETALK_")}
    return {**kept, "MUSETALK_CONFIG": "", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path) or "."}


def write_weights(folder: Path) -> None:
    """Small random weights in the official layout, written by a process of its own, so that this one stays small."""
    code = (
        "import sys; from pathlib import Path; from fixtures.official_files import write_models;"
        "from fixtures.small_nets import CONFIGS; from fixtures.registry import write_registry;"
        "folder = Path(sys.argv[1]); write_models(folder, CONFIGS); write_registry(folder, folder / 'registry.json')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=clean_environment())


def warm_up(shop: Workshop) -> None:
    """Let what is found out once be in the home that runs copy, and make the older videos."""
    shop.videos.mkdir()
    demo = ["render", "--demo", "--size", "64", "-o"]
    commands = [[*demo, "videos/old.mp4"], [*demo, "videos/old.mkv"], ["avatars"]]
    commands += [["stream", "-i", "voice.wav", "--size", "64", "--no-pace", "-o", "videos/live/"]]
    commands += [["prepare-avatar", "me.png", "--avatar-dir", str(shop.folder / "made")]] if "faces" in shop.has else []
    environment = {**shop.environment, "MUSETALK_HOME": str(shop.home)}
    for args in commands:
        line = [sys.executable, "-c", LIST_MODULES, str(shop.folder / "modules"), *args]
        subprocess.run(line, cwd=shop.folder, env=environment, check=True, capture_output=True)


def accept_signals() -> None:
    """Signals that this process ignores, as under nohup, are not ignored by those that it starts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # a handler is not inherited: the default is
