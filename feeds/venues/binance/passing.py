"""Kernels that pass over JSON which nobody reads: fields that the venue has added since.

What they pass over is well-formed: they refuse (-1) all that the reference decoder might not accept, and leave it to
that one to judge.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tickplant.feeds.venues.binance.text import Text, matches, plain_text_end
from tickplant.kernels import kernel

_QUOTE_MARK, _DOT, _ZERO, _BACKSLASH, _COMMA, _COLON, _MINUS, _PLUS = (ord(c) for c in '".0\\,:-+')
_OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE, _UNICODE_ESCAPE = (ord(c) for c in "[]{}u")
_ESCAPES: Final = np.frombuffer(b'"\\/bfnrt', np.uint8)
_TRUE: Final = np.frombuffer(b"true", np.uint8)
_FALSE: Final = np.frombuffer(b"false", np.uint8)
_NULL: Final = np.frombuffer(b"null", np.uint8)
_DATA: Final = np.frombuffer(b',"data":', np.uint8)
# Keys that tell messages apart, or that the reference decoder reads in an envelope.
_EVENT_KEY: Final = np.frombuffer(b"e", np.uint8)
_STREAM_KEY: Final = np.frombuffer(b"stream", np.uint8)
_DATA_KEY: Final = np.frombuffer(b"data", np.uint8)
_BOOK_KEY: Final = np.frombuffer(b"lastUpdateId", np.uint8)

_NESTED: Final = 30
"""Levels of nesting that `value_end` follows: one bit each of what is open."""

_LONGEST_NUMBER: Final = 40
_EXPONENT_DIGITS: Final = 2


@kernel
def _string_end(text: Text, start: int, stop: int) -> int:
    # As `plain_text_end`, but past escapes. \\ud800 to \\udfff come in pairs, which is for others to judge.
    i = start
    while i < stop:
        c = int(text[i])
        if c == _QUOTE_MARK:
            return i
        if c < 32 or c > 126:
            return -1
        if c == _BACKSLASH:
            i += 1
            if i >= stop:
                return -1
            if text[i] == _UNICODE_ESCAPE:
                if i + 4 >= stop:
                    return -1
                for k in range(i + 1, i + 5):
                    digit = int(text[k]) | 32
                    if not (48 <= text[k] <= 57 or 97 <= digit <= 102):
                        return -1
                if int(text[i + 1]) | 32 == 100 and text[i + 2] > 55:
                    return -1
                i += 4
            else:
                known = False
                for escape in _ESCAPES:
                    known |= text[i] == escape
                if not known:
                    return -1
        i += 1
    return -1


@kernel
def digits_end(text: Text, start: int, stop: int) -> int:
    """Position after the digits at `start`."""
    i = start
    while i < stop and 48 <= text[i] <= 57:
        i += 1
    return i


@kernel
def _number_end(text: Text, start: int, stop: int) -> int:
    # Position after a number of JSON; -1 where it is none, or one that a decoder may find too large.
    i = start
    if text[i] == _MINUS:
        i += 1
    begin = i
    i = digits_end(text, i, stop)
    if i == begin or (text[begin] == _ZERO and i - begin > 1):
        return -1
    if i < stop and text[i] == _DOT:
        begin = i + 1
        i = digits_end(text, begin, stop)
        if i == begin:
            return -1
    if i < stop and int(text[i]) | 32 == 101:
        i += 1
        if i < stop and (text[i] == _PLUS or text[i] == _MINUS):
            i += 1
        begin = i
        i = digits_end(text, begin, stop)
        if i == begin or i - begin > _EXPONENT_DIGITS:
            return -1
    return i if i - start <= _LONGEST_NUMBER else -1


@kernel
def _scalar_end(text: Text, start: int, stop: int) -> int:
    c = int(text[start])
    if c == _QUOTE_MARK:
        end = _string_end(text, start + 1, stop)
        return end + 1 if end >= 0 else -1
    if c == _MINUS or 48 <= c <= 57:
        return _number_end(text, start, stop)
    if matches(text, start, stop, _TRUE) or matches(text, start, stop, _NULL):
        return start + 4
    if matches(text, start, stop, _FALSE):
        return start + 5
    return -1


@kernel
def _key_end(text: Text, start: int, stop: int) -> int:
    # Position after `"key":`.
    if start >= stop or text[start] != _QUOTE_MARK:
        return -1
    end = _string_end(text, start + 1, stop)
    return end + 2 if 0 <= end < stop - 1 and text[end + 1] == _COLON else -1


@kernel
def value_end(text: Text, start: int, stop: int) -> int:
    """Position after the JSON value at `start`, whatever it is, without looking into it.

    -1 where it is not compact ASCII JSON, is nested more than 30 deep, or holds a number of unusual size.
    """
    i = start
    depth = objects = 0  # one bit of `objects` for each level that is open: whether an object
    while i < stop:
        c = int(text[i])
        if c in (_OPEN, _OPEN_LIST):
            if depth == _NESTED:
                return -1
            depth += 1
            objects = objects << 1 | (c == _OPEN)
            i += 1
            if i < stop and text[i] == (_CLOSE if c == _OPEN else _CLOSE_LIST):
                i += 1
                depth -= 1
                objects >>= 1
            elif c == _OPEN:
                i = _key_end(text, i, stop)
                if i < 0:
                    return -1
                continue
            else:
                continue
        else:
            i = _scalar_end(text, i, stop)
            if i < 0:
                return -1
        # A value has ended: so may what it is in.
        while depth > 0 and i < stop and text[i] == (_CLOSE if objects & 1 else _CLOSE_LIST):
            i += 1
            depth -= 1
            objects >>= 1
        if depth == 0:
            return i
        if i >= stop or text[i] != _COMMA:
            return -1
        i += 1
        if objects & 1:
            i = _key_end(text, i, stop)
            if i < 0:
                return -1
    return -1


@kernel
def further_end(text: Text, start: int, stop: int) -> int:
    """Position after a member `"key":value` that no decoder reads.

    -1 where the key may mean something, or where this is not such a member in compact ASCII.
    """
    if start >= stop or text[start] != _QUOTE_MARK:
        return -1
    begin = start + 1
    end = plain_text_end(text, begin, stop)
    if end < 0 or end + 2 >= stop or text[end + 1] != _COLON:
        return -1
    for word in (_EVENT_KEY, _STREAM_KEY, _DATA_KEY, _BOOK_KEY):
        if end - begin == len(word) and matches(text, begin, end, word):
            return -1
    start = end + 2
    if text[start] == _QUOTE_MARK:
        end = plain_text_end(text, start + 1, stop)
        if end >= 0:
            return end + 1
    return value_end(text, start, stop)


@kernel
def data_start(text: Text, start: int, stop: int) -> int:
    """Position of the message in `{"stream":"…","data":…}`, from the end of the stream's name on.

    Further keys may stand between them. -1 where there is none.
    """
    i = start
    while not matches(text, i, stop, _DATA):
        if i >= stop or text[i] != _COMMA:
            return -1
        i = further_end(text, i + 1, stop)
        if i < 0:
            return -1
    return i + len(_DATA)


@kernel
def closes(text: Text, start: int, stop: int) -> bool:
    """Whether only further keys stand between the end of the wrapped message and the end of the frame."""
    i = start
    while i < stop and text[i] == _COMMA:
        i = further_end(text, i + 1, stop)
        if i < 0:
            return False
    return i == stop - 1 and text[i] == _CLOSE
