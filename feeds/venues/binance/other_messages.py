"""Binance messages without ids and state, as typed structs: bars, mark prices, liquidations."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickplant.feeds.venues.binance.wire_numbers import Id


class Bar(msgspec.Struct, frozen=True):
    """The bar of a kline; `until` is its last instant. Numbers of trades and quote volumes are left out."""

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
    """A bar in its present state; it is sent again until it is closed."""

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
    """Futures: the forced closing of a position; the venue reports at most one a second per symbol."""

    order: ForcedOrder = msgspec.field(name="o")
