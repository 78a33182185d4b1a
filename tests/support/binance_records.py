"""How tests of the Binance adapter begin, and what they look for among its records."""

from __future__ import annotations

import json

from binance_tools import (
    Desk,
    Record,
)

from tickplant.feeds.contract import Send
from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode

LEVEL_A = [("1.00", "2")]
URL = "ws://venue"


def opened(*symbols: str, **options) -> Desk:
    desk = Desk(symbols or ("BNBBTC",), ws_url=URL, **options)
    desk.bootstrap()
    desk.open()
    return desk


def acknowledged(desk: Desk, ts: int = 0) -> None:
    for action in desk.actions:
        if isinstance(action, Send):
            desk.feed({"result": None, "id": json.loads(action.payload)["id"]}, ts=ts)
    desk.actions.clear()


def kinds(records: list[Record]) -> list[Kind]:
    return [record.kind for record in records]


def gaps(records: list[Record]) -> list[tuple]:
    return [
        (GapCause(r.price), r.size, r.order_id, r.venue_seq, r.flags & ~Flag.LAST)
        for r in records
        if r.kind == Kind.GAP
    ]


def statuses(records: list[Record]) -> list[tuple[str, StatusCode]]:
    return [(record.symbol, StatusCode(record.price)) for record in records if record.kind == Kind.STATUS]
