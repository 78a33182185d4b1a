"""Kraken's WebSocket v2: limits and words. Data only. Source: docs.kraken.com, "WebSocket API v2"."""

from __future__ import annotations

from typing import Final

STREAM_OF: Final = {"trade": "trade", "quote": "ticker", "book": "book"}
"""Channel of the venue behind each channel of the configuration."""

INSTRUMENT: Final = "instrument"
WS_PATH: Final = "/v2"
SYMBOLS_PER_REQUEST: Final = 50
SYMBOLS_PER_LINK: Final = 100
SEND_INTERVAL_S: Final = 0.2

LATE_TRADES: Final = 256
"""Missing trades of a symbol that are waited for: those of one instant may come out of order."""

TRADING: Final = frozenset({"online", "limit_only", "post_only"})
"""Status of a pair in which its book moves."""

CLOSED: Final = frozenset({"delisted"})
HIDDEN: Final = frozenset({"work_in_progress"})
"""Not listed yet."""
