"""Assigns the values of FEED_DATA to fields: by the order in FEED_CONFIG, or by name. Pure.

COMPACT    ["Quote", ["Quote","AAPL",230.11,…,"Quote","MSFT",414.1,…], "Trade", […], …]
header     [["Quote", ["eventSymbol","bidPrice",…]], […]]       a type in a list; its fields may follow
FULL       [{"eventType":"Quote","eventSymbol":"AAPL",…}, …]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.dxlink.venue import CHANNEL_OF

UNKNOWN_FIELDS: Final = "fields unknown"
"""Cause of a reject."""

Row = Mapping[str, Any]
"""An event: values by field name; absent ones are left out or null."""


class EventFields:
    """The order of values by channel and type, as far as the server has stated it."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, str], tuple[str, ...]] = {}
        self._full: set[tuple[int, str]] = set()  # channels and types of events sent by name

    def clear(self) -> None:
        """Forget everything: the connection is a new one."""
        self._of.clear()
        self._full.clear()

    def kinds(self, channel: int) -> set[str]:
        """The types that a channel has carried so far."""
        return {kind for number, kind in (*self._of, *self._full) if number == channel}

    def merge(self, channel: int, fields: Mapping[str, Sequence[str]]) -> bool:
        """Take in a FEED_CONFIG: types that it does not name keep their order. Returns whether anything is new."""
        new = {(channel, kind): tuple(names) for kind, names in fields.items()}
        changed = any(self._of.get(key) != names for key, names in new.items())
        self._of |= new
        return changed

    def of(self, channel: int, kind: str) -> tuple[str, ...]:
        """The order of a type's values; empty if the server has not stated it."""
        return self._of.get((channel, kind), ())

    def items(self) -> Iterator[tuple[int, str, tuple[str, ...]]]:
        """Channel, type and order of all types."""
        return ((channel, kind, names) for (channel, kind), names in self._of.items())

    def rows(self, channel: int, data: Sequence[Any]) -> Iterator[tuple[str, Row] | RejectError]:
        """Type and values of each event; at the end a RejectError for each part that cannot be divided."""
        rejected: list[RejectError] = []
        at = 0
        while at < len(data):
            head = data[at]
            at += 1
            try:
                if isinstance(head, dict):
                    kind, row = _full(head)
                    if kind in CHANNEL_OF:
                        self._full.add((channel, kind))
                    yield kind, row
                    continue
                kind, names = self._header(channel, head)
                values = data[at] if at < len(data) else None
                at += 1
                if not kind or not isinstance(values, list):
                    raise RejectError("schema", "data is neither a type with its values nor an event")
                yield from _compact(kind, names, values)
            except RejectError as error:
                rejected.append(error)
        yield from rejected

    def _header(self, channel: int, head: Any) -> tuple[str, tuple[str, ...]]:
        kind, names = head, tuple[str, ...]()
        if isinstance(head, list) and head:
            kind, given = head[0], head[1:]
            if len(given) == 1 and isinstance(given[0], list):
                (given,) = given
            names = tuple(name for name in given if isinstance(name, str))
        return (kind, names or self.of(channel, kind)) if isinstance(kind, str) else ("", ())


def _full(event: dict[str, Any]) -> tuple[str, Row]:
    kind = event.get("eventType")
    if not isinstance(kind, str):
        raise RejectError("schema", "an event without eventType")
    return kind, event


def _compact(kind: str, names: tuple[str, ...], values: list[Any]) -> Iterator[tuple[str, Row]]:
    width = len(names)
    if "eventSymbol" not in names:
        raise RejectError(UNKNOWN_FIELDS, f"no FEED_CONFIG has said in which order the values of {kind[:64]} come")
    if len(values) % width:
        raise RejectError("schema", f"{len(values)} values of {kind[:64]}, whose events have {width} each")
    for start in range(0, len(values), width):
        row = dict(zip(names, values[start : start + width], strict=True))
        if row.get("eventType", kind) != kind:
            raise RejectError("schema", f"an event of another type among those of {kind[:64]}")
        yield kind, row
