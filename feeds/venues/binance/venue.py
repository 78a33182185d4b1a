"""How Binance spot, USD-M and COIN-M futures differ: addresses, paths, limits, streams. Data only."""

from __future__ import annotations

from typing import Final

import msgspec

STREAMS_PER_REQUEST: Final = 150
REQUEST_BYTES: Final = 4000
"""The venue accepts a request of 4,088 bytes and ignores one of 4,106: it reads 4,096 bytes, the frame included."""

STREAMS_PER_CONNECTION: Final = 1024
SEND_INTERVAL_S: Final = 0.3
"""Spot allows 5 messages a second, pings and pongs included; beyond that it cuts the connection, then bans."""

MAX_AGE_S: Final = 85_800.0
"""The venue cuts connections at 24 h."""

STREAM_OF: Final = {
    "trade": "trade",
    "agg_trade": "aggTrade",
    "quote": "bookTicker",
    "book": "depth@100ms",
    "partial_book": "depth{depth}@100ms",
    "venue_bar": "kline_1m",
    "statistic": "markPrice@1s",
    "liquidation": "forceOrder",
}
"""Stream for each channel of the configuration, after `<symbol>@`."""

_PUBLIC: Final = ("quote", "book", "partial_book")
"""Channels that USD-M futures serve below /public; the others are below /market."""


class PastTrades(msgspec.Struct, frozen=True):
    """Where to ask for past trades of a channel."""

    endpoint: str
    weight: int  # of one request, by the venue's count
    by_id: bool  # from any id on; else only the newest trades


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """One venue of the Binance family."""

    venue: str
    rest_prefix: str
    status: str  # field of the instrument data
    exchange_info: str  # query of the instrument data request
    exchange_info_weight: int
    closed_statuses: frozenset[str]  # statuses of instruments that will not return
    futures: bool  # diffs chain by `pu`; events have types and the matching engine's time
    paths: dict[str, str]  # of the WebSocket address, for each channel
    ws_query: str
    price_digits: str  # field of the instrument data with the number of printed decimals
    size_digits: str
    snapshot_levels: int
    snapshot_weight: int
    past_trades: dict[str, PastTrades]
    rest_headers: dict[str, str]  # make REST return the times that the stream gives
    snapshot_interval_s: float  # on average; keeps requests within about 80% of the venue's weight limit
    snapshot_burst: int  # this many at once


SPOT: Final = Rules(
    venue="binance",
    rest_prefix="/api/v3",
    status="status",
    exchange_info="?showPermissionSets=false",
    exchange_info_weight=20,
    closed_statuses=frozenset(),  # a delisted symbol is in BREAK for a while, then gone
    futures=False,
    paths=dict.fromkeys(STREAM_OF, ""),
    ws_query="?timeUnit=MICROSECOND",
    price_digits="quotePrecision",
    size_digits="baseAssetPrecision",
    snapshot_levels=5000,
    snapshot_weight=250,  # of 6000 a minute
    past_trades={
        "trade": PastTrades("historicalTrades", 25, True),
        "agg_trade": PastTrades("aggTrades", 4, True),
    },
    rest_headers={"X-MBX-TIME-UNIT": "MICROSECOND"},
    snapshot_interval_s=3.0,
    snapshot_burst=5,
)

USDM: Final = Rules(
    venue="binance-usdm",
    rest_prefix="/fapi/v1",
    status="status",
    exchange_info="",
    exchange_info_weight=1,
    closed_statuses=frozenset({"CLOSE", "DELIVERED"}),
    futures=True,
    paths={channel: "/public" if channel in _PUBLIC else "/market" for channel in STREAM_OF},
    ws_query="",
    price_digits="pricePrecision",
    size_digits="quantityPrecision",
    snapshot_levels=1000,
    snapshot_weight=20,  # of 2400 a minute
    past_trades={
        "trade": PastTrades("trades", 5, False),  # historicalTrades asks for an API key here
        "agg_trade": PastTrades("aggTrades", 20, True),
    },
    rest_headers={},
    snapshot_interval_s=0.6,
    snapshot_burst=20,
)

COINM: Final = msgspec.structs.replace(
    USDM,
    venue="binance-coinm",
    rest_prefix="/dapi/v1",
    status="contractStatus",
    paths=dict.fromkeys(STREAM_OF, ""),
)
"""Sizes are numbers of contracts."""
