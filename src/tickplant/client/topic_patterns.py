"""Which topics a subscriber wants, what ZeroMQ filters by for that, and which names are like one that there is not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from tickplant.wire import split_topic

_FILTER_BYTES: Final = 128
_FILTERS: Final = 500
"""Of one client; the defaults of an engine allow twice as many. See docs/operations.md, "Limits"."""


class Pattern:
    """What a user wants: as a prefix, which ZeroMQ filters by at the publisher, and as an exact test."""

    def __init__(self, text: str) -> None:
        self.prefix = text.partition("*")[0].encode()
        parts = "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", text))
        self._expression = re.compile(rf"{parts}(\..*)?", re.DOTALL)

    def matches(self, topic: str) -> bool:
        """Whether the user wants this topic."""
        return self._expression.fullmatch(topic) is not None


def filters(patterns: Sequence[Pattern]) -> list[bytes]:
    """What ZeroMQ filters by: the fewest prefixes that let all wanted topics through, within what any engine allows.

    A filter may let more through than is wanted; the patterns sort that out. So long prefixes are cut, and where there
    are too many of them they are shortened to `venue.`, and if those are too many still, to nothing.
    """
    found = {pattern.prefix[:_FILTER_BYTES] for pattern in patterns}
    for shortened in (found, {prefix[: prefix.find(b".") + 1] for prefix in found}, {b""}):
        kept: list[bytes] = []
        for prefix in sorted(shortened):  # what another one begins with comes before it
            if not kept or not prefix.startswith(kept[-1]):
                kept.append(prefix)
        if len(kept) <= _FILTERS:
            return kept
    raise AssertionError("one filter is never too many")


def nearest(wanted: str, topics: Iterable[str], count: int = 3) -> list[str]:
    """Names like one that a user wants and that is not among the topics, nearest first; none where none is like it.

    Of a beginning such as `binance.BTCUSD` they are beginnings. Venue, symbol and channel are compared one by one,
    whatever their case: an engine may have ten thousand topics.
    """
    venue, *rest = wanted.split(".")
    symbol = ".".join(rest[:-1]) or ("*" if venue == "*" else "")  # *.trade: of any symbol
    parts = [part for part in (venue, symbol, *rest[-1:]) if part]
    rows = [split_topic(topic)[: len(parts)] for topic in topics]
    found = {tuple("*" if part == "*" else name for part, name in zip(parts, row, strict=True)): 0 for row in rows}
    alike = False
    for place, part in enumerate(parts):
        names = {row[place].casefold() for row in found}
        close = difflib.get_close_matches(part.casefold(), names, count)
        alike = alike or bool(close and part != "*")
        if close:
            found = {
                row: rank + close.index(row[place].casefold())
                for row, rank in found.items()
                if row[place].casefold() in close
            }
    return [".".join(row) for row in sorted(found, key=lambda row: (found[row], row))[:count]] if alike else []
