"""Binance spot and USD-M futures: decoders, scanner and book synchronisation."""

from functools import partial
from typing import Final

from tickplant.feeds.venues.binance.adapter import BinanceAdapter
from tickplant.feeds.venues.binance.rules import SPOT, USDM
from tickplant.feeds.venues.binance.scanner import warm_up

spot: Final = partial(BinanceAdapter, SPOT)
"""Makes the adapter of a spot feed."""

usdm: Final = partial(BinanceAdapter, USDM)
"""Makes the adapter of a USD-M futures feed."""

__all__ = ["BinanceAdapter", "spot", "usdm", "warm_up"]
