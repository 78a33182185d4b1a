"""Tools for the tests of both Coinbase venues: adapters on the bench, messages as the venue sends them, orders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from venue_desk import SECOND, VenueDesk

from tickplant.feeds.contract import Send
from tickplant.feeds.venues.coinbase.adapter import CoinbaseAdapter
from tickplant.feeds.venues.coinbase_advanced.adapter import AdvancedAdapter
from tickplant.sim.dialects.coinbase.session import KEY, PASSPHRASE, SECRET

SECRETS = {"key": KEY, "passphrase": PASSPHRASE, "secret": SECRET}
TIME = "2026-09-01T12:00:00.000001Z"
NOW = 1_788_264_000 * SECOND


class _Desk(VenueDesk):
    def sent(self) -> list[dict[str, Any]]:
        """Requests sent since the last call."""
        self._pull()
        sent = [json.loads(action.payload) for action in self.actions if isinstance(action, Send)]
        self.actions.clear()
        return sent


class ExchangeDesk(_Desk):
    """An adapter of Coinbase Exchange."""

    def __init__(self, symbols: Sequence[str] | None = None, *, use_shapes: bool = True, **options: Any) -> None:
        super().__init__(
            "coinbase", partial(CoinbaseAdapter, use_shapes=use_shapes), symbols, **{"link": "feed"} | options
        )

    def begin(self) -> None:
        """Start, list the products, open and acknowledge all."""
        (request,) = self.start()
        listed = [{"id": one, "base_increment": "0.00000001", "quote_increment": "0.01"} for one in self.symbols or ()]
        self.answer(request, 200, json.dumps(listed).encode(), NOW)
        self.open(ts=NOW)
        self.acknowledge(NOW)

    def acknowledge(self, ts: int = NOW) -> None:
        """Answer what was sent."""
        for request in self.sent():
            if request["type"] == "subscribe":
                self.feed({"type": "subscriptions", "channels": request["channels"]}, ts=ts)
            else:
                self.feed({"type": "subscriptions", "channels": []}, ts=ts)


class AdvancedDesk(_Desk):
    """An adapter of Coinbase Advanced Trade."""

    def __init__(self, symbols: Sequence[str] | None = None, *, use_shapes: bool = True, **options: Any) -> None:
        super().__init__(
            "coinbase-advanced",
            partial(AdvancedAdapter, use_shapes=use_shapes),
            symbols,
            **{"link": "public"} | options,
        )
        self.count = -1

    def frame(self, channel: str, *events: dict[str, Any]) -> dict[str, Any]:
        """The next frame of the connection."""
        self.count += 1
        head = {"channel": channel, "client_id": "", "timestamp": TIME, "sequence_num": self.count}
        return head | {"events": [*events]}

    def begin(self) -> None:
        """Start, open, and answer as the venue does until everything is acknowledged."""
        self.start()
        self.open(ts=NOW)
        self.acknowledge()
        products = [
            {"id": one, "base_increment": "0.00000001", "quote_increment": "0.01"} for one in self.symbols or ()
        ]
        self.feed(self.frame("status", {"type": "snapshot", "products": products}), ts=NOW)
        self.acknowledge()

    def acknowledge(self) -> None:
        """Answer what was sent."""
        for request in self.sent():
            state = {request["channel"]: request.get("product_ids", [request["channel"]])}
            wanted = state if request["type"] == "subscribe" else {}
            self.feed(self.frame("subscriptions", {"subscriptions": wanted}), ts=NOW)

    def book(self, kind: str, *updates: tuple[str, str, str], symbol: str = "BTC-USD") -> dict[str, Any]:
        """A frame of a book; each update consists of side, price and size."""
        changes = [
            {"side": side, "event_time": TIME, "price_level": price, "new_quantity": size}
            for side, price, size in updates
        ]
        return self.frame("l2_data", {"type": kind, "product_id": symbol, "updates": changes})


def match(
    ident: int, *, kind: str = "match", side: str = "sell", symbol: str = "BTC-USD", **more: Any
) -> dict[str, Any]:
    """A trade of the exchange."""
    return {
        "type": kind,
        "trade_id": ident,
        "maker_order_id": "3f6c0c1e-0000-4000-8000-000000000001",
        "taker_order_id": "3f6c0c1e-0000-4000-8000-000000000002",
        "side": side,
        "size": "0.5",
        "price": "60001.25",
        "product_id": symbol,
        "sequence": ident,
        "time": TIME,
    } | more
