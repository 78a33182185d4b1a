"""The venues that can be simulated. Data alone: a dialect is imported when it is used."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from tickplant.sim.dialect import Dialect
    from tickplant.sim.spec import SimSpec


class Entry(NamedTuple):
    """A venue. `module` has a function `dialect(spec)`."""

    module: str
    symbols: tuple[str, ...]  # of the synthetic market, unless the spec names others
    pattern: str  # that a symbol must match

    def is_symbol(self, text: str) -> bool:
        """Whether a synthetic market can have a symbol of this name."""
        return re.fullmatch(self.pattern, text) is not None


_BINANCE: Final = Entry("tickplant.sim.dialects.binance.venue", ("BTCUSDT", "ETHUSDT", "BNBUSDT"), r"[A-Z0-9]+")
_POLYGON: Final = "tickplant.sim.dialects.polygon.venue"

_DXLINK: Final = Entry(
    "tickplant.sim.dialects.dxlink.venue", ("AAPL", "MSFT", "SPY"), r"[./$]{0,2}[A-Z0-9][A-Z0-9./:]*"
)

DIALECTS: Final[dict[str, Entry]] = {
    "binance": _BINANCE,
    "binance-usdm": _BINANCE,
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
}


def dialect_of(spec: SimSpec) -> Dialect:
    """The dialect of a spec's venue, with its source. Raises FeedError where a recording cannot be played."""
    return cast("Dialect", importlib.import_module(DIALECTS[spec.venue].module).dialect(spec))
