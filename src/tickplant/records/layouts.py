"""The record layouts: ticks, best bids and offers, bars, values and others, to the byte. Imports numpy only.

Every producer, ring, chunk, wire message and reader uses these dtypes unchanged. Prices and sizes are integers
(mantissas): value = mantissa * 10**-scale, with the scales of the record's instrument. Times are nanoseconds since
the Unix epoch, UTC. All fields are little-endian and naturally aligned, without padding: numpy copies and concatenates
records field by field, and loses bytes that belong to no field. `tests/unit/test_layouts.py` asserts the offsets.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np

NO_PRICE: Final = -(2**63)
"""Mantissa that means "no price", as on the empty side of a quote. Never a real value."""

UNKNOWN: Final = -1
"""`size` of a GAP whose number of missing records is unknown."""

CACHE_LINE_BYTES: Final = 64


class Kind(IntEnum):
    """What a tick says; the value of `TICK.kind`."""

    TRADE = 1  # one trade; side is the aggressor's; venue_seq the venue's trade id
    LEVEL = 2  # absolute size at a price of the book; size 0 removes the level; venue_seq the final update id
    CLEAR = 3  # empties the book before a snapshot; venue_seq the snapshot's update id
    QUOTE = 4  # best bid or offer as the venue sends it: two records, bid then ask, the second with LAST
    # Individual orders, named by order_id; venue_seq is the venue's sequence. A CLEAR before a snapshot has ON_ORDERS.
    ORDER_ADD = 5  # a new order, last in the queue at its price
    ORDER_MODIFY = 6  # new price and size; the order goes to the back if the price moved or the size grew
    ORDER_CANCEL = 7  # size is the reduction; 0 removes the order
    ORDER_FILL = 8  # size was traded of a resting order; changes no book: an ORDER_CANCEL or ORDER_MODIFY does that
    CHECKSUM = 9  # the venue's own checksum of the book after an event, in size; order_id: `books.checksums`
    STATUS = 10  # price is a StatusCode
    GAP = 11  # price is a GapCause, size the number missing or UNKNOWN, order_id the last id seen, venue_seq the next
    STATISTIC = 12  # another number from the venue, not the price of a trade or level: records.statistics
    VENUE_BAR = 13  # one number of a bar that the venue made: records.venue_bars
    LIQUIDATION = 14  # a forced order; side is that of the order


class Side(IntEnum):
    """Side of a level, quote or order; for a trade, the aggressor's side."""

    NONE = 0
    BID = 1
    ASK = 2
    BUY = 1
    SELL = 2


class Flag(IntFlag):
    """Bits of `flags`."""

    LAST = 1 << 0  # last record of one atomic event: a book is consistent only after it
    SNAPSHOT = 1 << 1  # part of a snapshot, not a change
    BACKFILL = 1 << 2  # fetched later, so ts_recv says nothing about latency
    # An aggregate trade: venue_seq is its id, or its last trade's if it has none; order_id is its first trade's id.
    AGGREGATE = 1 << 3
    PARTIAL = 1 << 4  # from a partial-depth stream: not part of the diff book
    ON_TRADE = 1 << 5  # on a GAP: trades are missing; on a STATUS: it is about trades
    ON_QUOTE = 1 << 6  # likewise for quotes
    ON_BOOK = 1 << 7  # likewise for the book: stale after a GAP or DISCONNECTED with this flag, until the next CLEAR
    STALE = 1 << 8  # on a BBO: the book behind it is not in sync with the venue
    CROSSED = 1 << 9  # on a BBO: bid >= ask
    LATE = 1 << 10  # on a BAR: it includes a trade whose time lies before the bar
    OVERFLOW = 1 << 11  # on a BAR: a volume did not fit 63 bits and is capped
    ON_ORDERS = 1 << 12  # likewise for the book of orders; a CLEAR or CHECKSUM with this flag belongs to that book
    ON_OTHER = 1 << 13  # likewise for data without ids or state: statistics, bars of the venue, liquidations


class TradeFlag(IntFlag):
    """Further bits of `flags` on a TRADE; a BBO or BAR uses the same bits otherwise."""

    CORRECTION = 1 << 8  # restates the trade of the same venue_seq
    CANCELLED = 1 << 9  # the trade of the same venue_seq is void
    CONFLATED = 1 << 10  # the newest of possibly many trades: not part of a complete tape
    IRREGULAR = 1 << 11  # according to the venue, sets no price: out of sequence, or a leg of a spread


class BarFlag(IntFlag):
    """Further bits of `flags` on a TRADE_BAR."""

    CORRECTION = 1 << 8  # one trade that came after its bar was published; with BACKFILL: it was fetched later
    CANCELLED = 1 << 9  # with CORRECTION: the trade no longer counts
    INCOMPLETE = 1 << 12  # trades are missing: a GAP came while the bar was open, or between the previous bar and it
    OUTSIDE = 1 << 13  # a session series' bar of the trades between two sessions


class OrderFlag(IntFlag):
    """Further bits of `flags` on a record of the channel `orders`."""

    DOUBTFUL = 1 << 8  # the source has missed something: the book may be wrong
    BAD_TIME = 1 << 9  # the source's ts_recv cannot be trusted
    TOP = 1 << 10  # replaces its whole side: the source knows only the best price
    AGGREGATED = 1 << 11  # a price level rather than an order


class GapCause(IntEnum):
    """Why records are missing; `price` of a GAP."""

    SEQUENCE = 1  # the venue's ids jumped within one connection
    DISCONNECT = 2  # the connection was lost or replaced in between
    RESTART = 3  # the feed or the plant was down
    CHECKSUM = 4  # the book disagreed with the venue's checksum
    RING_FULL = 5  # the writer was too slow: new records were dropped
    OVERRUN = 6  # a lossy reader was overtaken
    REJECTED = 7  # a frame or value could not be parsed
    DAMAGE = 8  # stored data was damaged


class StatusCode(IntEnum):
    """What happened; `price` of a STATUS."""

    CONNECTED = 1
    DISCONNECTED = 2  # the connection that carried this instrument was lost; the ON_ flags name the streams concerned
    SHUTDOWN_NOTICE = 3  # the venue announced that it will close the connection
    SUBSCRIPTION_REFUSED = 4
    SUBSCRIPTION_SILENT = 5  # acknowledged, but no data within the deadline
    RESYNC = 6  # the book of this instrument is being fetched again
    CIRCUIT_OPEN = 7  # an endpoint failed too often and is left alone for a while
    CIRCUIT_CLOSED = 8
    HANDOVER = 9  # another connection carries on: a planned replacement, or the second of two
    # Counts since the feed began: size received or made, venue_seq parsed or published, order_id rejected or dropped.
    ACCOUNT_FRAMES = 10
    ACCOUNT_TICKS = 11  # directly after its ACCOUNT_FRAMES; the count includes this record
    # The life of an instrument at its venue.
    INSTRUMENT_CHANGED = 12  # new scales: one on the id that ends, one on the id that follows; order_id is the other id
    HALTED = 13  # listed, but not trading; the log has the venue's own word
    TRADING = 14  # after a HALTED
    DELISTED = 15  # no longer listed, or closed for good: its subscriptions end
    LISTED = 16  # after a DELISTED: subscribed again
    # Changes by the plant's user while the feed runs.
    ADDED = 17  # recorded from here on
    REMOVED = 18  # no longer recorded, though still listed by the venue; follows a DISCONNECTED
    # In a replay only, never stored.
    SOUGHT = 19  # the replay jumped to another time; a DISCONNECTED and the books of that time follow directly


def _layout(item_bytes: int, fields: list[tuple[str, str, int]]) -> np.dtype[np.void]:
    """Dtype with explicit offsets. numpy does not reliably refuse overlaps, so the tests check for them."""
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": list(names), "formats": list(formats), "offsets": list(offsets), "itemsize": item_bytes})


TICK: Final = _layout(
    64,
    [
        ("ts_event", "<i8", 0),  # venue's time; 0 where the venue gives none
        ("ts_recv", "<i8", 8),  # local receive time, taken once per read from the socket
        ("price", "<i8", 16),
        ("size", "<i8", 24),
        ("venue_seq", "<u8", 32),  # trade id, final update id, sequence
        ("order_id", "<u8", 40),  # market-by-order id, or 0
        ("instrument", "<u4", 48),
        ("kind", "u1", 52),
        ("side", "u1", 53),
        ("flags", "<u2", 54),
        ("seq", "<u8", 56),  # position in its producer's ring; without gaps
    ],
)
"""One market event, 64 bytes, one cache line."""

BBO: Final = _layout(
    72,
    [
        ("ts_event", "<i8", 0),  # of the tick that changed it
        ("ts_recv", "<i8", 8),
        ("bid_price", "<i8", 16),  # NO_PRICE if the side is empty
        ("bid_size", "<i8", 24),
        ("ask_price", "<i8", 32),
        ("ask_size", "<i8", 40),
        ("source_seq", "<u8", 48),  # seq of the tick that changed it
        ("instrument", "<u4", 56),
        ("flags", "<u2", 60),
        ("reserved", "<u2", 62),  # 0
        ("seq", "<u8", 64),
    ],
)
"""Best bid and offer of the engine's book: a record whenever one of the four numbers or the flags change."""

BAR: Final = _layout(
    104,
    [
        ("ts_event", "<i8", 0),  # end of the bar, exclusive: ts_open + interval
        ("ts_recv", "<i8", 8),  # of the tick that closed it
        ("ts_open", "<i8", 16),  # start of the bar, inclusive, a multiple of the interval
        ("open", "<i8", 24),
        ("high", "<i8", 32),
        ("low", "<i8", 40),
        ("close", "<i8", 48),
        ("volume", "<i8", 56),
        ("buy_volume", "<i8", 64),  # volume whose aggressor bought
        ("source_seq", "<u8", 72),  # seq of the tick that closed it
        ("interval_s", "<u4", 80),
        ("trades", "<u4", 84),
        ("instrument", "<u4", 88),
        ("flags", "<u2", 92),
        ("reserved", "<u2", 94),  # 0
        ("seq", "<u8", 96),
    ],
)
"""The trades of one instrument in one interval of the venue's clock. An interval without trades has no bar."""

CHECKPOINT: Final = _layout(
    88,
    [
        ("ts_event", "<i8", 0),  # of the tick before which the book was in this state
        ("ts_recv", "<i8", 8),
        ("price", "<i8", 16),
        ("size", "<i8", 24),
        ("venue_seq", "<u8", 32),  # of the last tick applied to the book; on an ORDER_ADD its order_id
        ("source_seq", "<u8", 40),  # seq of the tick before which the book was in this state
        ("book_ts_event", "<i8", 48),  # times and seq of the last tick applied to the book
        ("book_ts_recv", "<i8", 56),
        ("book_seq", "<u8", 64),
        ("instrument", "<u4", 72),
        ("kind", "u1", 76),  # CLEAR, then LEVELs or ORDER_ADDs, the last with LAST: applied like ticks, the book
        ("side", "u1", 77),
        ("flags", "<u2", 78),
        ("seq", "<u8", 80),
    ],
)
"""One record of a checkpoint: the whole book of an instrument, as it stood before the tick `source_seq` of its feed."""


VALUE: Final = _layout(
    72,
    [
        ("ts_event", "<i8", 0),  # of the row that the values belong to: a bar, a trade, or a best bid and offer
        ("ts_recv", "<i8", 8),
        ("value_1", "<f8", 16),  # outputs of the indicator, in order; NaN for no value, as during warm-up
        ("value_2", "<f8", 24),
        ("value_3", "<f8", 32),
        ("value_4", "<f8", 40),
        ("source_seq", "<u8", 48),  # seq of the tick that made the row
        ("instrument", "<u4", 56),
        ("series", "<u2", 60),  # number of the indicator, its input and its parameters: `derive.series`
        ("flags", "<u2", 62),
        ("seq", "<u8", 64),
    ],
)
"""The values of one indicator at one row of an instrument."""

STATE: Final = VALUE
"""A part of the state of series before the tick `source_seq` of a feed: `derive.series_states`."""

TRADE_BAR: Final = _layout(
    136,
    [
        # Latest time of all trades up to its last one; of a bar of time or a session, the end, exclusive. A trade
        # without a venue time counts with its receive time.
        ("ts_event", "<i8", 0),
        ("ts_recv", "<i8", 8),  # of the trade that closed it: its last one; for time or a session, the next one
        ("ts_open", "<i8", 16),  # time of its first trade; of a bar of time or a session, the start, inclusive
        ("open", "<i8", 24),
        ("high", "<i8", 32),
        ("low", "<i8", 40),
        ("close", "<i8", 48),
        ("volume", "<i8", 56),
        ("buy_volume", "<i8", 64),  # volume whose aggressor bought
        ("sell_volume", "<i8", 72),  # volume whose aggressor sold
        ("vwap", "<f8", 80),  # price weighted by volume; NaN if there is no volume, or more than fits
        ("first_id", "<u8", 88),  # venue_seq of its first trade
        ("last_id", "<u8", 96),
        ("source_seq", "<u8", 104),  # seq of the trade that closed it
        ("instrument", "<u4", 112),
        ("series", "<u2", 116),  # number of the rule: `derive.series`
        ("flags", "<u2", 118),
        ("trades", "<u4", 120),
        ("number", "<u4", 124),  # counts the bars of a series and instrument from 0; on a CORRECTION, the bar corrected
        ("seq", "<u8", 128),
    ],
)
"""The trades of one instrument until a rule closes the bar. The last trade closes a bar, except that the first trade
beyond closes a bar of time or a session. A bar is published once and never changes.

Trades count in order of receipt, so no trade is late. A trade that was fetched later, or that restates or cancels
another one, counts in no bar. A separate record with CORRECTION holds that trade as a bar; its `number` is that of the
first bar that had not ended before the trade's time."""

UNKNOWN_BAR: Final = 2**32 - 1
"""`number` of a correction to a bar that is no longer remembered."""


class Schema(IntEnum):
    """The record layout of a ring, chunk or wire message. Values are stored: never reuse one."""

    TICK = 1
    BBO = 2
    BAR = 3
    CHECKPOINT = 4
    VALUE = 5
    STATE = 6
    TRADE_BAR = 7


DTYPES: Final[dict[Schema, np.dtype[np.void]]] = {
    Schema.TICK: TICK,
    Schema.BBO: BBO,
    Schema.BAR: BAR,
    Schema.CHECKPOINT: CHECKPOINT,
    Schema.VALUE: VALUE,
    Schema.STATE: STATE,
    Schema.TRADE_BAR: TRADE_BAR,
}


def dtype_hash(dtype: np.dtype[np.void]) -> int:
    """64-bit fingerprint of names, formats and offsets; equal layouts have equal fingerprints on every machine."""
    fields = dtype.fields
    if fields is None:
        raise TypeError(f"dtype {dtype} has no fields: a record layout was expected")
    text = ";".join(f"{name}:{field[0].str}@{field[1]}" for name, field in fields.items())
    digest = hashlib.blake2b(f"{text};{dtype.itemsize}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
