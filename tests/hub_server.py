"""A server that speaks as much of the Hugging Face hub's protocol as a download needs, and misbehaves when told to.

Small files are answered directly; those that the hub keeps as large ones by a redirect to another host, with their
sha256 and size in headers of the redirect. What was sent is counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

LARGE_SUFFIXES = {".pth", ".bin", ".safetensors", ".pt"}
CHUNK_BYTES = 1 << 14
COMMIT = "0123456789abcdef0123456789abcdef01234567"  # what "main" is


class Hub:
    """``files``: {(repository, revision): folder}. The switches may be changed at any time."""

    def __init__(self, files: dict[tuple[str, str], Path]) -> None:
        self.files = files
        self.bytes_sent: Counter[str] = Counter()
        self.ranges: list[str] = []  # the Range header of every request that had one
        self.tokens: list[str] = []  # the Authorization header of every request that had one
        self.hang_after: int | None = None  # bytes of a large file, then nothing until released
        self.cut_after: int | None = None  # bytes of a large file, then the connection ends, once
        self.page: bytes | None = None  # sent instead of everything, as the portals of public networks do
        self.bytes_per_s: int | None = None
        self.is_released = threading.Event()
        self.is_hanging = threading.Event()
        self.url = ""

    def find(self, path: str) -> tuple[Path, str] | None:
        """The file behind ``/owner/name/resolve/revision/path``, and its commit."""
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(path))
        folder = self.files.get((match[1], match[2])) if match else None
        file = folder / match[3] if folder and match else None
        return (file, COMMIT if match and match[2] == "main" else match[2]) if file and file.is_file() else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def _answer(self, *, has_body: bool) -> None:
        hub, path = self.hub, self.path
        if self.headers.get("Authorization"):
            hub.tokens.append(self.headers["Authorization"])
        if hub.page is not None:
            self._send(200, {"Content-Type": "text/html", "Content-Length": str(len(hub.page))})
            self.wfile.write(hub.page if has_body else b"")
            return
        is_direct = not path.startswith("/cdn/")
        found = hub.find(path if is_direct else path.removeprefix("/cdn"))
        if found is None:
            self._send(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
            return
        file, commit = found
        total = hashlib.sha256(file.read_bytes()).hexdigest()
        about = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if is_direct and file.suffix in LARGE_SUFFIXES:
            elsewhere = hub.url.replace("127.0.0.1", "localhost") + "/cdn" + path
            linked = {"X-Linked-Size": str(file.stat().st_size), "X-Linked-ETag": f'"{total}"'}
            self._send(302, {**about, **linked, "Location": elsewhere, "Content-Length": "0"})
            return
        # The hub's tag of a small file is git's sum of it, not its sha256.
        tag = total if file.suffix in LARGE_SUFFIXES else total[:40]
        self._send_file(file, {**about, "ETag": f'"{tag}"'}, has_body=has_body)

    def _send_file(self, file: Path, headers: dict[str, str], *, has_body: bool) -> None:
        data, start, status = file.read_bytes(), 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted:
            self.hub.ranges.append(wanted[0])
            start, status = int(wanted[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, {**headers, "Content-Length": str(len(data) - start)})
        if has_body:
            with contextlib.suppress(ConnectionError):
                self._send_body(file.name, data, start, is_large=file.suffix in LARGE_SUFFIXES)

    def _send_body(self, name: str, data: bytes, start: int, *, is_large: bool) -> None:
        hub = self.hub
        for position in range(start, len(data), CHUNK_BYTES):
            if is_large and hub.hang_after is not None and position >= hub.hang_after:
                hub.is_hanging.set()
                hub.is_released.wait(30)
            if is_large and hub.cut_after is not None and position >= hub.cut_after:
                hub.cut_after, self.close_connection = None, True
                return
            chunk = data[position : position + CHUNK_BYTES]
            self.wfile.write(chunk)
            hub.bytes_sent[name] += len(chunk)
            if hub.bytes_per_s:
                time.sleep(len(chunk) / hub.bytes_per_s)

    def _send(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextlib.contextmanager
def serve_hub(files: dict[tuple[str, str], Path]) -> Iterator[Hub]:
    """A running hub on this computer; no thread is left when it ends."""
    hub = Hub(files)
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False  # so that closing waits for answers under way
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.is_released.set()
            server.shutdown()
            thread.join()
