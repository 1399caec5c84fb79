"""``GET /v1/sessions/ID/live.mp4``: a session's video as one endless answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from musetalk_cli.serve.front.connections import CONNECTION, Receive, Scope, Send
from musetalk_cli.serve.front.metrics import Metrics
from musetalk_cli.serve.front.reasons import Refusal
from musetalk_cli.serve.front.state import front_of
from musetalk_cli.serve.front.viewers import MAX_VIEWERS, Channel, Viewer

MEDIA_TYPE = "video/mp4"


async def live(request: Request) -> Response:
    """The answer for one more viewer of a session."""
    front = front_of(request)
    conversation = front.conversations.get(request.path_params["session_id"])
    if conversation is None or not conversation.channel.init_segment:
        raise HTTPException(404)
    if request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE)
    if len(conversation.channel.viewers) >= MAX_VIEWERS:
        front.metrics.refused.labels("viewers_full").inc()
        return Refusal(503, "viewers_full", f"{MAX_VIEWERS} viewers watch this session already", "", 5).answer()
    return _Video(request, conversation.channel, front.metrics)


class _Video(StreamingResponse):
    """Streams until the session ends, the viewer goes, or it is given up because it is too slow."""

    def __init__(self, request: Request, channel: Channel, metrics: Metrics) -> None:
        self._channel, self._metrics = channel, metrics
        self._viewer = Viewer(request.scope[CONNECTION].cut)
        super().__init__(self._fragments(), media_type=MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self._channel.join(self._viewer)
        self._metrics.viewers.inc()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._metrics.viewers.dec()
            self._metrics.dropped.inc(self._viewer.is_slow)
            self._channel.leave(self._viewer)

    async def _fragments(self) -> AsyncIterator[bytes]:
        yield self._channel.init_segment
        async for fragment in self._viewer.fragments():
            yield fragment
