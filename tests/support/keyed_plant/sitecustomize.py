"""Puts a venue that wants a key into the catalogue of every process that has this folder in PYTHONPATH."""

from __future__ import annotations

import tickplant.venues
from tickplant.venues import Venue

tickplant.venues.VENUES["keyed"] = Venue(
    name="keyed",
    factory="keyed_venue:KeyedAdapter",
    kernels="tickplant.feeds.kit.shape_kernels:warm_up",
    endpoints={"ws": "wss://nowhere.invalid", "rest": "https://nowhere.invalid"},
    channels=("trade",),
    symbol=r"[A-Z0-9]{1,16}-[A-Z0-9]{1,16}",
    symbol_hint="BASE-QUOTE, such as BTC-USD",
)
