"""The invented venue "example": limits and words. Data only. Name the page of the venue's documentation here."""

from __future__ import annotations

from typing import Final

from tickplant.venues import Venue

ROW: Final = Venue(
    name="example",
    factory="tickplant.feeds.venues._template.adapter:ExampleAdapter",
    kernels="tickplant.feeds.kit.shape_kernels:warm_up",
    endpoints={"ws": "wss://feed.example.com"},
    channels=("trade",),
    symbol=r"[A-Z0-9]{1,16}-[A-Z0-9]{1,16}",
    symbol_hint="BASE-QUOTE, such as BTC-USD",
)
"""The row of the catalogue, to be moved to `VENUES` in src/tickplant/venues.py."""

CHANNEL_OF: Final = {"trade": "trades"}  # the venue's channel by channel of the configuration

WS_PATH: Final = "/v1"
SYMBOLS_PER_REQUEST: Final = 50
SEND_INTERVAL_S: Final = 0.2
