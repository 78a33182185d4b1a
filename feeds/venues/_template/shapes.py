"""The messages of "example" as shapes: its documented examples with holes. All else is for the reference decoder."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shapes import Ids, Row, Shape
from tickplant.feeds.kit.state_table import LAST_TRADE
from tickplant.records.layouts import Flag, Kind

_TRADE: Final = (
    '{"type":"trade","product":"<symbol>","id":<id:int>,"price":"<price>","size":"<size>",'
    '"side":"<side:buy=1|sell=2>","time":"<time:rfc3339>"<*>}'
)
SHAPES: Final[dict[str, Shape]] = {
    "trade": (
        _TRADE,
        Ids(LAST_TRADE, "id", "time"),
        Row(Kind.TRADE, side="side", price="price", size="size", seq="id", time="time", flags=Flag.LAST),
    ),
}
