"""Joins best bids and offers, which the venue sent as one QUOTE per side, to rows of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.layouts import BBO, NO_PRICE, TICK, Flag, Side

Records = NDArray[np.void]

_NONE: Final = np.zeros(1, TICK)
_NONE["price"] = NO_PRICE


def tops(parts: Iterable[tuple[Instrument, Records]]) -> Iterator[tuple[Instrument, Records]]:
    """BBO records, one for each event of quotes: each side as it was last sent, or NO_PRICE before it was.

    Args:
        parts: QUOTE records in stored order, each array of one instrument. A new instrument begins without prices.
    """
    of = 0
    bid, ask = _NONE, _NONE
    for row, quotes in parts:
        if row.id != of:
            of, bid, ask = row.id, _NONE, _NONE
        both = np.concatenate([bid, ask, quotes])
        place = np.arange(len(both))
        bids = np.maximum.accumulate(np.where((both["side"] == Side.BID) & (place > 1), place, 0))
        asks = np.maximum.accumulate(np.where((both["side"] == Side.ASK) & (place > 1), place, 1))
        bid, ask = both[bids[-1:]], both[asks[-1:]]
        ends = np.flatnonzero((both["flags"] & Flag.LAST != 0) & (place > 1))
        found = np.zeros(len(ends), BBO)
        for name in ("ts_event", "ts_recv", "instrument", "seq"):
            found[name] = both[name][ends]
        found["source_seq"], found["flags"] = found["seq"], both["flags"][ends]
        for side, places in (("bid", bids), ("ask", asks)):
            found[f"{side}_price"], found[f"{side}_size"] = both["price"][places[ends]], both["size"][places[ends]]
        yield row, found
