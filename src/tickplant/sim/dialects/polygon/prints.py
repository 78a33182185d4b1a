"""The events of Polygon's clusters as text, the names of its streams, and what the synthetic market trades. No I/O."""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from tickplant.sim.order_flow import MESSAGE
from tickplant.sim.sim_source import Traded
from tickplant.sim.templates import NUMBER, PRICE, SIZE, TIME, Shape, Style

# Kinds of streams of a symbol. Trades and quotes stand where the market's own kinds do.
TRADE: Final = 0
MINUTE: Final = 1
QUOTE: Final = 2
SECOND: Final = 3
LIMITS: Final = 4
KINDS: Final = 5

STYLE: Final = Style(
    MESSAGE,
    {"time": TIME, "price": PRICE, "ask": PRICE, "size": SIZE, "ask_size": SIZE, "id": NUMBER},
    ("", "", ""),
)


class Cluster(NamedTuple):
    """How one cluster prints."""

    path: str
    prefixes: tuple[str, ...]  # of topics, by kind; empty if the cluster has none
    trade: str
    quote: str
    bar: str  # `{ev}` and the numbers by name
    price_digits: int
    size_digits: int
    typical_lots: int


_BAR: Final = (
    '[{{"ev":"{ev}","sym":"{symbol}","v":{volume},"av":{volume},"op":{open},"vw":{vwap},"o":{open},"c":{close},'
    '"h":{high},"l":{low},"a":{vwap},"z":{trades},"s":{start},"e":{end}}}]'
)
CLUSTERS: Final = {
    "polygon": Cluster(
        "/stocks",
        ("T", "AM", "Q", "A", "LULD"),
        '[{"ev":"T","sym":"<symbol>","x":4,"i":"<id>","z":3,"p":<price>,"s":<size>,"c":[<maker?0|37>],"t":<time>,'
        '"q":<id>}]',
        '[{"ev":"Q","sym":"<symbol>","bx":4,"bp":<price>,"bs":<size>,"ax":7,"ap":<ask>,"as":<ask_size>,"c":0,'
        '"i":[604],"t":<time>,"q":<id>,"z":3}]',
        _BAR,
        2,
        0,
        100,
    ),
    "polygon-options": Cluster(
        "/options",
        ("T", "AM", "Q", "A", ""),
        '[{"ev":"T","sym":"<symbol>","x":65,"p":<price>,"s":<size>,"c":[<maker?209|233>],"t":<time>,"q":<id>}]',
        '[{"ev":"Q","sym":"<symbol>","bx":302,"ax":302,"bp":<price>,"ap":<ask>,"bs":<size>,"as":<ask_size>,'
        '"t":<time>,"q":<id>}]',
        _BAR,
        2,
        0,
        10,
    ),
    "polygon-crypto": Cluster(
        "/crypto",
        ("XT", "XA", "XQ", "XAS", ""),
        '[{"ev":"XT","pair":"<symbol>","p":<price>,"t":<time>,"s":<size>,"c":[<maker?2|1>],"i":<id>,"x":1,"r":<time>}]',
        '[{"ev":"XQ","pair":"<symbol>","bp":<price>,"bs":<size>,"ap":<ask>,"as":<ask_size>,"t":<time>,"x":1,'
        '"r":<time>}]',
        '[{{"ev":"{ev}","pair":"{symbol}","v":{volume},"vw":{vwap},"z":{trades},"o":{open},"c":{close},"h":{high},'
        '"l":{low},"s":{start},"e":{end}}}]',
        2,
        8,
        500_000,
    ),
}


def shapes(cluster: Cluster) -> list[Shape]:
    """The shapes of a symbol's streams; `bars` prints bars and bands."""
    empty = Shape("[]")
    return [Shape(cluster.trade), empty, Shape(cluster.quote), empty, empty]


def stream_names(cluster: Cluster, symbol: str) -> list[str]:
    """Topics of a symbol, in the order of kinds."""
    return [f"{prefix or '-'}.{symbol}" for prefix in cluster.prefixes]


def traded(cluster: Cluster, symbol: str) -> Traded:
    """Properties of a symbol, derived from its name, always the same."""
    price = 20 + zlib.crc32(symbol.encode()) % 480
    digits = cluster.price_digits
    return Traded(
        symbol, symbol, "USD", price * 10**digits, 1, digits, 1, cluster.size_digits, max(3, cluster.typical_lots)
    )
