"""Kraken's instrument data of a pair, in the kit's form."""

from __future__ import annotations

from tickplant.feeds.kit.instrument_life import SymbolInfo
from tickplant.feeds.kit.instrument_life import decimals as step_decimals
from tickplant.feeds.kit.numbers import wire_decimal
from tickplant.feeds.venues.kraken import messages
from tickplant.feeds.venues.kraken import venue as facts


def symbol_info(pair: messages.Pair) -> SymbolInfo:
    """Status and scales of a pair."""
    return SymbolInfo(
        pair.symbol,
        pair.status,
        trading=pair.status in facts.TRADING,
        closed=pair.status in facts.CLOSED,
        price_scales=(pair.price_precision, step_decimals(wire_decimal(pair.price_increment))),
        size_scales=(pair.qty_precision, step_decimals(wire_decimal(pair.qty_increment))),
    )
