"""Kernel parts that compare the text with the literals of a shape."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.json_values import member_end
from tickplant.feeds.kit.raw_text import byte_at, word_at
from tickplant.kernels import inlined, part

# A cell of a literal that further members may interrupt: the byte, one of these places, the keys known there.
BEFORE_COMMA: Final = 1  # further members may stand before this byte, each after a comma
AFTER_OPENING: Final = 2  # each followed by a comma
PLACE_SHIFT: Final = 8
KNOWN_SHIFT: Final = 16

_QUOTE_MARK, _COMMA = (ord(c) for c in '",')


@part
def literal_with_further(at: int, cells: int, code: int) -> int:
    """Address after a literal, skipping members between its bytes that nobody reads; -1 if the text is anything else.

    `cells` is the address of the literal byte by byte, `code` that of the program.
    """
    for k in range(word_at(cells)):
        cell = word_at(cells + 8 + 8 * k)
        place = cell >> PLACE_SHIFT & 0xFF
        known = code + 8 * (cell >> KNOWN_SHIFT)
        if place == BEFORE_COMMA:
            while byte_at(at) == _COMMA:
                end = member_end(at + 1, known)
                if end < 0:
                    break
                at = end
        elif place == AFTER_OPENING:
            while byte_at(at) == _QUOTE_MARK:
                end = member_end(at, known)
                if end < 0 or byte_at(end) != _COMMA:
                    break
                at = end + 1
        if byte_at(at) != cell & 0xFF:
            return -1
        at += 1
    return at


@inlined
def literal_end(at: int, literal: int) -> int:
    """Address after a literal of at most 16 bytes, given by the operands of LEVELS; -1 if the text differs."""
    if (word_at(at) ^ word_at(literal + 8)) & word_at(literal + 16):
        return -1
    if word_at(literal) > 8 and (word_at(at + 8) ^ word_at(literal + 24)) & word_at(literal + 32):
        return -1
    return at + word_at(literal)
