"""A feed of OKX on the bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from venue_desk import VenueDesk

from tickplant.feeds.venues.okx.adapter import OkxAdapter


def subscribed(symbols: Sequence[str], **options: Any) -> VenueDesk:
    """A feed of these instruments, all channels, whose link is up; `options` are the adapter's."""
    channels = ("agg_trade", "quote", "book")
    desk = VenueDesk("okx", partial(OkxAdapter, **options), symbols, link="public", channels=channels)
    (request,) = desk.start()
    listed = [{"instId": symbol, "state": "live", "tickSz": "0.00000001", "lotSz": "1E-8"} for symbol in symbols]
    desk.answer(request, 200, json.dumps({"code": "0", "data": listed}).encode(), 0)
    desk.open()
    desk.take()
    return desk
