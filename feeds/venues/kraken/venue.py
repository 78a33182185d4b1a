"""Kraken's WebSocket v2: limits and words. Data only. Source: docs.kraken.com, "WebSocket API v2"."""

from __future__ import annotations

from typing import Final

STREAM_OF: Final = {"trade": "trade", "quote": "ticker", "book": "book", "orders": "level3", "venue_bar": "ohlc"}
"""The venue's channel for each channel of the configuration."""

INSTRUMENT: Final = "instrument"
WS_PATH: Final = "/v2"
SYMBOLS_PER_REQUEST: Final = 50
SYMBOLS_PER_LINK: Final = 100
SEND_INTERVAL_S: Final = 0.2
BAR_MINUTES: Final = 1

ORDERS_ENDPOINT: Final = "ws_orders"
ORDER_DEPTHS: Final = (10, 100, 1000)
"""Levels per side of a book of orders."""

SYMBOLS_PER_ORDERS_REQUEST: Final = 20
ORDERS_SEND_INTERVAL_S: Final = 1.0
"""A book of 10 levels counts 5, one of 100 levels 25, one of 1,000 levels 100; the venue allows 200 a second."""

LOGIN: Final = "GetWebSocketsToken"
LOGIN_PATH: Final = f"/0/private/{LOGIN}"
TRADES_PATH: Final = "/0/public/Trades"
PAST_TRADES: Final = 1000
REST_INTERVAL_S: Final = 1.0
TOKEN_RETRY_S: Final = 5.0

USELESS_KEY: Final = ("EAPI:Invalid key", "EAPI:Invalid signature", "EGeneral:Permission denied")
"""REST errors that no repetition can fix."""

ALREADY: Final = "already subscribed"
"""In the error to a subscription whose end the venue refused or did not see."""

LATE_TRADES: Final = 256
"""Number of missing trades per symbol, the newest, to wait for: trades of one instant come out of order."""

LATE_S: Final = 2.0
"""How long to wait for them. Trades that have not come by then are requested."""

TRADING: Final = frozenset({"online", "limit_only", "post_only"})
"""Statuses of a pair in which its book moves."""

CLOSED: Final = frozenset({"delisted"})
HIDDEN: Final = frozenset({"work_in_progress"})
"""Not listed yet."""
