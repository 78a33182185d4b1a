"""Attributes an unreadable frame to a symbol and channel by its beginning. Pure."""

from __future__ import annotations

import re
from typing import Final

from tickplant.feeds.venues.dxlink import venue as facts
from tickplant.feeds.venues.dxlink.event_fields import EventFields

HEAD_BYTES: Final = 4096
"""Length of the part of a frame that is searched."""

_COMPACT: Final = re.compile(rb'\s*\{"type":"FEED_DATA","channel":(\d{1,9}),"data":\["(\w{1,32})",\[')
_VALUE: Final = re.compile(rb'"([^"\\]{0,64})"|[^",\[\]{}]+')
_EVENT: Final = re.compile(rb'"eventType":"(\w{1,32})","eventSymbol":"([^"\\]{1,64})"')


class Owner:
    """Finds symbol and channel of a frame; None if either is unknown, or if there are several."""

    def __init__(self, fields: EventFields) -> None:
        self._fields = fields

    def __call__(self, frame: bytes) -> tuple[str, str] | None:
        """See kit.stream_rejects.Owner."""
        found = self._events(frame[:HEAD_BYTES])
        if len(found) != 1:
            return None
        kind, symbol = found.pop()
        channel = facts.CHANNEL_OF.get(kind.decode())
        return None if channel is None else (symbol.partition(b"{=")[0].decode(errors="replace"), channel)

    def _events(self, head: bytes) -> set[tuple[bytes, bytes]]:
        begin = _COMPACT.match(head)
        if begin is None:
            return set(_EVENT.findall(head))
        names = self._fields.of(int(begin[1]), begin[2].decode(errors="replace"))
        if "eventSymbol" not in names:
            return set()
        # Only the first pair: a frame with several is not divided here.
        values = [match[1] for match in _VALUE.finditer(head[begin.end() :].partition(b"]")[0])]
        symbols = values[names.index("eventSymbol") :: len(names)]
        return {(begin[2], symbol) for symbol in symbols if symbol}
