"""Reading the outline of a fragmented MP4 as it passes by: where a player could stop without missing anything."""

from __future__ import annotations

BOX_HEADER_BYTES = 8


class FragmentCounter:
    """Follows the top-level boxes (ISO/IEC 14496-12, 4.2) of a byte stream that arrives in pieces.

    ``num_fragments`` counts whole fragments (``mdat`` boxes that have ended) and ``playable_bytes`` is the length of
    the stream up to the end of the last one.
    """

    def __init__(self) -> None:
        self.num_fragments = 0
        self.playable_bytes = 0
        self._header = b""
        self._kind = b""
        self._left = 0  # bytes of the current box still to come
        self._position = 0

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left == 0:
                at += self._read_header(data[at:])
                continue
            step = min(self._left, len(data) - at)
            at += step
            self._advance(step)

    def _read_header(self, data: bytes) -> int:
        taken = data[: BOX_HEADER_BYTES - len(self._header)]
        self._header += taken
        self._position += len(taken)
        if len(self._header) == BOX_HEADER_BYTES:
            self._kind = self._header[4:]
            self._left = int.from_bytes(self._header[:4], "big") - BOX_HEADER_BYTES
            self._header = b""
            self._advance(0)
        return len(taken)

    def _advance(self, step: int) -> None:
        self._left -= step
        self._position += step
        if self._left == 0 and self._kind == b"mdat":
            self.num_fragments += 1
            self.playable_bytes = self._position
