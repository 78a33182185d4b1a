"""Coinbase Exchange: limits and words. Data only. Source: docs.cdp.coinbase.com/exchange, "WebSocket Feed"."""

from __future__ import annotations

from typing import Final

HEARTBEAT: Final = "heartbeat"
STATUS: Final = "status"
FULL: Final = "full"
MATCHES: Final = "matches"
LEVEL2: Final = "level2"  # for signed requests
LEVEL2_BATCH: Final = "level2_batch"  # the same changes, collected for 50 ms
CHANNEL_ALIASES: Final = {"level2_50": LEVEL2_BATCH, "ticker_1000": "ticker_batch"}
"""Names by which an answer may call a channel that was requested under another name."""

STREAMS_PER_REQUEST: Final = 60
SYMBOLS_PER_LINK: Final = 100
SEND_INTERVAL_S: Final = 0.1
"""The venue takes 100 messages a second from an address."""

MAX_MESSAGE_BYTES: Final = 128 << 20
"""A snapshot of a busy book is several MB; one of all its orders is larger."""

SIGNED_PATH: Final = "/users/self/verify"
"""The path that the signature of a subscription covers."""

REST_INTERVAL_S: Final = 0.2
REST_BURST: Final = 5
TRADES_PER_PAGE: Final = 1000

ONLINE: Final = "online"
CLOSED: Final = frozenset({"delisted"})
