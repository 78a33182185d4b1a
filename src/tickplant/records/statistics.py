"""STATISTIC records: numbers that a venue sends in addition to trades and books: mark prices, funding, greeks, limits.

    size      the number without its decimal point        order_id  which number it is (StatisticCode)
    price     how many decimals `size` has                venue_seq the time that it is for, in ns, if it is for one

So each number stands exactly as the venue sent it, whatever the scales of the instrument. The numbers of one message
are one atomic event.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum

import numpy as np


class StatisticCode(IntEnum):
    """Which number; `order_id` of a STATISTIC. Values are stored: never reuse one."""

    MARK_PRICE = 1
    INDEX_PRICE = 2
    SETTLEMENT_PRICE = 3  # or an estimate of it, if the venue says so
    FUNDING_RATE = 4  # for one interval; venue_seq is the time of the next payment
    OPEN_INTEREST = 5
    LIMIT_UP = 6  # highest price at which trading is allowed
    LIMIT_DOWN = 7
    DAY_OPEN = 8
    DAY_HIGH = 9
    DAY_LOW = 10
    DAY_CLOSE = 11
    DAY_VOLUME = 12
    PREVIOUS_CLOSE = 13
    PREVIOUS_VOLUME = 14
    TICK_SIZE = 15  # smallest step of a price
    EXPIRATION = 16  # seconds since the epoch
    # Of an option, by the venue's model.
    OPTION_PRICE = 20
    VOLATILITY = 21
    DELTA = 22
    GAMMA = 23
    THETA = 24
    RHO = 25
    VEGA = 26


def value_of(record: np.void) -> Decimal:
    """The exact number of a STATISTIC record."""
    return Decimal(int(record["size"])).scaleb(-int(record["price"]))
