"""OKX: limits and words of its API v5 (https://www.okx.com/docs-v5/en). Data only."""

from __future__ import annotations

from typing import Final

CHANNEL_OF: Final = {"agg_trade": "trades", "quote": "tickers", "book": "books"}
"""The venue's channel for each channel of the configuration."""

WS_PATH: Final = "/ws/v5/public"
STREAMS_PER_REQUEST: Final = 100
REQUEST_BYTES: Final = 1 << 16
SEND_INTERVAL_S: Final = 0.4  # 3 messages a second; 480 requests to subscribe an hour
PING_S: Final = 20  # the venue cuts a connection that has been idle for 30 s

DEPTH: Final = 400  # levels per side of `books`
UNCHAINED: Final = -1  # prevSeqId of a snapshot
MOST_DIGITS: Final = 19  # a longer request id is not one of ours

INSTRUMENTS_PATH: Final = "/api/v5/public/instruments?instType=SPOT"
REST_INTERVAL_S: Final = 0.1  # 20 requests in 2 s
TRADING: Final = "live"
CLOSED: Final = "expired"
