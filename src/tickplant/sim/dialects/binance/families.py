"""How the venues of Binance differ, as far as their simulation is concerned. Data only."""

from __future__ import annotations

from typing import Final, NamedTuple

from tickplant.sim.dialect import Limits


class Family(NamedTuple):
    """One venue."""

    futures: bool
    by_contract: bool  # sizes are numbers of contracts; symbols are a pair and a term, such as BTCUSD_PERP
    rest_prefix: str
    base_paths: tuple[str, ...]  # below which /ws and /stream live
    limits: Limits
    weight_per_minute: int
    speeds: tuple[tuple[str, int], ...]  # suffix of each depth stream and ms; feeds subscribe to the first


_FUTURES_SPEEDS: Final = (("@100ms", 100), ("", 250), ("@500ms", 500))
_FUTURES_LIMITS: Final = Limits(180.0, 600.0, 10)

FAMILIES: Final = {
    "binance": Family(False, False, "/api/v3/", ("",), Limits(20.0, 60.0, 5), 6000, (("@100ms", 100), ("", 1000))),
    "binance-usdm": Family(
        True, False, "/fapi/v1/", ("", "/public", "/market"), _FUTURES_LIMITS, 2400, _FUTURES_SPEEDS
    ),
    "binance-coinm": Family(True, True, "/dapi/v1/", ("",), _FUTURES_LIMITS, 2400, _FUTURES_SPEEDS),
}


def pair_of(symbol: str) -> str:
    """The pair of a COIN-M contract: `BTCUSD` of `BTCUSD_PERP`."""
    return symbol.partition("_")[0]
