"""Frames of quotes and sales as shapes, made once FEED_CONFIG has stated the order of their values.

The shapes take the regular cases: both sides of a quote, new sales. The reference decoder reads NaN, exponents,
corrections, several types in a frame and everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tickplant.feeds.kit.shape_rows import quote_rows
from tickplant.feeds.kit.shapes import Fresh, Row, Seen, Shape, Shapes, each
from tickplant.feeds.kit.state_table import SEEN_QUOTE, SEEN_TRADE
from tickplant.feeds.venues.dxlink import venue as facts
from tickplant.records.layouts import Flag, Kind, Side

MOST_SHAPES: Final = 16
MOST_FIELDS: Final = 64
"""A longer list is left to the reference decoder."""

_QUOTE: Final = {
    "eventType": "<eventType>",
    "eventSymbol": '"<symbol>"',
    "eventFlags": "0",
    "sequence": "<sequence:int>",
    "bidPrice": "<bid:price+>",
    "bidSize": "<bid_size:size>",
    "askPrice": "<ask:price+>",
    "askSize": "<ask_size:size>",
}
_SALE: Final = {
    "eventType": "<eventType>",
    "eventSymbol": '"<symbol>"',
    "eventFlags": "0",
    "index": "<index:int>",
    "time": "<time:epoch>",
    "timeNanoPart": "<time:nanos>",
    "price": "<price:price+>",
    "size": "<size:size>",
    "aggressorSide": '"<side:BUY=1|SELL=2|UNDEFINED=0>"',
    "spreadLeg": "false",
    "validTick": "true",
    "type": '"NEW"',
}
_TIMES: Final = ("bidTime", "askTime")
_NEEDED: Final = frozenset({"eventSymbol", "bidPrice", "bidSize", "askPrice", "askSize"})


def texts_of(fields: Iterable[tuple[int, str, Sequence[str]]]) -> dict[str, Shape]:
    """Shapes for these orders of values, each given as channel, type and field names; not compiled."""
    made = ((f"{kind} {channel}", _shape(channel, kind, names)) for channel, kind, names in fields)
    return dict([(name, shape) for name, shape in made if shape][:MOST_SHAPES])


def shapes_of(fields: Iterable[tuple[int, str, Sequence[str]]]) -> Shapes:
    """Shapes for these orders of values, compiled."""
    return Shapes(texts_of(fields))


def _shape(channel: int, kind: str, names: Sequence[str]) -> Shape:
    """The shape of a type; empty if its values do not suffice for a record, or occur twice."""
    if channel < 0 or len(names) > MOST_FIELDS or len(set(names)) < len(names):
        return ()
    if kind == facts.QUOTE and {*names} >= _NEEDED:
        return _of(channel, kind, _quote_holes(names), *_quote_rows(names))
    if kind == facts.SALE and {"eventSymbol", "index", "price"} <= {*names} and _is_in_order(names):
        side = "side" if "aggressorSide" in names else Side.NONE
        time = "time" if "time" in names else ""
        size = "size" if "size" in names else ""
        row = Row(Kind.TRADE, side=side, price="price", size=size, seq="index", time=time, flags=Flag.LAST)
        return _of(
            channel, kind, [_SALE.get(name, "<_:any>") for name in names], Fresh("index", time), Seen(SEEN_TRADE), row
        )
    return ()


def _of(channel: int, kind: str, holes: list[str], *effects: Fresh | Seen | Row) -> Shape:
    values = ",".join(holes).replace("<eventType>", f'"{kind}"')
    return (f'{{"type":"FEED_DATA","channel":{channel},"data":["{kind}",', each(values, *effects), "]}")


def _is_in_order(names: Sequence[str]) -> bool:
    # The part of a time below the ms is added to the value before it.
    return "timeNanoPart" not in names or "time" in names[: names.index("timeNanoPart")]


def _quote_holes(names: Sequence[str]) -> list[str]:
    times = iter(("<time:epoch>", "<time:later>"))
    return [next(times) if name in _TIMES else _QUOTE.get(name, "<_:any>") for name in names]


def _quote_rows(names: Sequence[str]) -> list[Seen | Row]:
    time = "time" if {*_TIMES} & {*names} else ""
    seq = "sequence" if "sequence" in names else ""
    return [
        Seen(SEEN_QUOTE),
        *quote_rows(seq=seq, time=time),
    ]
