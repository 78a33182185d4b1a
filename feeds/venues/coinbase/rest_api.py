"""The REST requests to Coinbase Exchange: instrument data, past trades, all orders of a product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from tickplant.feeds.contract import Request
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.instrument_life import InstrumentSource, SymbolInfo, decimals
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.kit.request_budget import RequestBudget
from tickplant.feeds.venues.coinbase import messages
from tickplant.feeds.venues.coinbase import venue as facts
from tickplant.feeds.venues.coinbase.signing import Signer
from tickplant.records.layouts import Side

INSTRUMENTS: Final = "products"
ORDERS: Final = "orders "
NEWER: Final = "newer "


def aggressor(maker: messages.Side) -> Side:
    """The aggressor's side of a trade, given the maker's."""
    return Side.BUY if maker == "sell" else Side.SELL


def symbol_infos(products: Sequence[messages.Product]) -> list[SymbolInfo]:
    """The instrument data of each product."""
    return [
        SymbolInfo(
            each.id,
            _word(each),
            trading=_word(each) == facts.ONLINE,
            closed=each.status in facts.CLOSED,
            price_scales=(decimals(each.quote_increment),),
            size_scales=(decimals(each.base_increment),),
        )
        for each in products
    ]


def _word(product: messages.Product) -> str:
    if product.status != facts.ONLINE:
        return product.status
    return "trading disabled" if product.trading_disabled else "cancel only" if product.cancel_only else facts.ONLINE


def instrument_source(budget: RequestBudget) -> InstrumentSource:
    """How to ask for the instrument data."""

    def request(now_ns: int, at_ns: int) -> Request:
        return Request(INSTRUMENTS, "/products", max(at_ns, budget.next_ns(now_ns)))

    def read(body: bytes) -> list[SymbolInfo]:
        products = messages.decode_answer(body, messages.PRODUCTS)
        return symbol_infos(products)

    return InstrumentSource(INSTRUMENTS, request, read)


def orders_request(symbol: str, at_ns: int, signer: Signer | None) -> Request:
    """The request for all orders of a product."""
    path = f"/products/{quote(symbol, safe='')}/book?level=3"
    return Request(f"{ORDERS}{symbol}", path, at_ns, {} if signer is None else signer.headers(at_ns, path))


class TradeArchive:
    """See kit.trade_backfill.TradeHistory. The cursor `after` selects trades older than an id, newest first."""

    page = facts.TRADES_PER_PAGE
    headers: dict[str, str] = {}  # noqa: RUF012  # of a protocol; never written to

    def path(self, symbol: str, channel: str, first: int | None, count: int) -> str:
        """The path of a request for `count` trades starting at an id, or for the newest ones."""
        del channel
        cursor = "" if first is None else f"&after={first + count}"
        return f"/products/{quote(symbol, safe='')}/trades?limit={count}{cursor}"

    def share(self, channel: str) -> float:
        """All requests cost the same."""
        del channel
        return 1.0

    def read(self, body: bytes, symbol: str, channel: str) -> list[VenueTrade]:
        """The trades of an answer. Raises RejectError."""
        del channel
        return [
            VenueTrade(symbol, one.trade_id, rfc3339_ns(one.time), one.price, one.size, aggressor(one.side))
            for one in messages.decode_answer(body, messages.TRADES)
        ]
