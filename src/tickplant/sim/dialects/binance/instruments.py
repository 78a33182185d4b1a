"""What the synthetic market trades, and how Binance prints it: ticks, lots, decimals. No I/O."""

from __future__ import annotations

import zlib
from typing import Final

from tickplant.sim.dialects.binance.families import pair_of
from tickplant.sim.sim_source import Traded

# symbol: first price; decimals of the tick on spot, on futures; decimals of the lot on spot, on futures
_KNOWN: Final[dict[str, tuple[int, int, int, int, int]]] = {
    "BTCUSDT": (60_000, 2, 1, 5, 3),
    "ETHUSDT": (2_600, 2, 2, 4, 3),
    "BNBUSDT": (520, 2, 2, 3, 2),
}
_QUOTES: Final = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR")


def traded(symbol: str, *, futures: bool) -> Traded:
    """Properties of a symbol: near the real ones if known, else derived from its name, always the same."""
    quote = next((text for text in _QUOTES if symbol.endswith(text) and symbol != text), "USDT")
    base = symbol.removesuffix(quote)
    if symbol in _KNOWN:
        price, spot_tick, futures_tick, spot_lot, futures_lot = _KNOWN[symbol]
        tick_digits = futures_tick if futures else spot_tick
        lot_digits = futures_lot if futures else spot_lot
    else:
        price = 20 + zlib.crc32(symbol.encode()) % 980
        tick_digits, lot_digits = 3, 2
    # Worth about 300 of the quote currency, so that expensive coins trade in small amounts.
    typical_lots = max(3, 300 * 10**lot_digits // price)
    # Spot prints eight decimals whatever the tick; futures print the decimals of the instrument.
    price_digits = tick_digits + (1 if symbol == "BTCUSDT" else 0) if futures else 8
    size_digits = lot_digits if futures else 8
    return Traded(
        symbol,
        base,
        quote,
        price * 10**tick_digits,
        10 ** (price_digits - tick_digits),
        price_digits,
        10 ** (size_digits - lot_digits),
        size_digits,
        typical_lots,
    )


def contract(symbol: str) -> Traded:
    """Properties of a COIN-M contract, `BTCUSD_PERP`: sizes are whole contracts of 10 or 100 of the quote currency."""
    base, quote = pair_of(symbol).removesuffix("USD"), "USD"
    price, *_, digits, _, _ = _KNOWN.get(f"{base}USDT", (20 + zlib.crc32(symbol.encode()) % 980, 3, 3, 0, 0))
    return Traded(symbol, base, quote, price * 10**digits, 1, digits, 1, 0, 30)
