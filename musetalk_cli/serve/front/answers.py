"""What GET answers: avatars, limits, health, metrics, the protocol, the page."""

from __future__ import annotations

import functools
from dataclasses import asdict
from importlib import resources
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from musetalk_cli.serve.front.reasons import Refusal
from musetalk_cli.serve.front.state import front_of
from musetalk_cli.serve.protocol import SUBPROTOCOL, describe_protocol

PAGE = resources.files("musetalk_cli.serve") / "page"
MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
}
# The page's own files, its video from a MediaSource (blob:), and its WebSocket.
CONNECTS = "connect-src 'self'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    f"{CONNECTS}; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def session(request: Request) -> Response:
    """GET /v1/session: what opens one."""
    message = f"a session is opened with a WebSocket of the subprotocol {SUBPROTOCOL}"
    return Refusal(426, "websocket_required", message, "GET / is a page that opens one").answer()


async def avatars(request: Request) -> Response:
    """GET /v1/avatars: what a session may ask for."""
    offered = front_of(request).offered
    avatars = [
        {
            "name": each.name,
            "kind": each.kind,
            "width": each.width,
            "height": each.height,
            "thumbnail": f"/v1/avatars/{quote(each.name, safe='')}/thumbnail.jpg",
        }
        for each in offered.avatars
    ]
    content = {"default": offered.avatars[0].name, "model": offered.model, "avatars": avatars}
    return JSONResponse({**content, "place": front_of(request).place or None})


async def thumbnail(request: Request) -> Response:
    """GET /v1/avatars/NAME/thumbnail.jpg."""
    avatar = front_of(request).avatar(request.path_params["name"])
    if avatar is None:
        raise HTTPException(404)
    return Response(avatar.thumbnail, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


async def status(request: Request) -> Response:
    """GET /v1/status: limits, and why a session would be refused now, which a page cannot learn from its WebSocket."""
    front, address = front_of(request), request.client.host if request.client else ""
    refusal = front.admission.refuse(address)
    content = {
        "status": front.state,
        "sessions": front.admission.num_sessions,
        "max_sessions": front.admission.max_sessions,
        "max_sessions_per_client": front.admission.max_per_client,
        "idle_s": front.limits.idle_s,
        "model": front.offered.model,
        "fps": front.offered.fps,
        "refusal": asdict(refusal) if refusal else None,
    }
    return JSONResponse(content)


async def protocol(request: Request) -> Response:
    """GET /v1/protocol.json: the messages as a JSON Schema."""
    return JSONResponse(describe_protocol())


async def health(request: Request) -> Response:
    """GET /healthz: 200 where sessions are taken, else 503."""
    state = front_of(request).state
    return JSONResponse({"status": state}, 200 if state == "ok" else 503)


async def metrics(request: Request) -> Response:
    """GET /metrics, for Prometheus."""
    front = front_of(request)
    usage = await front.pool.usage()
    front.metrics.sessions.set(front.admission.num_sessions)
    front.metrics.workers.set(usage.num_processes)
    front.metrics.restarts.set(front.pool.num_restarts)
    front.metrics.rss.set(usage.rss_bytes)
    front.metrics.pss.set(usage.pss_bytes)
    return Response(front.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def page(request: Request) -> Response:
    """GET / and the files of the page."""
    name = request.path_params.get("file", "index.html")
    content = _page_files().get(name)
    if content is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "no-cache"}
    if name.endswith(".html"):
        # Machines come and go while a page is open, so that it cannot be told their addresses.
        policy = PAGE_POLICY.replace(CONNECTS, f"{CONNECTS} ws: wss:") if front_of(request).place else PAGE_POLICY
        headers |= {"Content-Security-Policy": policy, "Permissions-Policy": "microphone=(self)"}
    return Response(content, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)


@functools.cache
def _page_files() -> dict[str, bytes]:
    """The page's files by their names: what a request names is looked up here, never on the disk."""
    files = PAGE.iterdir() if PAGE.is_dir() else ()
    return {each.name: each.read_bytes() for each in files if each.name.rpartition(".")[2] in MEDIA_TYPES}
