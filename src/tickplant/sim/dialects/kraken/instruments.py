"""What the synthetic market trades, and how Kraken lists it. No I/O."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Final

from tickplant.sim.sim_source import Listed, Traded

# symbol: first price, decimals of price and size, smallest size step in units of the last decimal
_KNOWN: Final[dict[str, tuple[float, int, int, int]]] = {
    "BTC/USD": (60_000.0, 1, 8, 1),
    "ETH/USD": (2_600.0, 2, 8, 1),
    "ETH/BTC": (0.043, 5, 8, 1),
    "USDC/USD": (1.0, 4, 8, 1),
    "SHIB/USD": (0.00001432, 8, 5, 10**8),
}


def traded(symbol: str) -> Traded:
    """Properties of a pair: near the real ones if known, else derived from its name, always the same."""
    base, quote = symbol.split("/")
    seed = zlib.crc32(symbol.encode())
    price, digits, size_digits, size_step = _KNOWN.get(symbol, (20.0 + seed % 980, 2 + seed % 4, 8, 1))
    # Worth about 300 of the quote currency, so that expensive coins trade in small amounts.
    typical_lots = max(3, int(300 * 10**size_digits / price / size_step))
    return Traded(symbol, base, quote, round(price * 10**digits), 1, digits, size_step, size_digits, typical_lots)


def _number(digits: int, mantissa: int = 1) -> float:
    """`mantissa * 10**-digits` as a number that Python writes like the venue: `1e-08`, `0.0001`."""
    return float(f"{mantissa}e-{digits}")


def pair(one: Listed) -> dict[str, object]:
    """An entry of `pairs`."""
    return {
        "symbol": one.symbol,
        "base": one.base,
        "quote": one.quote,
        "status": one.status,
        "qty_precision": one.size_digits,
        "qty_increment": _number(one.size_digits),
        "price_precision": one.price_digits,
        "price_increment": _number(one.price_digits),
        "cost_precision": 10,
        "cost_min": 0.5,
        "marginable": False,
        "has_index": True,
        "qty_min": _number(one.size_digits, 5000),
    }


def _assets(listed: Iterable[Listed]) -> list[dict[str, object]]:
    names = sorted({name for one in listed for name in (one.base, one.quote)})
    return [
        {"id": name, "status": "enabled", "precision": 10, "precision_display": 5, "borrowable": False}
        for name in names
    ]


def instrument_frame(kind: str, listed: Iterable[Listed]) -> bytes:
    """A frame of the instrument channel; `kind` is snapshot or update. Only snapshots contain assets."""
    listed = list(listed)
    assets = _assets(listed) if kind == "snapshot" else []
    data = {"assets": assets, "pairs": [pair(one) for one in listed]}
    return json.dumps({"channel": "instrument", "type": kind, "data": data}, separators=(",", ":")).encode()
