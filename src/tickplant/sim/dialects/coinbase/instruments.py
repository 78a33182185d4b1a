"""What the synthetic market trades, and how Coinbase lists it. No I/O."""

from __future__ import annotations

import zlib
from typing import Final

from tickplant.sim.sim_source import Listed, Traded

# product: first price, decimals of price and size, smallest size step in units of the last decimal
_KNOWN: Final[dict[str, tuple[float, int, int, int]]] = {
    "BTC-USD": (60_000.0, 2, 8, 1),
    "ETH-USD": (2_600.0, 2, 8, 1),
    "ETH-BTC": (0.043, 5, 8, 1),
    "SOL-USD": (150.0, 2, 8, 1),
    "SHIB-USD": (0.00001432, 8, 0, 1),
}


def traded(symbol: str) -> Traded:
    """Properties of a product: near the real ones if known, else derived from its name, always the same."""
    base, _, quote = symbol.partition("-")
    seed = zlib.crc32(symbol.encode())
    price, digits, size_digits, size_step = _KNOWN.get(symbol, (20.0 + seed % 980, 2 + seed % 4, 8, 1))
    # Worth about 300 of the quote currency, so that expensive coins trade in small amounts.
    typical_lots = max(3, int(300 * 10**size_digits / price / size_step))
    return Traded(symbol, base, quote, round(price * 10**digits), 1, digits, size_step, size_digits, typical_lots)


def product(one: Listed) -> dict[str, object]:
    """An entry of `/products`, and of the channel `status`."""
    return {
        "id": one.symbol,
        "base_currency": one.base,
        "quote_currency": one.quote,
        "quote_increment": one.tick_size,
        "base_increment": one.lot_size,
        "display_name": f"{one.base}-{one.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": one.status,
        "status_message": "",
        "trading_disabled": one.status != "online",
        "fx_stablecoin": False,
        "auction_mode": False,
    }
