"""What reference decoders hand to the kit: events of every venue in one form, with numbers still as text."""

from __future__ import annotations

import msgspec

from tickplant.records.layouts import Side


class VenueTrade(msgspec.Struct, frozen=True):
    """A trade, or an aggregate of trades."""

    symbol: str
    id: int
    ts_event: int  # ns
    price: str  # as on the wire
    size: str
    side: Side  # the aggressor's
    order_id: int = 0  # of an aggregate: the first trade in it
    flags: int = 0
