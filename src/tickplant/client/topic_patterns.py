"""Which topics a subscriber wants, and what ZeroMQ filters by for that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

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
