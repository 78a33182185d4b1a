"""The venues that can be simulated. Data only: a dialect is imported on use."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tickplant.sim.dialect import Dialect
    from tickplant.sim.spec import SimSpec

    Serve = Callable[[SimSpec, Callable[[str, int], object]], Coroutine[object, object, None]]


class Entry(NamedTuple):
    """A venue. `module` has a function `dialect(spec)`."""

    module: str
    symbols: tuple[str, ...]  # of the synthetic market, unless the spec names others
    pattern: str  # which a symbol must match
    serves: bool = False  # has a protocol of its own: `module` has `serve(spec, on_ready)` instead of `dialect`

    def is_symbol(self, text: str) -> bool:
        """Whether a synthetic market can have a symbol of this name."""
        return re.fullmatch(self.pattern, text) is not None


_BINANCE: Final = Entry("tickplant.sim.dialects.binance.venue", ("BTCUSDT", "ETHUSDT", "BNBUSDT"), r"[A-Z0-9]+")
_POLYGON: Final = "tickplant.sim.dialects.polygon.venue"

_DXLINK: Final = Entry(
    "tickplant.sim.dialects.dxlink.venue", ("AAPL", "MSFT", "SPY"), r"[./$]{0,2}[A-Z0-9][A-Z0-9./:]*"
)

_PRODUCTS: Final = ("BTC-USD", "ETH-USD", "SOL-USD")
_PRODUCT: Final = r"[A-Z0-9]+-[A-Z0-9]+"

DIALECTS: Final[dict[str, Entry]] = {
    "binance": _BINANCE,
    "binance-usdm": _BINANCE,
    "binance-coinm": Entry(_BINANCE.module, ("BTCUSD_PERP", "ETHUSD_PERP", "BNBUSD_PERP"), r"[A-Z0-9]+_[A-Z0-9]+"),
    "alpha-vantage": Entry(
        "tickplant.sim.dialects.alpha_vantage.venue", ("IBM", "MSFT", "TSCO.LON"), r"[A-Z0-9][A-Z0-9.-]*"
    ),
    "polygon": Entry(_POLYGON, ("MSFT", "AAPL", "BRK.B"), r"[A-Za-z0-9][A-Za-z0-9.]*"),
    "polygon-options": Entry(
        _POLYGON, ("O:SPY261218C00700000", "O:SPY261218P00700000", "O:MSFT261218C00400000"), r"O:[A-Z0-9]+"
    ),
    "polygon-crypto": Entry(_POLYGON, ("BTC-USD", "ETH-USD", "SHIB-USD"), r"[A-Z0-9]+-[A-Z0-9]+"),
    "kraken": Entry("tickplant.sim.dialects.kraken.venue", ("BTC/USD", "ETH/USD", "SHIB/USD"), r"[A-Z0-9]+/[A-Z0-9]+"),
    "dxlink": _DXLINK,
    "tastytrade": _DXLINK,
    "coinbase": Entry("tickplant.sim.dialects.coinbase.venue", _PRODUCTS, _PRODUCT),
    "coinbase-advanced": Entry("tickplant.sim.dialects.coinbase_advanced.venue", _PRODUCTS, _PRODUCT),
    "okx": Entry("tickplant.sim.dialects.okx.venue", ("BTC-USDT", "ETH-USDT", "SOL-USDT"), _PRODUCT),
    "databento": Entry("tickplant.sim.dialects.databento.venue", (), r".+", serves=True),
}


def dialect_of(spec: SimSpec) -> Dialect:
    """The dialect of a spec's venue, with its source. Raises FeedError if a recording cannot be played."""
    return cast("Dialect", importlib.import_module(DIALECTS[spec.venue].module).dialect(spec))


def server_of(spec: SimSpec) -> Serve | None:
    """The server function of a venue with a protocol of its own; None for the others."""
    entry = DIALECTS[spec.venue]
    return cast("Serve", importlib.import_module(entry.module).serve) if entry.serves else None
