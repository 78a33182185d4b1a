"""Binance messages of what has neither ids nor state, as typed structs: bars, mark prices, liquidations."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickplant.feeds.venues.binance.wire_numbers import Id


class Bar(msgspec.Struct, frozen=True):
    """What a kline says of its bar; `until` is the last instant in it. Numbers of trades and quote volumes aside."""

    begin: Id = msgspec.field(name="t")
    until: Id = msgspec.field(name="T")
    open: str = msgspec.field(name="o")
    high: str = msgspec.field(name="h")
    low: str = msgspec.field(name="l")
    close: str = msgspec.field(name="c")
    volume: str = msgspec.field(name="v")
    trades: Id = msgspec.field(name="n")
    closed: bool = msgspec.field(name="x")


class Kline(msgspec.Struct, frozen=True):
    """A bar as it stands; it comes again until it is closed."""

    symbol: str = msgspec.field(name="s")
    bar: Bar = msgspec.field(name="k")


class MarkPrice(msgspec.Struct, frozen=True):
    """Futures: mark price and funding. Contracts that expire have no funding: their rate is empty."""

    symbol: str = msgspec.field(name="s")
    sent: Id = msgspec.field(name="E")
    mark: str = msgspec.field(name="p")
    index: str = msgspec.field(name="i", default="")
    settlement: str = msgspec.field(name="P", default="")
    funding_rate: str = msgspec.field(name="r", default="")
    funding_time: Id = msgspec.field(name="T", default=0)


class ForcedOrder(msgspec.Struct, frozen=True):
    """The order of a liquidation."""

    symbol: str = msgspec.field(name="s")
    side: Literal["BUY", "SELL"] = msgspec.field(name="S")
    size: str = msgspec.field(name="q")
    price: str = msgspec.field(name="p")
    time: Id = msgspec.field(name="T")


class Liquidation(msgspec.Struct, frozen=True):
    """Futures: a position is being closed by force; at most one a second of each symbol is told."""

    order: ForcedOrder = msgspec.field(name="o")
