"""The messages of "example" as shapes: its documented examples with holes. The reference decoder reads the rest."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.shape_rows import trade_row
from tickplant.feeds.kit.shapes import Ids, Shape
from tickplant.feeds.kit.state_table import LAST_TRADE

_TRADE: Final = (
    '{"type":"trade","product":"<symbol>","id":<id:int>,"price":"<price>","size":"<size>",'
    '"side":"<side:buy=1|sell=2>","time":"<time:rfc3339>"<*>}'
)
SHAPES: Final[dict[str, Shape]] = {
    "trade": (
        _TRADE,
        Ids(LAST_TRADE, "id", "time"),
        trade_row(),
    ),
}
