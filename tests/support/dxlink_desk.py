"""Messages and set-up for tests of the dxLink adapter."""

from __future__ import annotations

import json
from typing import Any

from venue_desk import SECOND, VenueDesk

from tickplant.feeds.contract import Resubscribe, Send
from tickplant.feeds.venues.dxlink.adapter import dxlink

SECRETS = {"client_secret": "planted-client-secret", "refresh_token": "planted-refresh-token"}
UNAUTHORIZED = {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}
AUTHORIZED = {"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED"}
KEEPALIVE = {"type": "KEEPALIVE", "channel": 0}


def setup(keepalive_s: float = 60, accepts_s: float = 60) -> dict[str, Any]:
    terms = {"keepaliveTimeout": keepalive_s, "acceptKeepaliveTimeout": accepts_s}
    return {"type": "SETUP", "channel": 0, "version": "1.0"} | terms


def opened(channel: int) -> dict[str, Any]:
    return {"type": "CHANNEL_OPENED", "channel": channel, "service": "FEED", "parameters": {}}


def config(channel: int, kind: str, *names: str) -> dict[str, Any]:
    return {"type": "FEED_CONFIG", "channel": channel, "dataFormat": "COMPACT", "eventFields": {kind: list(names)}}


def data(channel: int, *pairs: Any) -> dict[str, Any]:
    return {"type": "FEED_DATA", "channel": channel, "data": list(pairs)}


def make(*symbols: str, **options: Any) -> VenueDesk:
    options = {"channels": ("trade", "quote")} | options
    return VenueDesk("dxlink", dxlink, symbols or ("AAPL",), link="feed", **options)


def sent(desk: VenueDesk) -> list[dict[str, Any]]:
    """The requests sent since the last call."""
    desk.take()
    messages = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    desk.actions.clear()
    return messages


def types(desk: VenueDesk) -> list[tuple[str, int]]:
    return [(message["type"], message["channel"]) for message in sent(desk)]


def replaced(desk: VenueDesk) -> list[str]:
    """Why links were replaced since the last call."""
    desk.take()
    reasons = [action.reason for action in desk.actions if isinstance(action, Resubscribe)]
    desk.actions.clear()
    return reasons


def running(desk: VenueDesk, *channels: int, ts: int = SECOND) -> VenueDesk:
    """A feed whose channels are open."""
    desk.start()
    desk.link = desk.links[0].name
    desk.open(ts=ts)
    desk.feed(setup(), AUTHORIZED, *map(opened, channels), ts=ts)
    desk.actions.clear()
    return desk
