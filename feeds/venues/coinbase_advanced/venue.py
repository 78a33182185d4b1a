"""Coinbase Advanced Trade: limits and words. Data only. Source: docs.cdp.coinbase.com/coinbase-app, "WebSocket"."""

from __future__ import annotations

from typing import Final

STREAM_OF: Final = {"trade": "market_trades", "quote": "ticker", "book": "level2"}
"""The venue's channel for each channel of the configuration. Frames of level2 name the channel l2_data."""

HEARTBEATS: Final = "heartbeats"
"""Without it the venue closes a connection that has been quiet for a minute."""

STATUS: Final = "status"
SYMBOLS_PER_LINK: Final = 30
"""With more books on one connection the venue sends nothing."""

STREAMS_PER_REQUEST: Final = 30
SEND_INTERVAL_S: Final = 0.15
"""The venue takes 8 messages a second from an address."""

MAX_MESSAGE_BYTES: Final = 128 << 20
"""A snapshot of a busy book is several MB."""

ONLINE: Final = "online"
CLOSED: Final = frozenset({"delisted"})

ALIAS: Final = "-USDC", "-USD"
"""A product with the first ending has the data, and their name, of the product with the second ending."""

NO_ALIAS: Final = frozenset({"USDT-USDC", "EURC-USDC"})
