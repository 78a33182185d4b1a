"""Which topics a subscriber wants, which ZeroMQ filters that takes, and which names resemble an unknown one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from tickplant.wire import split_topic

_FILTER_BYTES: Final = 128
_FILTERS: Final = 500
"""The most filters of one client; an engine's defaults allow twice as many. See docs/operations.md, "Limits"."""


class Pattern:
    """The topics that a user wants: as a prefix, by which ZeroMQ filters at the publisher, and as an exact test."""

    def __init__(self, text: str) -> None:
        self.prefix = text.partition("*")[0].encode()
        parts = "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", text))
        self._expression = re.compile(rf"{parts}(\..*)?", re.DOTALL)

    def matches(self, topic: str) -> bool:
        """Whether the user wants this topic."""
        return self._expression.fullmatch(topic) is not None


def filters(patterns: Sequence[Pattern]) -> list[bytes]:
    """The ZeroMQ filters: the fewest prefixes that let all wanted topics through, within what every engine allows.

    A filter may let more topics through than wanted; the patterns remove the rest. So long prefixes are cut. If there
    are too many prefixes, they are shortened to `venue.`; if there are still too many, to nothing.
    """
    found = {pattern.prefix[:_FILTER_BYTES] for pattern in patterns}
    for shortened in (found, {prefix[: prefix.find(b".") + 1] for prefix in found}, {b""}):
        kept: list[bytes] = []
        for prefix in sorted(shortened):  # a prefix of another one sorts before it
            if not kept or not prefix.startswith(kept[-1]):
                kept.append(prefix)
        if len(kept) <= _FILTERS:
            return kept
    raise AssertionError("one filter is never too many")


def nearest(wanted: str, topics: Iterable[str], count: int = 3) -> list[str]:
    """Topic names that resemble a wanted name that does not exist, nearest first; empty if none does.

    For the beginning of a name, such as `binance.BTCUSD`, the results are beginnings too. Venue, symbol and channel are
    compared one by one, ignoring case: an engine may have ten thousand topics.
    """
    venue, *rest = wanted.split(".")
    symbol = ".".join(rest[:-1]) or ("*" if venue == "*" else "")  # *.trade: any symbol
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
