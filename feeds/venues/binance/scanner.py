"""The fast decoder: a kernel that writes ticks straight from the bytes of many frames.

It knows the documented shapes of trade, aggTrade, bookTicker and depthUpdate, raw or wrapped in `{stream, data}`:
compact ASCII JSON, known keys once each, in any order, and between them any further keys, which it passes over.
Everything else - other kinds and streams, spaces, escapes, signs, exponents, numbers that do not fit, ids out of
line, symbols not in the table - it leaves untouched for the reference decoder, byte for byte.
`tests/property/test_scanner.py` holds the two equal.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tickplant.feeds.venues.binance.passing import closes, data_start, digits_end, further_end, value_end
from tickplant.feeds.venues.binance.text import (
    NONE,
    ROOM_FOR_A_DIGIT,
    TABLE_COLUMNS,
    Ints,
    Text,
    decimal,
    find_symbol,
    insert_symbol,
    is_word,
    matches,
    plain_text_end,
    text_of,
    to_ns,
)
from tickplant.kernels import kernel
from tickplant.records.batch import (
    FLAGS_SHIFT,
    KIND_SHIFT,
    ORDER_ID,
    PACKED,
    PRICE,
    SIDE_SHIFT,
    SIZE,
    TS_EVENT,
    TS_RECV,
    VENUE_SEQ,
    WORDS,
    Rows,
)
from tickplant.records.layouts import Flag, Kind, Side

# Columns of the state table, one row per instrument, shared by kernels and adapter.
INSTRUMENT: Final = 0
PRICE_SCALE: Final = 1
SIZE_SCALE: Final = 2
LAST_TRADE: Final = 3  # id of the last trade recorded, NONE before the first; the next two columns belong to it
LAST_TRADE_NS: Final = 4
CAUSE_TRADE: Final = 5  # not 0: why the next trade comes after a gap (a GapCause)
LAST_AGG: Final = 6
LAST_AGG_NS: Final = 7
CAUSE_AGG: Final = 8
LAST_QUOTE: Final = 9
LAST_QUOTE_NS: Final = 10
CAUSE_QUOTE: Final = 11
SEEN_QUOTE: Final = 12  # 1 when a quote or a book event has come since the adapter last cleared it
SEEN_BOOK: Final = 13
STATE_COLUMNS: Final = 14

ID_RESET_NS: Final = 1_000_000_000
"""An id that goes back while the venue's time goes on by more than this is a new count, not a duplicate."""

# Words of the progress array: what a call of `scan` reads and leaves behind.
FRAME: Final = 0  # first frame to read; afterwards the one that stopped the scan
LENGTH: Final = 1  # rows in the batch
PARSED: Final = 2
DUPLICATES: Final = 3
TRADES: Final = 4  # records
QUOTES: Final = 5
DIFF_SLOT: Final = 6  # the diff that stopped the scan, its rows behind LENGTH
DIFF_FIRST: Final = 7
DIFF_LAST: Final = 8
DIFF_PREVIOUS: Final = 9
DIFF_ROWS: Final = 10
DIFF_NS: Final = 11
PROGRESS_WORDS: Final = 12

# Why `scan` returned.
ALL_READ: Final = 0
NOT_MINE: Final = 1  # frame FRAME is for the reference decoder
DIFF_READ: Final = 2  # frame FRAME is a diff: record, hold or drop it

MIN_LEVEL_BYTES: Final = 8
"""No level is shorter on the wire, so a batch needs at most one row for this many bytes, and no more for quotes."""

# Keys as numbers, for arrays and bit sets.
_KEYS: Final = "eEstpqTmMXaflUubBA"
_PU: Final = len(_KEYS)
_UNKNOWN_KEY: Final = 255
_KEY_OF: Final = np.full(128, _UNKNOWN_KEY, np.uint8)
_KEY_OF[np.frombuffer(_KEYS.encode(), np.uint8)] = np.arange(len(_KEYS))
_E, _S, _P, _Q, _X, _A, _B = (_KEYS.index(key) for key in "espqXab")
_SENT, _TIME, _T, _M, _F, _FIRST, _LAST = (_KEYS.index(key) for key in "ETtmfUu")
_BID_SIZE, _ASK_SIZE = _KEYS.index("B"), _KEYS.index("A")


def _bits(keys: str) -> int:
    return sum(1 << _KEYS.index(key) for key in keys)


# What the reference decoder must find in a message, by type; optional are the bits named singly.
_X_BIT, _E_BIT, _T_BIT, _PU_BIT = _bits("X"), _bits("e"), _bits("T"), 1 << _PU
_TRADE_TEXTS, _TRADE_INTS, _TRADE_BOOLS = _bits("espq"), _bits("tT"), _bits("m")
_AGG_INTS: Final = _bits("afT")
_QUOTE_TEXTS, _QUOTE_INTS = _bits("sbBaA"), _bits("u")
_DIFF_TEXTS, _DIFF_INTS, _DIFF_LISTS = _bits("es"), _bits("EUu"), _bits("ba")

_STREAM: Final = np.frombuffer(b'{"stream":"', np.uint8)
_DATA: Final = np.frombuffer(b',"data":', np.uint8)
_THIRD: Final = np.frombuffer(b",[]]", np.uint8)  # of a level in messages of before 2020
_DEPTH: Final = np.frombuffer(b"depth", np.uint8)
_ALL_QUOTES: Final = np.frombuffer(b"!bookTicker", np.uint8)
_MS: Final = np.frombuffer(b"ms", np.uint8)
_TRUE: Final = np.frombuffer(b"true", np.uint8)
_FALSE: Final = np.frombuffer(b"false", np.uint8)
_MARKET: Final = np.frombuffer(b"MARKET", np.uint8)
_TRADE_NAME: Final = np.frombuffer(b"trade", np.uint8)
_AGG_NAME: Final = np.frombuffer(b"aggTrade", np.uint8)
_QUOTE_NAME: Final = np.frombuffer(b"bookTicker", np.uint8)
_DIFF_NAME: Final = np.frombuffer(b"depthUpdate", np.uint8)
_NO_EVENT, _TRADE, _AGG, _QUOTE, _DIFF, _OTHER = range(6)

_QUOTE_MARK, _COMMA, _ZERO, _COLON, _AT = (ord(c) for c in '",0:@')
_OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE, _TRUE_START, _FALSE_START = (ord(c) for c in "[]{}tf")

_TRADE_KIND: Final = Kind.TRADE << KIND_SHIFT
_LEVEL_KIND: Final = Kind.LEVEL << KIND_SHIFT
_QUOTE_KIND: Final = Kind.QUOTE << KIND_SHIFT
_BUY, _SELL = Side.BUY << SIDE_SHIFT, Side.SELL << SIDE_SHIFT
_BID, _ASK = Side.BID << SIDE_SHIFT, Side.ASK << SIDE_SHIFT
_LAST_FLAG: Final = Flag.LAST << FLAGS_SHIFT
_AGG_FLAG: Final = Flag.AGGREGATE << FLAGS_SHIFT


@kernel
def scan_levels(
    text: Text, start: int, stop: int, packed: int, price_scale: int, size_scale: int, out: Rows, row: int
) -> tuple[int, int]:
    """Read `[["price","size"],…]` at text[start] into rows of `out` from `row` on: price, size and packed word.

    Returns (position after the list, row after the last one); the position is -1 where the text is anything else.
    """
    i = start + 1
    if i < stop and text[i] == _CLOSE_LIST:
        return i + 1, row
    while True:
        if i + MIN_LEVEL_BYTES > stop or text[i] != _OPEN_LIST or text[i + 1] != _QUOTE_MARK:
            return -1, row
        i += 2
        begin = i
        while i < stop and text[i] != _QUOTE_MARK:
            i += 1
        price = decimal(text, begin, i, price_scale)
        if price < 0 or i + 2 >= stop or text[i + 1] != _COMMA or text[i + 2] != _QUOTE_MARK:
            return -1, row
        i += 3
        begin = i
        while i < stop and text[i] != _QUOTE_MARK:
            i += 1
        size = decimal(text, begin, i, size_scale)
        if size < 0 or i + 2 >= stop:
            return -1, row
        if text[i + 1] != _CLOSE_LIST:
            if i + 5 >= stop or not matches(text, i + 1, stop, _THIRD):
                return -1, row
            i += 3
        out[row, PRICE] = price
        out[row, SIZE] = size
        out[row, PACKED] = packed
        row += 1
        i += 3
        if text[i - 1] == _CLOSE_LIST:
            return i, row
        if text[i - 1] != _COMMA:
            return -1, row


@kernel
def stamp_levels(out: Rows, start: int, stop: int, ts_event: int, ts_recv: int, venue_seq: int) -> None:
    """Complete rows start..stop that `scan_levels` wrote, as one atomic event."""
    for k in range(start, stop):
        out[k, TS_EVENT] = ts_event
        out[k, TS_RECV] = ts_recv
        out[k, VENUE_SEQ] = venue_seq
        out[k, ORDER_ID] = 0
    if stop > start:
        out[stop - 1, PACKED] |= _LAST_FLAG


@kernel
def _emit(
    out: Rows, row: int, ts_event: int, ts_recv: int, price: int, size: int, seq: int, order: int, packed: int
) -> None:
    out[row, TS_EVENT] = ts_event
    out[row, TS_RECV] = ts_recv
    out[row, PRICE] = price
    out[row, SIZE] = size
    out[row, VENUE_SEQ] = seq
    out[row, ORDER_ID] = order
    out[row, PACKED] = packed


@kernel
def _event(text: Text, start: int, stop: int) -> int:
    length = stop - start
    if length == len(_TRADE_NAME) and matches(text, start, stop, _TRADE_NAME):
        return _TRADE
    if length == len(_QUOTE_NAME) and matches(text, start, stop, _QUOTE_NAME):
        return _QUOTE
    if length == len(_DIFF_NAME) and matches(text, start, stop, _DIFF_NAME):
        return _DIFF
    if length == len(_AGG_NAME) and matches(text, start, stop, _AGG_NAME):
        return _AGG
    return _OTHER


@kernel
def _carries(text: Text, start: int, stop: int, event: int) -> bool:
    # Whether the stream of this name is the one that brings an event: others send events of the same type.
    at = start
    while at < stop and text[at] != _AT:
        at += 1
    if at == stop:
        return event in (_QUOTE, _NO_EVENT) and is_word(text, start, stop, _ALL_QUOTES)
    at += 1
    if event == _TRADE:
        return is_word(text, at, stop, _TRADE_NAME)
    if event == _DIFF:
        return matches(text, at, stop, _DEPTH) and _is_speed(text, at + len(_DEPTH), stop)
    return is_word(text, at, stop, _AGG_NAME if event == _AGG else _QUOTE_NAME)


@kernel
def _is_speed(text: Text, start: int, stop: int) -> bool:
    # Whether nothing follows, or `@100ms` or the like.
    if start == stop:
        return True
    end = stop - len(_MS)
    if text[start] != _AT or start + 1 >= end or not matches(text, end, stop, _MS):
        return False
    return digits_end(text, start + 1, end) == end


@kernel
def scan(text: Text, ends: Ints, count: int, ts_recv: int, table: Ints, state: Ints, out: Rows, progress: Ints) -> int:
    """Read frames from progress[FRAME] on, until all are read or one needs the adapter.

    Args:
        text: the frames, joined.
        ends: end of each frame in `text`.
        count: number of frames.
        ts_recv: their receive time, ns.
        table: symbols, see `insert_symbol`.
        state: one row per instrument, columns above; updated.
        out: ticks, from row progress[LENGTH] on; room for len(text) // MIN_LEVEL_BYTES more rows.
        progress: words above; FRAME and LENGTH are read, all are updated, the counts by addition.

    Returns:
        ALL_READ, NOT_MINE or DIFF_READ.
    """
    fields = np.empty((_PU + 1, 2), np.int64)  # of a text where it starts and stops, of a number or bool its value
    frame = progress[FRAME]
    row = progress[LENGTH]
    code = ALL_READ
    while frame < count:
        i = ends[frame - 1] if frame > 0 else 0
        stop = ends[frame]
        code = NOT_MINE

        name = name_stop = NONE  # of the stream, where the message is wrapped
        if matches(text, i, stop, _STREAM):
            name = i + len(_STREAM)
            name_stop = plain_text_end(text, name, stop)
            if name_stop < 0:
                break
            i = name_stop + 1
            if matches(text, i, stop, _DATA):
                i += len(_DATA)
            else:
                i = data_start(text, i, stop)
                if i < 0:
                    break

        # The object: keys and values into `fields`, lists of levels into rows behind the batch.
        if i >= stop or text[i] != _OPEN:
            break
        i += 1
        texts = ints = bools = lists = others = 0
        event = _NO_EVENT
        slot = NONE
        end_row = row
        while True:
            if i + 4 > stop or text[i] != _QUOTE_MARK:
                break
            member = i
            if text[i + 2] == _QUOTE_MARK:
                c = int(text[i + 1])
                key = int(_KEY_OF[c]) if c < 128 else _UNKNOWN_KEY
                i += 3
            elif text[i + 1] == 112 and text[i + 2] == 117 and text[i + 3] == _QUOTE_MARK:
                key = _PU
                i += 4
            else:
                key = _UNKNOWN_KEY
            if key == _UNKNOWN_KEY:
                i = further_end(text, member, stop)
                if i < 0 or i >= stop:
                    break
                if text[i] == _COMMA:
                    i += 1
                    continue
                if text[i] != _CLOSE:
                    break
                i += 1
                code = ALL_READ
                break
            if (texts | ints | bools | lists | others) >> key & 1 or i + 1 >= stop or text[i] != _COLON:
                break
            bit = 1 << key
            i += 1
            c = int(text[i])
            if c == _QUOTE_MARK:
                begin = i + 1
                i = plain_text_end(text, begin, stop)
                if i < 0:
                    break
                fields[key, 0] = begin
                fields[key, 1] = i
                texts |= bit
                if key == _E:
                    event = _event(text, begin, i)
                elif key == _S:
                    slot = find_symbol(text, begin, i, table)
                i += 1
            elif 48 <= c <= 57:
                begin = i
                value = 0
                while i < stop and 48 <= text[i] <= 57 and value <= ROOM_FOR_A_DIGIT:
                    value = value * 10 + (int(text[i]) - _ZERO)
                    i += 1
                if c == _ZERO and i - begin > 1:
                    break
                fields[key, 0] = value
                ints |= bit
            elif c == _TRUE_START and matches(text, i, stop, _TRUE):
                fields[key, 0] = 1
                bools |= bit
                i += len(_TRUE)
            elif c == _FALSE_START and matches(text, i, stop, _FALSE):
                fields[key, 0] = 0
                bools |= bit
                i += len(_FALSE)
            elif c == _OPEN_LIST and event == _DIFF and slot >= 0 and (key == _B or (key == _A and lists != 0)):
                packed = state[slot, INSTRUMENT] | _LEVEL_KIND | (_BID if key == _B else _ASK)
                i, end_row = scan_levels(
                    text, i, stop, packed, state[slot, PRICE_SCALE], state[slot, SIZE_SCALE], out, end_row
                )
                if i < 0:
                    break
                lists |= bit
            elif c == _OPEN_LIST and key in (_A, _B) and event in (_DIFF, _NO_EVENT):
                break
            else:
                i = value_end(text, i, stop)
                if i < 0:
                    break
                others |= bit
            if i >= stop:
                break
            if text[i] == _CLOSE:
                i += 1
                code = ALL_READ
                break
            if text[i] != _COMMA:
                break
            i += 1
        if code != ALL_READ:
            break
        code = NOT_MINE
        if slot < 0:
            break
        if name == NONE:
            if i != stop:
                break
        elif not ((i == stop - 1 and text[i] == _CLOSE) or closes(text, i, stop)):
            break
        if name != NONE and not _carries(text, name, name_stop, event):
            break

        # The event: what the reference decoder reads, each of its type; ids in line; values that fit.
        if event in (_TRADE, _AGG):
            agg = event == _AGG
            if texts & _TRADE_TEXTS != _TRADE_TEXTS or bools & _TRADE_BOOLS != _TRADE_BOOLS:
                break
            required = _AGG_INTS if agg else _TRADE_INTS
            if ints & required != required:
                break
            if not agg and (
                (ints | bools | lists | others) & _X_BIT != 0
                or (texts & _X_BIT != 0 and not is_word(text, fields[_X, 0], fields[_X, 1], _MARKET))
            ):
                break
            ident = fields[_A, 0] if agg else fields[_T, 0]
            ts_event = to_ns(fields[_TIME, 0])
            column = LAST_AGG if agg else LAST_TRADE
            last = state[slot, column]
            if ts_event < 0 or state[slot, column + 2] != 0:
                break
            if last != NONE and ident <= last and ts_event - state[slot, column + 1] <= ID_RESET_NS:
                progress[DUPLICATES] += 1
            else:
                if last != NONE and ident - last != 1:
                    break
                price = decimal(text, fields[_P, 0], fields[_P, 1], state[slot, PRICE_SCALE])
                size = decimal(text, fields[_Q, 0], fields[_Q, 1], state[slot, SIZE_SCALE])
                if price < 0 or size < 0:
                    break
                packed = state[slot, INSTRUMENT] | _TRADE_KIND | (_SELL if fields[_M, 0] else _BUY) | _LAST_FLAG
                order_id = 0
                if agg:
                    packed |= _AGG_FLAG
                    order_id = fields[_F, 0]
                _emit(out, row, ts_event, ts_recv, price, size, ident, order_id, packed)
                row += 1
                state[slot, column] = ident
                state[slot, column + 1] = ts_event
                progress[TRADES] += 1
        elif event in (_QUOTE, _NO_EVENT):
            if texts & _QUOTE_TEXTS != _QUOTE_TEXTS or ints & _QUOTE_INTS == 0:
                break
            if (texts | bools | lists | others) & _T_BIT != 0 or (
                event == _NO_EVENT and (ints | bools | others) & _E_BIT != 0
            ):
                break
            ident = fields[_LAST, 0]
            ts_event = to_ns(fields[_TIME, 0]) if ints & _T_BIT != 0 else 0
            last = state[slot, LAST_QUOTE]
            if ts_event < 0 or state[slot, CAUSE_QUOTE] != 0:
                break
            if last != NONE and ident <= last:
                progress[DUPLICATES] += 1
            else:
                bid = decimal(text, fields[_B, 0], fields[_B, 1], state[slot, PRICE_SCALE])
                bid_size = decimal(text, fields[_BID_SIZE, 0], fields[_BID_SIZE, 1], state[slot, SIZE_SCALE])
                ask = decimal(text, fields[_A, 0], fields[_A, 1], state[slot, PRICE_SCALE])
                ask_size = decimal(text, fields[_ASK_SIZE, 0], fields[_ASK_SIZE, 1], state[slot, SIZE_SCALE])
                # A price of 0 is an empty side, which the reference knows how to say.
                if bid <= 0 or ask <= 0 or bid_size < 0 or ask_size < 0:
                    break
                packed = state[slot, INSTRUMENT] | _QUOTE_KIND
                _emit(out, row, ts_event, ts_recv, bid, bid_size, ident, 0, packed | _BID)
                _emit(out, row + 1, ts_event, ts_recv, ask, ask_size, ident, 0, packed | _ASK | _LAST_FLAG)
                row += 2
                state[slot, LAST_QUOTE] = ident
                state[slot, LAST_QUOTE_NS] = ts_event
                state[slot, SEEN_QUOTE] = 1
                progress[QUOTES] += 2
        elif event == _DIFF:
            if texts & _DIFF_TEXTS != _DIFF_TEXTS or lists != _DIFF_LISTS or ints & _DIFF_INTS != _DIFF_INTS:
                break
            if (texts | bools | others) & (_T_BIT | _PU_BIT) != 0:
                break
            ts_event = to_ns(fields[_TIME, 0] if ints & _T_BIT != 0 else fields[_SENT, 0])
            if ts_event < 0:
                break
            stamp_levels(out, row, end_row, ts_event, ts_recv, fields[_LAST, 0])
            progress[DIFF_SLOT] = slot
            progress[DIFF_FIRST] = fields[_FIRST, 0]
            progress[DIFF_LAST] = fields[_LAST, 0]
            progress[DIFF_PREVIOUS] = fields[_PU, 0] if ints & _PU_BIT != 0 else NONE
            progress[DIFF_ROWS] = end_row - row
            progress[DIFF_NS] = ts_event
            progress[PARSED] += 1
            code = DIFF_READ
            break
        else:
            break
        progress[PARSED] += 1
        code = ALL_READ
        frame += 1
    progress[FRAME] = frame
    progress[LENGTH] = row
    return code


def warm_up() -> None:
    """Compile every kernel, or load it from the cache, so that the first frame does not wait seconds for it."""
    table = np.zeros((2, TABLE_COLUMNS), np.int64)
    state = np.zeros((1, STATE_COLUMNS), np.int64)
    out = np.zeros((8, WORDS), np.int64)
    text = text_of(b'[["1","1"]]')
    insert_symbol(text_of(b"A"), table, 0)
    scan_levels(text, 0, len(text), 0, 8, 8, out, 0)
    scan(text, np.full(1, len(text)), 1, 0, table, state, out, np.zeros(PROGRESS_WORDS, np.int64))
    stamp_levels(out, 0, 1, 0, 0, 0)
