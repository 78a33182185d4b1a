"""Binance's bars, mark prices and liquidations, which have neither ids nor state."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS
from tickplant.feeds.venues.binance.other_messages import Kline, Liquidation, MarkPrice
from tickplant.records.layouts import Side
from tickplant.records.statistics import StatisticCode

Message = Kline | MarkPrice | Liquidation

_CHANNEL: Final = {Kline: "venue_bar", MarkPrice: "statistic", Liquidation: "liquidation"}
_SIDE: Final = {"BUY": Side.BUY, "SELL": Side.SELL}


def record(market: Market, message: Message, ts_recv: int) -> bool:
    """Record a message; False if its symbol is not recorded. Raises RejectError."""
    listing = market.listings.get(message.order.symbol if isinstance(message, Liquidation) else message.symbol)
    if listing is None:
        return False
    try:
        _record(market, listing, message, ts_recv)
    except RejectError as rejected:
        market.rejects.add(rejected, listing, _CHANNEL[type(message)], ts_recv)
        raise
    return True


def _record(market: Market, listing: Listing, message: Message, ts_recv: int) -> None:
    match message:
        case Kline(bar=bar):
            # The last instant is printed at the precision of the stream: the end is the next whole second.
            end_ns = (epoch_ns(bar.until) // SECOND_NS + 1) * SECOND_NS
            ohlc = Ohlc(
                epoch_ns(bar.begin),
                end_ns,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
                trades=bar.trades,
                closed=bar.closed,
            )
            market.others.on_bar(listing, ohlc, ts_recv)
        case MarkPrice():
            numbers = {
                StatisticCode.MARK_PRICE: message.mark,
                StatisticCode.INDEX_PRICE: message.index,
                StatisticCode.SETTLEMENT_PRICE: message.settlement,
                StatisticCode.FUNDING_RATE: message.funding_rate,
            }
            told = {code: text for code, text in numbers.items() if text or code is StatisticCode.MARK_PRICE}
            times = {StatisticCode.FUNDING_RATE: epoch_ns(message.funding_time)}
            market.others.on_statistics(listing, told, epoch_ns(message.sent), ts_recv, at_ns=times)
        case Liquidation(order=order):
            market.others.on_liquidation(
                listing, order.price, order.size, _SIDE[order.side], epoch_ns(order.time), ts_recv
            )
