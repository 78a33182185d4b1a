"""Trades whose ids have holes by right: all that comes is recorded, an interruption is a GAP."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import pytest

from tickplant.feeds.contract import FeedContext, LinkSpec
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.shapes import Fresh, Row, Seen, Shapes
from tickplant.feeds.kit.state_table import RECENT_PAIRS, SEEN_TRADE
from tickplant.feeds.kit.stream_links import StreamLinks
from tickplant.feeds.kit.subscriptions import Stream, Subscriptions
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.venues._template.adapter import StreamCodec
from tickplant.instruments import Instrument
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, Side, TradeFlag

SECOND: Final = 1_000_000_000
TRADE: Final = (
    '{"s":"<symbol>","q":<id:int>,"p":<price>,"z":<size>,"t":<time:epoch>}',
    Seen(SEEN_TRADE),
    Row(Kind.TRADE, price="price", size="size", seq="id", time="time", flags=Flag.LAST),
)


def _resolve(symbol: str, price_scale: int | None, size_scale: int | None, *, exact: bool = False) -> Instrument:
    return Instrument(id=1, venue="v", symbol=symbol, price_scale=2, size_scale=3)


@pytest.fixture
def market() -> Market:
    context = FeedContext(symbols=("A",), channels=("trade",), resolve=_resolve)
    shapes = Shapes({"trade": TRADE})
    return Market(context, shapes, lambda _: BookSync(chained=False, held_limit=1), lambda _: None, trades_count=False)


def trade(ident: int, price: str = "1.5", flags: int = 0) -> VenueTrade:
    return VenueTrade("A", ident, 1_700_000_000_000_000_000 + ident, price, "2", Side.NONE, flags=flags)


def scan(market: Market, *idents: int) -> None:
    frames = [b'{"s":"A","q":%d,"p":1.5,"z":2,"t":1700000000000}' % ident for ident in idents]

    def refer(frame: bytes, ts_recv: int) -> None:
        raise AssertionError(frame)

    market.listings.reader.read(frames, 9, market.batch, refer, lambda *_: None)


@pytest.mark.parametrize("by_shape", [True, False])
def test_holes_repeats_and_ids_that_go_back_are_recorded_as_they_come(market: Market, by_shape: bool) -> None:
    listing = market.listings.add("A")
    idents = [7, 9, 9, 8, 400, 0]
    if by_shape:
        scan(market, *idents)
    else:
        for ident in idents:
            assert market.on_trade(listing, trade(ident), 9)
    ticks = market.batch.take()
    assert ticks["kind"].tolist() == [Kind.TRADE] * len(idents)
    assert ticks["venue_seq"].tolist() == idents
    assert market.duplicates == market.emit.gaps == 0


@pytest.mark.parametrize("by_shape", [True, False])
def test_where_ids_name_trades_a_repeat_of_a_recent_one_is_dropped(by_shape: bool) -> None:
    context = FeedContext(symbols=("A",), channels=("trade",), resolve=_resolve)
    fresh = (*TRADE[:2], Fresh("id", "time"), TRADE[2])
    market = Market(
        context,
        Shapes({"trade": fresh}),
        lambda _: BookSync(chained=False, held_limit=1),
        lambda _: None,
        trades_count=False,
        trades_unique=True,
    )
    listing = market.listings.add("A")
    idents = [7, 9, 7, 8, 7 + RECENT_PAIRS, 7, 0, 0]
    if by_shape:
        scan(market, *idents)
    else:
        for ident in idents:
            market.on_trade(listing, msgspec.structs.replace(trade(ident), ts_event=1_700_000_000_000_000_000), 9)
    assert market.batch.take()["venue_seq"].tolist() == [7, 9, 8, 7 + RECENT_PAIRS, 7, 0, 0]
    assert market.duplicates + market.listings.reader.duplicates == 1


@pytest.mark.parametrize(("channel", "flags"), [("trade", 0), ("agg_trade", Flag.AGGREGATE)])
def test_an_interruption_is_a_gap_when_the_stream_goes_on(market: Market, channel: str, flags: int) -> None:
    listing = market.listings.add("A")
    market.on_trade(listing, trade(7, flags=flags), 9)
    market.interrupt(listing, channel, 10)
    market.go_on(listing, channel, 11)
    market.go_on(listing, channel, 12)
    market.on_trade(listing, trade(8, flags=flags), 13)
    first, gap, last = market.batch.take()
    assert (first["venue_seq"], last["venue_seq"]) == (7, 8)
    assert (gap["kind"], gap["price"], gap["size"], gap["ts_recv"]) == (Kind.GAP, GapCause.DISCONNECT, UNKNOWN, 11)
    assert gap["flags"] & ~Flag.LAST == Flag.ON_TRADE | flags


def test_a_restart_is_a_gap(market: Market) -> None:
    market.resume({"A": LastIds(trade=(5, 6))})
    market.go_on(market.listings.add("A"), "trade", 11)
    (gap,) = market.batch.take()
    assert (gap["kind"], gap["price"], gap["size"]) == (Kind.GAP, GapCause.RESTART, UNKNOWN)


@pytest.mark.parametrize("by_shape", [True, False])
def test_a_reject_is_a_gap_at_once_and_the_next_run_another_one(market: Market, by_shape: bool) -> None:
    listing = market.listings.add("A")
    for ident in (7, 9):
        for _ in range(2):
            with pytest.raises(RejectError):
                market.on_trade(listing, trade(ident, "x"), 9)
        if by_shape:
            scan(market, ident + 1)
        else:
            market.on_trade(listing, trade(ident + 1), 9)
    market.release(listing)
    ticks = market.batch.take()
    assert ticks["kind"].tolist() == [Kind.GAP, Kind.TRADE, Kind.GAP, Kind.TRADE]
    gaps = ticks[::2]
    assert gaps["price"].tolist() == [GapCause.REJECTED] * 2
    assert np.all(gaps["flags"] & Flag.ON_TRADE)


@pytest.mark.parametrize("by_shape", [True, False])
def test_a_stream_that_brings_trades_is_not_silent(market: Market, by_shape: bool) -> None:
    listing, stream = market.listings.add("A"), Stream("A", "trade")
    codec = StreamCodec()
    codec.busy = {"trade"}
    subscriptions = Subscriptions([(LinkSpec(name="public", url=""), [stream])], codec, silent_s=10)
    links = StreamLinks(market, subscriptions, lambda _: (), live=True)
    link = links.find("public")
    assert link is not None
    links.on_open(link, 0)
    subscriptions.subscribe(link, 0)
    subscriptions.acknowledge(1, 0)
    for second in (1, 12, 23):
        if by_shape:
            scan(market, 7)
        else:
            market.on_trade(listing, trade(7), 9)
        assert links.on_second(second * SECOND) == ([], False)
    effects, replaced = links.on_second(40 * SECOND)
    assert replaced and "silent" in effects[0].reason


def test_a_correction_has_the_id_of_its_trade_and_is_no_repeat() -> None:
    context = FeedContext(symbols=("A",), channels=("trade",), resolve=_resolve)
    market = Market(
        *(context, Shapes({}), lambda _: BookSync(chained=False, held_limit=1), lambda _: None),
        trades_count=False,
        trades_unique=True,
    )
    listing = market.listings.add("A")
    told = [0, 0, int(TradeFlag.CORRECTION), int(TradeFlag.CANCELLED), 0]
    assert [market.on_trade(listing, trade(7, flags=flags), 9) for flags in told] == [True, False, True, True, False]
    assert (market.batch.take()["flags"] & ~np.uint16(Flag.LAST)).tolist() == [0, *told[2:4]]
    assert market.duplicates == 2


def scan_named(market: Market, symbol: str) -> None:
    frame = b'{"s":"%s","q":7,"p":1.5,"z":2,"t":1700000000000}' % symbol.encode()
    market.listings.reader.read([frame], 9, market.batch, lambda *_: None, lambda *_: None)


@pytest.mark.parametrize("looked_at", [False, True])
def test_good_trades_of_another_symbol_do_not_end_a_run_of_rejects(looked_at: bool) -> None:
    def resolve(symbol: str, *_: int | None, exact: bool = False) -> Instrument:
        return Instrument(id=1 + (symbol == "B"), venue="v", symbol=symbol, price_scale=2, size_scale=3)

    context = FeedContext(symbols=("A", "B"), channels=("trade",), resolve=resolve)
    new_book = lambda _: BookSync(chained=False, held_limit=1)  # noqa: E731
    market = Market(context, Shapes({"trade": TRADE}), new_book, lambda _: None, trades_count=False)
    links = StreamLinks(market, Subscriptions([], StreamCodec(), silent_s=10), lambda _: (), live=True)
    listing = market.listings.add("A")
    market.listings.add("B")

    def reject() -> None:
        with pytest.raises(RejectError):
            market.on_trade(listing, trade(7, "x"), 9)

    def gaps() -> int:
        ticks = market.batch.take()
        return int((ticks["kind"] == Kind.GAP).sum())

    scan_named(market, "A")
    for _ in range(3):
        reject()
        scan_named(market, "B")
        if looked_at:
            links._delivered(Stream("A", "trade"))
    assert gaps() == 1
    assert market.rejects.trouble()
    scan_named(market, "A")
    if looked_at:
        assert links._delivered(Stream("A", "trade"))
    assert not market.rejects.trouble()
    reject()
    assert gaps() == 1
