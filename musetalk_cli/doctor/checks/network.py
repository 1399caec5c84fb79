"""The network, as far as musetalk ever uses it by itself: the face nets' download and MuseTalk's weights."""

from __future__ import annotations

import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from musetalk_cli.doctor.checks.finding import Finding, Setup, ok, warning
from musetalk_cli.doctor.checks.programs import run_program, run_python

LIMIT_S = 10.0
PIP_S = 15.0
PUBLIC_INDEX = "https://pypi.org/simple"
HUB = "https://huggingface.co"


# The first that fits; all are OSErrors.
REASONS: dict[type[Exception], str] = {
    ssl.SSLCertVerificationError: "its certificate is not trusted here",
    ssl.SSLError: "TLS fails",
    socket.gaierror: "its name is not resolved",
    TimeoutError: "not in time",
    ConnectionRefusedError: "the connection is refused",
    ConnectionResetError: "the connection is reset",
}


def check_network(setup: Setup) -> list[Finding]:
    """Whether the package index and the Hugging Face hub answer. Nothing is downloaded."""
    index = _find_index()
    named = "pypi.org" if index == PUBLIC_INDEX else "the index that pip is set to"
    hub = os.environ.get("HF_ENDPOINT", HUB)
    where = "huggingface.co" if hub == HUB else "the mirror in HF_ENDPOINT"
    return [
        _try("package index", f"{index.rstrip('/')}/mediapipe/", named, "the face nets (own images) come from there"),
        _try("weights' hub", f"{hub.rstrip('/')}/robots.txt", where, "the weights of MuseTalk come from there"),
    ]


def _find_index() -> str:
    """The index that pip uses. What it says may hold a password, and is never shown."""
    said = run_python("sys.argv[1:] = sys.argv[1:]; from pip._internal.cli.main import main; main()", PIP_S, *_QUESTION)
    if not said.is_good:
        said = run_program(["pip3", *_QUESTION], PIP_S)
    found = said.stdout.decode("utf-8", "replace").strip().splitlines() if said.is_good else []
    return os.environ.get("PIP_INDEX_URL") or (found[-1] if found else PUBLIC_INDEX)


_QUESTION = ("config", "get", "global.index-url")


def _try(name: str, url: str, where: str, use: str) -> Finding:
    step = f"check the connection, HTTPS_PROXY and certificates; {use}"
    if not url.startswith(("http://", "https://")):
        return warning(name, f"{where} is no web address", step)
    started_at = time.monotonic()
    try:
        with urllib.request.build_opener(PasswordAtHome).open(build_request(url), timeout=LIMIT_S):
            pass
    except urllib.error.HTTPError as error:
        if error.code in (401, 407) or error.code >= 500:
            return warning(name, f"{where} answers with {error.code}", step)
    except (OSError, ValueError) as error:
        return warning(name, f"{where} does not answer: {explain(error)}", step)
    return ok(name, f"{where} answers, in {time.monotonic() - started_at:.1f} s")


class PasswordAtHome(urllib.request.HTTPRedirectHandler):
    """Follows redirects, without the password where they lead to another host or out of TLS."""

    def redirect_request(self, req: urllib.request.Request, *details: Any) -> urllib.request.Request | None:
        followed = super().redirect_request(req, *details)
        if followed is not None:
            before, after = urlsplit(req.full_url), urlsplit(followed.full_url)
            if before.netloc != after.netloc or (before.scheme, after.scheme) == ("https", "http"):
                followed.remove_header("Authorization")
        return followed


def build_request(url: str) -> urllib.request.Request:
    """A request for the head of a page; user and password of the address become a header."""
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    headers = {"User-Agent": "musetalk-doctor"}
    if userinfo:
        headers["Authorization"] = f"Basic {b64encode(unquote(userinfo).encode()).decode()}"
    address = urlunsplit(parts._replace(netloc=host))
    return urllib.request.Request(address, method="HEAD", headers=headers)  # noqa: S310 - the scheme was checked


def explain(error: Exception) -> str:
    """Why nobody answers, without the address, which may hold a password."""
    reason = getattr(error, "reason", None) or error
    for kind, words in REASONS.items():
        if isinstance(reason, kind):
            return words
    return type(reason).__name__
