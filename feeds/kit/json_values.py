"""Kernel parts that skip JSON nobody reads: values of any kind, and members of objects.

They accept nothing that a strict decoder refuses. They refuse (-1) what decoders judge differently: text beyond ASCII,
surrogates, numbers of unusual size; the reference decoder judges those. Text ends with a NUL, which no value holds, so
nothing is read beyond it.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.raw_text import byte_at, plain_length, word_at
from tickplant.kernels import inlined, part

_QUOTE_MARK, _DOT, _ZERO, _BACKSLASH, _COMMA, _COLON, _MINUS, _PLUS = (ord(c) for c in '".0\\,:-+')
_OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE, _UNICODE_ESCAPE = (ord(c) for c in "[]{}u")
_TRUE: Final = int.from_bytes(b"true", "little")
_NULL: Final = int.from_bytes(b"null", "little")
_FALSE: Final = int.from_bytes(b"alse", "little")
_FOUR_BYTES: Final = 0xFFFFFFFF

NESTED: Final = 30
"""Levels of nesting that `value_end` follows: one bit per open level."""

_LONGEST_NUMBER: Final = 40
_EXPONENT_DIGITS: Final = 2


@inlined
def plain_end(at: int, stop: int) -> int:
    """Address of the first byte from `at` on that is not plain text, or is `stop`; see `plain_length`."""
    length = plain_length(at, stop)
    while length == 8:
        at += 8
        length = plain_length(at, stop)
    return at + length


@part
def _string_end(at: int) -> int:
    # Address of the closing quote. \ud800 to \udfff come in pairs, which the reference decoder judges.
    while True:
        at = plain_end(at, _QUOTE_MARK)
        c = byte_at(at)
        if c == _QUOTE_MARK:
            return at
        if c != _BACKSLASH:
            return -1
        c = byte_at(at + 1)
        if c == _UNICODE_ESCAPE:
            for k in range(at + 2, at + 6):
                digit = byte_at(k)
                if not (48 <= digit <= 57 or 97 <= digit | 32 <= 102):
                    return -1
            if byte_at(at + 2) | 32 == 100 and byte_at(at + 3) > 55:
                return -1
            at += 6
        elif c in (34, 92, 47, 98, 102, 110, 114, 116):  # "\/bfnrt
            at += 2
        else:
            return -1


@part
def _digits_end(at: int) -> int:
    while 48 <= byte_at(at) <= 57:
        at += 1
    return at


@part
def number_end(at: int) -> int:
    """Address after the JSON number at `at`; -1 if the text is not a number, or if a decoder may find it too large."""
    start = at
    if byte_at(at) == _MINUS:
        at += 1
    begin = at
    at = _digits_end(at)
    if at == begin or (byte_at(begin) == _ZERO and at - begin > 1):
        return -1
    if byte_at(at) == _DOT:
        begin = at + 1
        at = _digits_end(begin)
        if at == begin:
            return -1
    if byte_at(at) | 32 == 101:
        at += 1
        if byte_at(at) == _PLUS or byte_at(at) == _MINUS:
            at += 1
        begin = at
        at = _digits_end(begin)
        if at == begin or at - begin > _EXPONENT_DIGITS:
            return -1
    return at if at - start <= _LONGEST_NUMBER else -1


@part
def _scalar_end(at: int) -> int:
    c = byte_at(at)
    if c == _QUOTE_MARK:
        end = _string_end(at + 1)
        return end + 1 if end >= 0 else -1
    if c == _MINUS or 48 <= c <= 57:
        return number_end(at)
    four = word_at(at) & _FOUR_BYTES
    if four in (_TRUE, _NULL):
        return at + 4
    if c == 102 and word_at(at + 1) & _FOUR_BYTES == _FALSE:
        return at + 5
    return -1


@part
def _key_end(at: int) -> int:
    # Address after `"key":`.
    if byte_at(at) != _QUOTE_MARK:
        return -1
    end = _string_end(at + 1)
    return end + 2 if end >= 0 and byte_at(end + 1) == _COLON else -1


@part
def value_end(at: int) -> int:
    """Address after the JSON value at `at`, of any kind; -1 if it is not a value that this module accepts."""
    depth = objects = 0  # one bit of `objects` per open level: whether it is an object
    while True:
        c = byte_at(at)
        if c in (_OPEN, _OPEN_LIST):
            if depth == NESTED:
                return -1
            depth += 1
            objects = objects << 1 | (1 if c == _OPEN else 0)
            at += 1
            if byte_at(at) == (_CLOSE if c == _OPEN else _CLOSE_LIST):
                at += 1
                depth -= 1
                objects >>= 1
            elif c == _OPEN:
                at = _key_end(at)
                if at < 0:
                    return -1
                continue
            else:
                continue
        else:
            at = _scalar_end(at)
            if at < 0:
                return -1
        # A value has ended, and perhaps its containers with it.
        while depth > 0 and byte_at(at) == (_CLOSE if objects & 1 else _CLOSE_LIST):
            at += 1
            depth -= 1
            objects >>= 1
        if depth == 0:
            return at
        if byte_at(at) != _COMMA:
            return -1
        at += 1
        if objects & 1:
            at = _key_end(at)
            if at < 0:
                return -1


@part
def member_end(at: int, known: int) -> int:
    """Address after a member `"key":value` that nobody reads.

    -1 if its key is one of those at address `known`: their count, then the length and first 16 bytes of each, as words.
    """
    if byte_at(at) != _QUOTE_MARK:
        return -1
    begin = at + 1
    end = plain_end(begin, _QUOTE_MARK)
    if byte_at(end) != _QUOTE_MARK or byte_at(end + 1) != _COLON:
        return -1
    length = end - begin
    first = _cut(word_at(begin), length)
    second = _cut(word_at(begin + 8), length - 8) if length > 8 else 0
    for k in range(word_at(known)):
        key = known + 8 + 24 * k
        if word_at(key) == length and word_at(key + 8) == first and word_at(key + 16) == second:
            return -1
    return value_end(end + 2)


@inlined
def _cut(word: int, length: int) -> int:
    # The first bytes of a word. They are plain text, so the result stays positive.
    return word if length >= 8 else word & ((1 << 8 * length) - 1)
