"""Binance's channels on request (partial books, bars, mark prices, liquidations), and COIN-M futures."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from binance_tools import SECOND, Desk, Record, diff, snapshot, trade, wrapped
from folded_book import FoldedBook

from tickplant.feeds.contract import Send
from tickplant.feeds.venues.binance.streams import channels_of
from tickplant.feeds.venues.binance.venue import COINM, SPOT, USDM, Rules
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, Side
from tickplant.records.statistics import StatisticCode, value_of
from tickplant.records.venue_bars import venue_bars

MINUTE = 60 * SECOND
BEGIN_MS = 1_788_264_000_000
KLINE = {
    "e": "kline",
    "E": BEGIN_MS + 59_999,
    "s": "BTCUSDT",
    "k": {
        "t": BEGIN_MS,
        "T": BEGIN_MS + 59_999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 100,
        "L": 200,
        "o": "0.0010",
        "c": "0.0020",
        "h": "0.0025",
        "l": "0.0015",
        "v": "1000",
        "n": 100,
        "x": False,
        "q": "1.0000",
        "V": "500",
        "Q": "0.500",
        "B": "123456",
    },
}
MARK = {
    "e": "markPriceUpdate",
    "E": BEGIN_MS,
    "s": "BTCUSDT",
    "p": "11794.15000000",
    "i": "11784.62659091",
    "P": "11784.25641265",
    "r": "0.00038167",
    "T": BEGIN_MS + 3_600_000,
}
FORCED = {
    "e": "forceOrder",
    "E": BEGIN_MS + 5,
    "o": {
        "s": "BTCUSDT",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "0.014",
        "p": "9910",
        "ap": "9910.5",
        "X": "FILLED",
        "l": "0.014",
        "z": "0.014",
        "T": BEGIN_MS,
    },
}
OTHERS = ("partial_book", "venue_bar", "statistic", "liquidation")


def desk_of(rules: Rules, *symbols: str, **options: Any) -> Desk:
    desk = Desk(symbols or None, rules=rules, **options)
    if symbols:
        desk.bootstrap()
    return desk


def requests(desk: Desk) -> list[dict[str, Any]]:
    desk.take()
    return [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]


# Streams and links.


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        (SPOT, {"stream+partial_book+venue_bar": ["btcusdt@trade", "btcusdt@depth5@100ms", "btcusdt@kline_1m"]}),
        (
            USDM,
            {
                "market+venue_bar+statistic+liquidation": [
                    *("btcusdt@trade", "btcusdt@kline_1m", "btcusdt@markPrice@1s", "btcusdt@forceOrder")
                ],
                "public+partial_book": ["btcusdt@depth5@100ms"],
            },
        ),
    ],
)
def test_channels_on_request_are_streams_of_the_link_that_serves_them(
    rules: Rules, names: dict[str, list[str]]
) -> None:
    channels = ("trade", *(each for each in OTHERS if rules.futures or each in ("partial_book", "venue_bar")))
    desk = desk_of(rules, "BTCUSDT", channels=channels, depth=5)
    assert {link.name for link in desk.links} == set(names)
    for link, params in names.items():
        desk.actions.clear()
        desk.open(link)
        (request,) = requests(desk)
        assert request["params"] == params
        carried = [channel for channel in channels if channel in channels_of(link, rules)]
        assert len(carried) == len(params), "a capture knows the channels by the link's name"


def test_a_request_is_no_longer_than_the_venue_reads() -> None:
    symbols = [f"ALONGSYMBOLNAME{number}USDT" for number in range(150)]
    desk = desk_of(SPOT, *symbols, channels=("book",))
    desk.open()
    sent = [action.payload for action in desk.actions if isinstance(action, Send)]
    assert max(map(len, sent)) <= 4088
    assert len(sent) == 2
    asked = [name for payload in sent for name in json.loads(payload)["params"]]
    assert asked == [f"{symbol.lower()}@depth@100ms" for symbol in symbols]


# Messages.


@pytest.mark.parametrize("frame", [KLINE, wrapped("btcusdt@kline_1m", KLINE)])
@pytest.mark.parametrize("factor", [1, 1000])  # of milliseconds, or of microseconds
def test_a_bar_is_partial_until_it_is_closed(frame: dict[str, Any], factor: int) -> None:
    desk = desk_of(SPOT)

    def ticks(closed: bool) -> np.ndarray:
        data = json.loads(json.dumps(frame))
        bar = data.get("data", data)["k"]
        bar |= {"x": closed, "t": bar["t"] * factor, "T": bar["T"] * factor + (factor - 1)}
        desk.frames("", [json.dumps(data).encode()], 7)
        return desk.take_ticks()

    (bar,) = venue_bars(ticks(closed=False))
    assert bar["flags"] == Flag.PARTIAL
    fields = ("ts_open", "ts_event", "open", "high", "low", "close", "volume", "trades", "vwap")
    begin = BEGIN_MS * 1_000_000
    unit = 10**8
    expected = [begin, begin + MINUTE, unit // 1000, unit // 400, unit * 15 // 10000, unit // 500, 1000 * unit, 100]
    assert bar[list(fields)].tolist() == (*expected, NO_PRICE)
    (bar,) = venue_bars(ticks(closed=True))
    assert bar["flags"] == 0


def test_a_bar_without_trades_is_a_bar() -> None:
    desk = desk_of(SPOT)
    bar = KLINE["k"] | {"f": -1, "L": -1, "n": 0, "v": "0", "x": True, **dict.fromkeys("ohlc", "0.0010")}  # type: ignore[operator]
    desk.frames("", [json.dumps(KLINE | {"k": bar}).encode()], 7)
    (bar,) = venue_bars(desk.take_ticks())
    assert (int(bar["trades"]), int(bar["volume"]), int(bar["open"])) == (0, 0, 100_000)
    assert desk.adapter.counters.rejected == 0


@pytest.mark.parametrize("frame", [MARK, wrapped("btcusdt@markPrice@1s", MARK), wrapped("btcusdt@markPrice", MARK)])
def test_a_mark_price_is_four_numbers_and_funding_has_its_time(frame: dict[str, Any]) -> None:
    desk = desk_of(USDM)
    desk.frames("", [json.dumps(frame).encode()], 7)
    ticks = desk.take_ticks()
    found = {StatisticCode(int(tick["order_id"])): (value_of(tick), int(tick["venue_seq"])) for tick in ticks}
    assert found == {
        StatisticCode.MARK_PRICE: (Decimal("11794.15"), 0),
        StatisticCode.INDEX_PRICE: (Decimal("11784.62659091"), 0),
        StatisticCode.SETTLEMENT_PRICE: (Decimal("11784.25641265"), 0),
        StatisticCode.FUNDING_RATE: (Decimal("0.00038167"), (BEGIN_MS + 3_600_000) * 1_000_000),
    }
    assert set(ticks["ts_event"].tolist()) == {BEGIN_MS * 1_000_000}


def test_a_contract_that_expires_has_no_funding() -> None:
    desk = desk_of(COINM)
    records = desk.feed(MARK | {"s": "BTCUSD_261225", "r": "", "T": 0})
    assert StatisticCode.FUNDING_RATE not in [record.order_id for record in records]
    assert len(records) == 3


@pytest.mark.parametrize("frame", [FORCED, wrapped("btcusdt@forceOrder", FORCED)])
def test_a_liquidation_is_the_forced_order(frame: dict[str, Any]) -> None:
    (record,) = desk_of(USDM).feed(frame)
    assert (record.kind, record.symbol, record.side) == (Kind.LIQUIDATION, "BTCUSDT", Side.SELL)
    assert (record.price, record.size, record.ts_event) == (9910 * 10**8, 1_400_000, BEGIN_MS * 1_000_000)


def test_streams_of_other_names_and_lists_are_not_recorded() -> None:
    desk = desk_of(USDM)
    records = desk.feed(
        wrapped("btcusdt@continuousKline_1m", KLINE),
        wrapped("!markPrice@arr@1s", MARK),
        f"[{json.dumps(MARK)}]",
        wrapped("!forceOrder@arr", FORCED),
    )
    assert records == []
    assert desk.adapter.counters.ignored == 4


# What goes wrong with them.

STREAMS = {
    "partial_book": wrapped("btcusdt@depth5@100ms", snapshot(7, [("1.5", "2")], [("1.6", "3")])),
    "venue_bar": wrapped("btcusdt@kline_1m", KLINE),
    "statistic": wrapped("btcusdt@markPrice@1s", MARK),
    "liquidation": wrapped("btcusdt@forceOrder", FORCED),
}


def gaps(records: list[Record]) -> list[tuple[GapCause, Flag]]:
    return [(GapCause(each.price), each.flags & ~Flag.LAST) for each in records if each.kind is Kind.GAP]


@pytest.mark.parametrize("channel", STREAMS)
def test_a_rejected_message_and_an_interruption_are_gaps(channel: str) -> None:
    desk = desk_of(USDM, "BTCUSDT", channels=("trade", channel))
    (link,) = [link.name for link in desk.links if channel in link.name]
    desk.open(link)
    frame = json.dumps(STREAMS[channel])
    stream = Flag.ON_OTHER | (Flag.PARTIAL if channel == "partial_book" else 0)
    assert gaps(desk.feed(frame, name=link)) == []
    assert gaps(desk.feed(frame[:60], name=link)) == [(GapCause.REJECTED, stream)]
    assert gaps(desk.feed(frame, name=link)) == []
    desk.close(link)
    assert gaps(desk.open(link)) == [(GapCause.DISCONNECT, stream)]


def test_a_silent_channel_is_no_failure_and_the_venue_is_not_asked_about_it() -> None:
    desk = desk_of(USDM, "BTCUSDT", channels=("liquidation", "statistic", "trade"), silent_s=1.0)
    (link,) = [link.name for link in desk.links]
    desk.open(link)
    (request,) = requests(desk)
    desk.feed({"result": None, "id": request["id"]}, name=link)
    desk.actions.clear()
    for second in range(1, 20):
        desk.timer(second * SECOND)
    assert desk.actions == []
    assert {request.key for request in desk.take_requests()} == {"newest BTCUSDT trade"}


# COIN-M.


def test_coinm_has_contracts_statuses_and_snapshots_of_its_own() -> None:
    desk = Desk(("BTCUSD_PERP",), rules=COINM)
    (request,) = desk.start()
    assert request.path == "/dapi/v1/exchangeInfo"
    info = {"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "contractStatus": "TRADING", "contractSize": 100}
    info |= {"pricePrecision": 1, "quantityPrecision": 0}
    desk.answer(request, 200, json.dumps({"symbols": [info]}).encode(), 0)
    assert [link.url for link in desk.links] == ["wss://dstream.binance.com/stream"]
    desk.open()
    book = FoldedBook("BTCUSD_PERP")
    quote = {"u": 5, "e": "bookTicker", "s": "BTCUSD_PERP", "ps": "BTCUSD", "b": "61804.7", "B": "35", "a": "61804.8"}
    desk.feed(wrapped("btcusd_perp@bookTicker", quote | {"A": "1645", "T": BEGIN_MS, "E": BEGIN_MS}))
    change = diff(10, 12, [("61800.0", "100")], symbol="BTCUSD_PERP", previous=9) | {"ps": "BTCUSD", "st": 1}
    book.apply(desk.feed(wrapped("btcusd_perp@depth@100ms", change)))
    body = snapshot(11, [("61799.9", "7")], [("61804.8", "9")]) | {"symbol": "BTCUSD_PERP", "pair": "BTCUSD"}
    book.apply(desk.rest(body, symbol="BTCUSD_PERP"))
    assert book.live
    assert (book.best_bid, book.best_ask) == ((618000, 100), (618048, 9))
    (record,) = desk.feed(trade(4, symbol="BTCUSD_PERP", price="61804.8", size="4"))
    assert (record.price, record.size) == (618048, 4)
    desk.timer(10 * SECOND)
    info["contractStatus"] = "SETTLING"
    records = desk.recorded({"symbols": [info]})
    assert [record.kind for record in records] == [Kind.STATUS]


def test_a_recorded_snapshot_of_coinm_names_its_symbol() -> None:
    desk = desk_of(COINM)
    for symbol in ("BTCUSD_PERP", "ETHUSD_PERP"):
        desk.recorded(diff(10, 12, [("5", "1")], symbol=symbol, previous=9))
    records = desk.recorded(snapshot(11, [("4", "2")]) | {"symbol": "ETHUSD_PERP"})
    assert {record.symbol for record in records} == {"ETHUSD_PERP"}
    assert [record.kind for record in records] == [Kind.CLEAR, Kind.LEVEL, Kind.LEVEL]
