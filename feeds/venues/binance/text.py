"""Kernels on text: plain strings, exact decimals, times, and a table of symbols.

Each refuses what is not in the plainest form, and leaves it to the reference decoder in messages.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel

Ints = NDArray[np.int64]
Text = NDArray[np.uint8]

NONE: Final = -1
"""No id seen, no such symbol."""

ROOM_FOR_A_DIGIT: Final = (2**63 - 1 - 9) // 10
"""The largest number to which one more digit can be appended within 63 bits."""

# Columns of the symbol table, open addressing: 24 bytes of symbol, its length, its row of the state table.
SYMBOL_WORDS: Final = 3
SYMBOL_BYTES: Final = 8 * SYMBOL_WORDS
TABLE_COLUMNS: Final = SYMBOL_WORDS + 2
_LENGTH: Final = SYMBOL_WORDS
_SLOT: Final = SYMBOL_WORDS + 1


_QUOTE_MARK, _DOT, _ZERO, _BACKSLASH = (ord(c) for c in '".0\\')


@kernel
def plain_text_end(text: Text, start: int, stop: int) -> int:
    """Position of the closing quote of the string whose content is at `start`.

    -1 where it holds an escape, a control character or anything beyond ASCII, or does not end.
    """
    i = start
    while i < stop:
        c = int(text[i])
        if c == _QUOTE_MARK:
            return i
        if c < 32 or c > 126 or c == _BACKSLASH:
            return -1
        i += 1
    return -1


@kernel
def matches(text: Text, start: int, stop: int, word: Text) -> bool:
    """Whether text[start:stop] begins with `word`."""
    if start + len(word) > stop:
        return False
    k = 0
    while k < len(word) and text[start + k] == word[k]:
        k += 1
    return k == len(word)


@kernel
def is_word(text: Text, start: int, stop: int, word: Text) -> bool:
    """Whether text[start:stop] is `word`."""
    return stop - start == len(word) and matches(text, start, stop, word)


@kernel
def decimal(text: Text, start: int, stop: int, scale: int) -> int:
    """Mantissa of the plain decimal number in text[start:stop] at `scale`; -1 where it is none or does not fit."""
    mantissa = 0
    i = start
    while i < stop:
        digit = int(text[i]) - _ZERO
        if digit < 0 or digit > 9:
            break
        if mantissa > ROOM_FOR_A_DIGIT:
            return -1
        mantissa = mantissa * 10 + digit
        i += 1
    decimals = 0
    if i == start:
        return -1
    if i < stop:
        if text[i] != _DOT or i + 1 == stop:
            return -1
        i += 1
        while i < stop and decimals < scale:
            digit = int(text[i]) - _ZERO
            if digit < 0 or digit > 9 or mantissa > ROOM_FOR_A_DIGIT:
                return -1
            mantissa = mantissa * 10 + digit
            decimals += 1
            i += 1
        while i < stop:
            if text[i] != _ZERO:
                return -1
            i += 1
    while decimals < scale:
        if mantissa > ROOM_FOR_A_DIGIT:
            return -1
        mantissa *= 10
        decimals += 1
    return mantissa


@kernel
def to_ns(time: int) -> int:
    """Nanoseconds of a time in ms, us or ns, told apart by magnitude; -1 for what is neither."""
    if time <= 9_223_372_036_854:
        return time * 1_000_000
    if 100_000_000_000_000 <= time <= 9_223_372_036_854_775:
        return time * 1_000
    if time >= 100_000_000_000_000_000:
        return time
    return -1


@kernel
def _pack(text: Text, start: int, stop: int, word: int) -> int:
    # Eight bytes of a symbol as a number. ASCII keeps it positive.
    packed = 0
    begin = start + 8 * word
    for k in range(begin, min(begin + 8, stop)):
        packed |= int(text[k]) << 8 * (k - begin)
    return packed


@kernel
def _bucket(text: Text, start: int, stop: int, table: Ints) -> int:
    # Where the symbol is in the table, or the free place where it belongs.
    code = 0
    for k in range(start, stop):
        code = (code * 31 + int(text[k])) & 0xFFFFFFFF
    place = code & (len(table) - 1)
    while table[place, _LENGTH] != 0:
        if table[place, _LENGTH] == stop - start:
            equal = True
            for word in range(SYMBOL_WORDS):
                if table[place, word] != _pack(text, start, stop, word):
                    equal = False
                    break
            if equal:
                return place
        place = (place + 1) & (len(table) - 1)
    return place


@kernel
def find_symbol(text: Text, start: int, stop: int, table: Ints) -> int:
    """Row of the state table for the ASCII symbol text[start:stop]; NONE where it is unknown."""
    if stop - start == 0 or stop - start > SYMBOL_BYTES:
        return NONE
    place = _bucket(text, start, stop, table)
    if table[place, _LENGTH] == 0:
        return NONE
    return int(table[place, _SLOT])


@kernel
def insert_symbol(text: Text, table: Ints, slot: int) -> None:
    """Enter an ASCII symbol of 1 to SYMBOL_BYTES bytes.

    The table's length is a power of two, and the caller keeps it no more than half full.
    """
    place = _bucket(text, 0, len(text), table)
    for word in range(SYMBOL_WORDS):
        table[place, word] = _pack(text, 0, len(text), word)
    table[place, _LENGTH] = len(text)
    table[place, _SLOT] = slot


def is_scannable(symbol: str) -> bool:
    """Whether `insert_symbol` takes this symbol; frames of others are for the reference decoder."""
    return symbol.isascii() and 0 < len(symbol) <= SYMBOL_BYTES


def text_of(data: bytes | memoryview) -> Text:
    """Bytes as the kernels take them, without a copy."""
    return np.frombuffer(data, np.uint8)
