"""Records that the shapes of most venues write, from holes with the same names."""

from __future__ import annotations

from tickplant.feeds.kit.shape_parts import Row
from tickplant.records.layouts import Flag, Kind, Side


def trade_row(*, order: str = "", flags: int = 0) -> Row:
    """A TRADE from the holes side, price, size, id and time; `order` names the hole of its order id, if any."""
    fields = {"side": "side", "price": "price", "size": "size", "seq": "id", "order": order, "time": "time"}
    return Row(Kind.TRADE, **fields, flags=Flag.LAST | flags)


def quote_rows(*, seq: str = "", time: str = "") -> tuple[Row, Row]:
    """Two QUOTEs from the holes bid, bid_size, ask and ask_size, and from those named."""
    return (
        Row(Kind.QUOTE, side=Side.BID, price="bid", size="bid_size", seq=seq, time=time),
        Row(Kind.QUOTE, side=Side.ASK, price="ask", size="ask_size", seq=seq, time=time, flags=Flag.LAST),
    )
