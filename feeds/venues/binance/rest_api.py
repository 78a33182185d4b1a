"""The REST requests to Binance: instrument data, past trades, whole books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from tickplant.feeds.contract import Request
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.instrument_life import InstrumentSource, SymbolInfo, decimals
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget
from tickplant.feeds.venues.binance import messages
from tickplant.feeds.venues.binance.venue import Rules
from tickplant.records.layouts import Flag, Side

INSTRUMENTS: Final = "exchangeInfo"
DEPTH: Final = "depth "
TRADING: Final = "TRADING"
LOT_SIZE: Final = "LOT_SIZE"


def instrument_source(rules: Rules, budget: RequestBudget) -> InstrumentSource:
    """How to ask for the instrument data."""
    share = rules.exchange_info_weight / rules.snapshot_weight

    def request(now_ns: int, at_ns: int) -> Request:
        path = f"{rules.rest_prefix}/exchangeInfo{rules.exchange_info}"
        return Request(INSTRUMENTS, path, max(at_ns, budget.next_ns(now_ns, share)))

    def read(body: bytes) -> Sequence[SymbolInfo]:
        info = messages.decode(body)
        if not isinstance(info, messages.ExchangeInfo):
            raise RejectError("unknown message", "it lists no symbol")
        return symbol_infos(info, rules)

    return InstrumentSource(INSTRUMENTS, request, read)


def symbol_infos(info: messages.ExchangeInfo, rules: Rules) -> list[SymbolInfo]:
    """The instrument data of each symbol.

    The precision says how many decimals are printed, tick size and lot size what is traded. Neither need be the larger:
    the venue may refine one and leave the other.
    """
    infos = []
    for each in info.symbols:
        word = getattr(each, rules.status) or TRADING
        infos.append(
            SymbolInfo(
                each.symbol,
                word,
                trading=word == TRADING,
                closed=word in rules.closed_statuses,
                price_scales=[
                    getattr(each, rules.price_digits),
                    *(decimals(filter_.tickSize) for filter_ in each.filters),
                ],
                size_scales=[
                    getattr(each, rules.size_digits),
                    *(decimals(filter_.stepSize) for filter_ in each.filters if filter_.filterType == LOT_SIZE),
                ],
            )
        )
    return infos


class TradeArchive:
    """See kit.trade_backfill.TradeHistory."""

    page = 1000

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    @property
    def headers(self) -> dict[str, str]:
        """Headers that make REST return the times that the stream gives."""
        return self._rules.rest_headers

    def share(self, channel: str) -> float:
        """The share by the venue's weights."""
        return self._rules.past_trades[channel].weight / self._rules.snapshot_weight

    def path(self, symbol: str, channel: str, first: int | None, count: int) -> str:
        """The path of a request by id where the venue allows that, else for the newest trades."""
        past = self._rules.past_trades[channel]
        path = f"{self._rules.rest_prefix}/{past.endpoint}?symbol={quote(symbol)}"
        if first is None:
            return f"{path}&limit={count}"
        return f"{path}&fromId={first}&limit={count}" if past.by_id else f"{path}&limit={self.page}"

    def read(self, body: bytes, symbol: str, channel: str) -> Sequence[VenueTrade]:
        """The trades of an answer, which does not name the symbol."""
        rows = messages.decode_past(body, symbol, aggregate=channel == "agg_trade")
        return [trade_event(row) for row in rows]


def depth_request(rules: Rules, symbol: str, not_before_ns: int) -> Request:
    """The request for a whole book."""
    path = f"{rules.rest_prefix}/depth?symbol={quote(symbol)}&limit={rules.snapshot_levels}"
    return Request(DEPTH + symbol, path, not_before_ns)


def trade_event(trade: messages.Trade | messages.AggTrade) -> VenueTrade:
    """A trade, or an aggregate, in the kit's form. Raises RejectError for an invalid time."""
    aggregate = isinstance(trade, messages.AggTrade)
    return VenueTrade(
        trade.symbol,
        trade.id,
        epoch_ns(trade.time),
        trade.price,
        trade.size,
        Side.SELL if trade.buyer_is_maker else Side.BUY,
        trade.first_trade if isinstance(trade, messages.AggTrade) else 0,
        int(Flag.AGGREGATE) if aggregate else 0,
    )
