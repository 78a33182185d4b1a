"""Binance spot and USD-M futures: decoders, shapes and book synchronisation."""

from functools import partial
from typing import Final

from tickplant.feeds.kit.shape_kernels import warm_up
from tickplant.feeds.venues.binance.adapter import BinanceAdapter
from tickplant.feeds.venues.binance.rules import SPOT, USDM

spot: Final = partial(BinanceAdapter, SPOT)
"""Makes the adapter of a spot feed."""

usdm: Final = partial(BinanceAdapter, USDM)
"""Makes the adapter of a USD-M futures feed."""

__all__ = ["BinanceAdapter", "spot", "usdm", "warm_up"]
