"""Real servers on this machine for the tests: a sound server without a sound card, and an RTMP server."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_S = 15.0


class PulseAudio:
    """A private PulseAudio with one virtual microphone: what is played into it is what is heard from it."""

    def __init__(self, folder: Path, rate_hz: int = 48_000) -> None:
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in ("DISPLAY", "DBUS_SESSION_BUS_ADDRESS")},
            **dict.fromkeys(
                ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH"), str(folder)
            ),
            "PULSE_SERVER": f"unix:{folder}/native",
        }
        self._folder, self._rate_hz = folder, rate_hz
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = ["--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes"]
        modest = ["--realtime=no", "--high-priority=no", "--log-target=null"]
        socket_ = f"module-native-protocol-unix auth-anonymous=1 auth-cookie-enabled=0 socket={self._folder}/native"
        # Without norewinds, an idle null sink sleeps for two seconds, and the beginning of a sound is lost.
        sink = f"module-null-sink sink_name=virtmic rate={self._rate_hz} channels=1 format=s16le norewinds=1"
        self._daemon = subprocess.Popen(
            ["pulseaudio", "-n", *quiet, *modest, "-L", socket_, "-L", sink],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_S
        while self._run("pactl", "info").returncode:
            assert time.monotonic() < deadline, "PulseAudio did not start"
            time.sleep(0.05)
        self._run("pactl", "set-default-source", "virtmic.monitor")

    def play(self, wav: Path) -> subprocess.Popen[bytes]:
        """Speak into the microphone."""
        return subprocess.Popen(["paplay", str(wav)], env=self.environment)

    def kill(self) -> None:
        """The device is gone at once."""
        if self._daemon:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None
            (self._folder / "native").unlink(missing_ok=True)

    def _run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, env=self.environment, capture_output=True, check=False)


class RtmpServer:
    """nginx with its RTMP module, on a free port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        module = "/usr/lib/nginx/modules/ngx_rtmp_module.so"
        (folder / "nginx.conf").write_text(
            f"load_module {module};\ndaemon off; master_process off; worker_processes 1;\n"
            f"pid {folder}/nginx.pid; error_log {folder}/error.log info;\nevents {{ worker_connections 64; }}\n"
            f"rtmp {{ access_log off; server {{ listen 127.0.0.1:{self.port}; chunk_size 4096;\n"
            f"application live {{ live on; record all; record_path {folder}; record_unique on;"
            f" wait_key on; wait_video on; }} }} }}\n"
        )

    @property
    def address(self) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live/talk"

    @property
    def recordings(self) -> list[Path]:
        """What it has received, one file for every time somebody published."""
        return sorted(self._folder.glob("*.flv"), key=lambda path: path.stat().st_mtime)

    def start(self) -> None:
        command = ["nginx", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-e", "error.log"]
        self._child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < deadline, "nginx did not start"
            time.sleep(0.05)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._child
        self._child.send_signal(number)

    def kill(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None


@contextmanager
def pulse_audio(folder: Path, rate_hz: int = 48_000) -> Iterator[PulseAudio]:
    folder.mkdir(exist_ok=True)
    server = PulseAudio(folder, rate_hz)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def rtmp_server(folder: Path) -> Iterator[RtmpServer]:
    folder.mkdir(exist_ok=True)
    server = RtmpServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def tls_front(folder: Path, port: int) -> Iterator[int]:
    """A port that speaks TLS, with a certificate of its own making, in front of one on this machine that does not."""
    files = [folder / "key.pem", folder / "certificate.pem"]
    new = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*new, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()
        thread = threading.Thread(target=_forward_one, args=(listener, context, port, stop))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def _forward_one(listener: socket.socket, context: ssl.SSLContext, port: int, stop: threading.Event) -> None:
    listener.settimeout(0.1)
    while not stop.is_set():
        with suppress(OSError):
            plain = listener.accept()[0]
            plain.settimeout(5)
            caller = context.wrap_socket(plain, server_side=True)
            with caller, socket.create_connection(("127.0.0.1", port)) as inner:
                _carry(caller, inner, stop)


def _carry(caller: ssl.SSLSocket, inner: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        for source, sink in ((caller, inner), (inner, caller)):
            source.settimeout(0.02)
            with suppress(TimeoutError):
                data = source.recv(1 << 16)
                if not data:
                    return
                sink.settimeout(10)
                sink.sendall(data)
