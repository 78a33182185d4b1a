"""Which channels a TICK record belongs to: the one definition for publishing records and for reading them back.

A record belongs to one instrument and to a set of channels, one bit each. Most records belong to one channel, and a GAP
to each channel that it concerns. A lost connection belongs to `book` as well, since the records of that channel alone
must give the state of the book.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import brief_kernel
from tickplant.records.channels import TICK_CHANNELS
from tickplant.records.layouts import Flag, Kind, StatusCode

Records = NDArray[np.void]
Masks = NDArray[np.uint32]

_TRADE_BIT: Final = 1 << TICK_CHANNELS.index("trade")
_AGG_TRADE_BIT: Final = 1 << TICK_CHANNELS.index("agg_trade")
_QUOTE_BIT: Final = 1 << TICK_CHANNELS.index("quote")
_BOOK_BIT: Final = 1 << TICK_CHANNELS.index("book")
_STATUS_BIT: Final = 1 << TICK_CHANNELS.index("status")
_ORDERS_BIT: Final = 1 << TICK_CHANNELS.index("orders")
_BAR_BIT: Final = 1 << TICK_CHANNELS.index("venue_bar")
_STATISTIC_BIT: Final = 1 << TICK_CHANNELS.index("statistic")
_LIQUIDATION_BIT: Final = 1 << TICK_CHANNELS.index("liquidation")
_OTHER_BITS: Final = _BAR_BIT | _STATISTIC_BIT | _LIQUIDATION_BIT

_TRADE_BITS: Final = _TRADE_BIT | _AGG_TRADE_BIT

_TRADE: Final = int(Kind.TRADE)
_QUOTE: Final = int(Kind.QUOTE)
_STATUS: Final = int(Kind.STATUS)
_GAP: Final = int(Kind.GAP)
_STATISTIC: Final = int(Kind.STATISTIC)
_VENUE_BAR: Final = int(Kind.VENUE_BAR)
_LIQUIDATION: Final = int(Kind.LIQUIDATION)
_FIRST_ORDER: Final = int(Kind.ORDER_ADD)
_LAST_ORDER: Final = int(Kind.ORDER_FILL)
_DISCONNECTED: Final = int(StatusCode.DISCONNECTED)
_AGGREGATE: Final = int(Flag.AGGREGATE)
_PARTIAL: Final = int(Flag.PARTIAL)
_ON_TRADE: Final = int(Flag.ON_TRADE)
_ON_QUOTE: Final = int(Flag.ON_QUOTE)
_ON_BOOK: Final = int(Flag.ON_BOOK)
_ON_ORDERS: Final = int(Flag.ON_ORDERS)
_ON_OTHER: Final = int(Flag.ON_OTHER)


@brief_kernel
def tick_channels(ticks: Records, masks: Masks, carried: Masks) -> None:
    """Write the channels of each TICK record, bits in the order of `wire.TICK_CHANNELS`.

    A GAP's flags do not tell `trade` from `agg_trade`, nor the channels without ids from each other. `carried`
    remembers what does, by instrument id: the channel of the last trade, and the channels without ids that have carried
    a record. A GAP before any such record goes to all channels without ids, and so does every later one. A GAP without
    stream flags goes to `status`, so that every record has a topic.
    """
    for i in range(len(ticks)):
        kind = ticks[i]["kind"]
        flags = ticks[i]["flags"]
        instrument = ticks[i]["instrument"]
        if kind == _TRADE:
            mask = _AGG_TRADE_BIT if flags & _AGGREGATE else _TRADE_BIT
            carried[instrument] = carried[instrument] & _OTHER_BITS | mask
            masks[i] = mask
        elif kind == _QUOTE:
            masks[i] = _QUOTE_BIT
        elif kind == _STATUS:
            mask = _STATUS_BIT
            if ticks[i]["price"] == _DISCONNECTED:
                mask |= _BOOK_BIT if flags & _ON_BOOK else 0
                mask |= _ORDERS_BIT if flags & _ON_ORDERS else 0
            masks[i] = mask
        elif kind == _GAP:
            mask = 0
            if flags & _ON_TRADE:
                mask |= max(carried[instrument] & _TRADE_BITS, _TRADE_BIT)
            if flags & _ON_QUOTE:
                mask |= _QUOTE_BIT
            if flags & _ON_BOOK:
                mask |= _BOOK_BIT
            if flags & _ON_ORDERS:
                mask |= _ORDERS_BIT
            if flags & _ON_OTHER and flags & _PARTIAL:
                mask |= _BOOK_BIT  # partial books are published on `book`
            elif flags & _ON_OTHER:
                if carried[instrument] & _OTHER_BITS == 0:
                    carried[instrument] |= _OTHER_BITS
                mask |= carried[instrument] & _OTHER_BITS
            masks[i] = mask or _STATUS_BIT
        elif kind == _STATISTIC:
            carried[instrument] |= _STATISTIC_BIT
            masks[i] = _STATISTIC_BIT
        elif kind == _VENUE_BAR:
            carried[instrument] |= _BAR_BIT
            masks[i] = _BAR_BIT
        elif kind == _LIQUIDATION:
            carried[instrument] |= _LIQUIDATION_BIT
            masks[i] = _LIQUIDATION_BIT
        elif _FIRST_ORDER <= kind <= _LAST_ORDER or flags & _ON_ORDERS:
            masks[i] = _ORDERS_BIT
        else:
            masks[i] = _BOOK_BIT
