"""The position of a stream in all its topics, as text that fits into a header: clients return with it.

    EPOCH~KEYSEQ~KEYSEQ.EPOCH~KEYSEQ        EPOCH, SEQ: base 36; KEY: 8 letters that name a topic

SEQ is the topic sequence of the next record. The text holds all that a new gateway needs, so no gateway keeps state.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Final

KEY_LETTERS: Final = 8
MAX_CURSOR: Final = 1 << 16

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SEGMENT: Final = re.compile(r"[0-9a-z]{1,12}(~[A-Za-z0-9_-]{8}[0-9a-z]{1,12})*", re.ASCII)

Position = tuple[int, int]
"""Epoch, and topic sequence of the next record."""


@lru_cache(maxsize=1 << 16)
def key_of(topic: str) -> str:
    """Eight letters that identify a topic: one pair of topics in a million plants would share them."""
    return base64.urlsafe_b64encode(blake2b(topic.encode(), digest_size=6).digest()).decode()


def base36(number: int) -> str:
    """A number in digits and lower-case letters."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text


class Positions:
    """The positions of a stream, and their text."""

    def __init__(self) -> None:
        self._at: dict[str, Position] = {}
        self._parts: dict[int, dict[str, str]] = {}  # by epoch and topic

    def __getitem__(self, topic: str) -> Position:
        return self._at[topic]

    def __contains__(self, topic: str) -> bool:
        return topic in self._at

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def move(self, topic: str, position: Position) -> None:
        """Set the position of a topic."""
        epoch, seq = position
        before = self._at.get(topic)
        if before is not None and before[0] != epoch:
            del self._parts[before[0]][topic]
            if not self._parts[before[0]]:
                del self._parts[before[0]]
        self._at[topic] = position
        self._parts.setdefault(epoch, {})[topic] = f"~{key_of(topic)}{base36(seq)}"

    @property
    def text(self) -> str:
        """The cursor."""
        return ".".join(f"{base36(epoch)}{''.join(parts.values())}" for epoch, parts in self._parts.items())


class Cursor:
    """The cursor that a client returns with."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for text that is not a cursor."""
        self._at: dict[tuple[int, str], int] = {}
        self._epochs: set[int] = set()
        for segment in text.split("."):
            if len(text) > MAX_CURSOR or not _SEGMENT.fullmatch(segment):
                raise ValueError(f"{text[:80]!r} is not a cursor: that is the id of an event")
            epoch_text, *parts = segment.split("~")
            epoch = int(epoch_text, 36)
            self._epochs.add(epoch)
            for part in parts:
                self._at[epoch, part[:KEY_LETTERS]] = int(part[KEY_LETTERS:], 36)

    def of(self, topic: str, epoch: int) -> Position | None:
        """The client's position in a topic; None if it is unknown in this epoch.

        A topic that the client has not heard of has begun since.
        """
        return (epoch, self._at.get((epoch, key_of(topic)), 0)) if epoch in self._epochs else None
