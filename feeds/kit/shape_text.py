"""Reads the text of a shape: literals, holes, and the places where a literal admits further members of an object."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tickplant.feeds.kit.shape_literals import AFTER_OPENING, BEFORE_COMMA

DECIMALS: Final = frozenset({"price", "price+", "size", "size+"})
TYPES: Final = DECIMALS | {
    "symbol",
    "int",
    "epoch",
    "seconds",
    "rfc3339",
    "uuid",
    "later",
    "nanos",
    "text",
    "number",
    "any",
    "bytes",
}

_HOLE: Final = re.compile(r"<([^<>]*)>")
_FURTHER: Final = re.compile(r"\*(?: but (\w+(?:, \w+)*))?\Z")
_NAMED: Final = re.compile(r"(?:([A-Za-z]\w*|_):)?(\w+\+?|bytes(?:!\d\d?)+|\w+(?:=\d+)?(?:\|\w+(?:=\d+)?)+)\Z")
WORD_BYTES: Final = 16
TOLD_BYTES: Final = 8
"""The words of one hole must differ within this many leading bytes."""
BITS: Final = 63


@dataclass
class _Object:
    """An object of the example: its keys, and whether it admits further members."""

    keys: set[str] = field(default_factory=set)
    is_open: bool = False


@dataclass
class Literal:
    """Text that stands in every message, and the places where it admits further members."""

    text: bytes = b""
    places: dict[int, tuple[int, _Object]] = field(default_factory=dict)

    def open_places(self) -> dict[int, tuple[int, frozenset[str]]]:
        """Open places by the byte they precede: how further members are separated, and the keys known there."""
        return {at: (place, frozenset(there.keys)) for at, (place, there) in self.places.items() if there.is_open}


@dataclass(frozen=True)
class Hole:
    """What differs between messages. `words`: an enumeration's words, or those left to the reference, with numbers."""

    name: str
    type: str
    words: dict[bytes, int] = field(default_factory=dict)


class TextReader:
    """Reads the texts of one shape in order, including those within lists."""

    def __init__(self) -> None:
        self._open: list[_Object | None] = []  # None: a list
        self._in_text = False
        self._key: str | None = None  # the key being read
        self._wants_key = False

    def read(self, text: str) -> list[Literal | Hole]:
        """Literals and holes, alternating. Raises ValueError."""
        pieces: list[Literal | Hole] = []
        for number, part in enumerate(_HOLE.split(text)):
            if number % 2 == 0:
                literal = pieces[-1] if pieces else None
                if not isinstance(literal, Literal):
                    literal = Literal()
                    pieces.append(literal)
                self._follow(part, literal)
            elif further := _FURTHER.match(part):
                there = self._open[-1] if self._open else None
                if there is None or self._in_text:
                    raise ValueError(f"<{part}> stands in no object")
                there.is_open = True
                there.keys.update((further[1] or "").split(", ") if further[1] else ())
            else:
                pieces.append(_hole(part))
        return [piece for piece in pieces if isinstance(piece, Hole) or piece.text]

    def enter_list(self) -> None:
        """Expect the element of a list next."""
        if self._in_text:
            raise ValueError("a list stands within quotation marks")
        self._open.append(None)

    def leave_list(self) -> None:
        """End the list's element. Raises ValueError if something in it is still open."""
        if self._in_text or not self._open or self._open.pop() is not None:
            raise ValueError("an element of a list ends within an object or a text")

    def end(self) -> None:
        """Raises ValueError if an object, a list or a text is still open."""
        if self._in_text or self._open:
            raise ValueError("ends within an object, a list or a text")

    def _follow(self, text: str, literal: Literal) -> None:
        if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
            raise ValueError(f"{text!r} is no compact ASCII JSON without escapes")
        for c in text:
            there = self._open[-1] if self._open else None
            if self._in_text:
                if c == '"':
                    self._in_text = False
                    if there is not None and self._key is not None:
                        there.keys.add(self._key)
                    self._key = None
                elif self._key is not None:
                    self._key += c
            elif c == '"':
                self._in_text = True
                self._key = "" if self._wants_key else None
                self._wants_key = False
            elif c in "{[":
                self._open.append(_Object() if c == "{" else None)
                self._wants_key = c == "{"
            elif c in "}],":
                if there is not None and c in "},":
                    literal.places[len(literal.text)] = BEFORE_COMMA, there
                if c != ",":
                    if not self._open or (self._open.pop() is None) != (c == "]"):
                        raise ValueError(f"a {c} too many")
                else:
                    self._wants_key = there is not None
            literal.text += c.encode()
            if c == "{" and not self._in_text:
                opened = self._open[-1]
                assert opened is not None
                literal.places[len(literal.text)] = AFTER_OPENING, opened


def _hole(text: str) -> Hole:
    match = _NAMED.match(text)
    if match is None:
        raise ValueError(f"<{text}> is no hole")
    kind = match[2]
    if "|" in kind:
        words = {}
        for number, choice in enumerate(kind.split("|")):
            word, _, value = choice.partition("=")
            words[word.encode()] = int(value) if value else number
        if max(map(len, words)) > WORD_BYTES:
            raise ValueError(f"<{text}>: a word is longer than {WORD_BYTES} bytes")
        if len({word[:TOLD_BYTES] for word in words}) < len(words):
            raise ValueError(f"<{text}>: two words begin with the same {TOLD_BYTES} bytes")
        return Hole(match[1] or "_", "word", words)
    if kind.startswith("bytes!"):
        left = [int(number) for number in kind.split("!")[1:]]
        if max(left) >= BITS:
            raise ValueError(f"<{text}>: only values below {BITS} can be left to the reference")
        return Hole(match[1] or "_", "bytes", {b"%d" % number: number for number in left})
    if kind not in TYPES:
        raise ValueError(f"<{text}>: there is no type {kind}; there are {', '.join(sorted(TYPES))}")
    return Hole(match[1] or kind.rstrip("+"), kind)
