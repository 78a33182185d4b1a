"""The synthetic market: its books, ids and texts hold together, whoever looks."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from websockets.frames import Frame, Opcode

from tickplant.sim.dialect_table import dialect_of
from tickplant.sim.dialects.binance.instruments import traded
from tickplant.sim.dialects.binance.printer import SPEEDS, binance_templates, stream_names
from tickplant.sim.dialects.binance.session import COMBINED, RAW
from tickplant.sim.frames import Batch, frames
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.market import Market
from tickplant.sim.order_flow import ASK, BID, DEPTH, MESSAGE, MIN_LEVELS, TRADE
from tickplant.sim.spec import parse_spec
from tickplant.sim.templates import Renderer, decimals_of, print_price, print_size, render_one

pytestmark = pytest.mark.kernels

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XYZUSDT")
MS = 1_000_000


def market(venue: str, seed: int = 1, **options: Any) -> Market:
    """A small one."""
    futures = venue == "binance-usdm"
    return Market(
        [traded(symbol, futures=futures) for symbol in SYMBOLS],
        seed=seed,
        messages_per_s=options.pop("messages_per_s", 300.0),
        intervals_ns=[ms * MS for _, ms in SPEEDS[venue]],
        id_step=40 if futures else 1,
        depth_levels=options.pop("depth_levels", 20),
        **options,
    )


class Watcher:
    """A client with the whole stream, parsed from its text."""

    def __init__(self, venue: str, made: Market) -> None:
        self.market = made
        self.decimals = decimals_of(made.instruments)
        self.renderer = Renderer(binance_templates(venue, made.instruments), self.decimals)
        self.wanted = np.ones(len(made.instruments) * made.kinds, np.bool_)

    def until(self, time_ns: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for rows, levels in self.market.advance(time_ns, self.wanted):
            batch = self.renderer.batch(rows, levels, sent_ns=10**18, origin_ns=10**18, unit_ns=MS)
            for message in range(batch.messages):
                combined = json.loads(batch.payload(message, COMBINED))
                assert combined["data"] == json.loads(batch.payload(message, RAW))
                yield combined["stream"], combined["data"]

    def book(self, symbol: int, side: int) -> dict[str, str]:
        """The market's own book, as a snapshot prints it."""
        return {
            print_price(self.decimals, symbol, tick): print_size(self.decimals, symbol, lots)
            for tick, lots in self.market.book(symbol, side, 10**6)
        }


def apply(book: dict[str, str], changes: list[list[str]]) -> None:
    for price, size in changes:
        if float(size) == 0:
            book.pop(price, None)
        else:
            book[price] = size


@pytest.mark.parametrize("suffix", ["first", "last"])
@pytest.mark.parametrize("venue", ["binance", "binance-usdm"])
def test_a_book_of_snapshot_and_diffs_stays_equal_to_the_market_s_own(venue: str, suffix: str) -> None:
    watcher = Watcher(venue, market(venue))
    names = [f"{symbol.lower()}@depth{SPEEDS[venue][0 if suffix == 'first' else -1][0]}" for symbol in SYMBOLS]
    for _ in watcher.until(1_030 * MS):  # not at the time of a diff: changes are pending
        pass
    books = [(watcher.book(symbol, BID), watcher.book(symbol, ASK)) for symbol in range(3)]
    ids = [watcher.market.update_id(symbol) for symbol in range(3)]
    live = [False] * 3
    compared: Counter[int] = Counter()
    for step in range(40):
        for stream, data in watcher.until((1_100 + 100 * step) * MS):
            if stream not in names:
                continue
            symbol = names.index(stream)
            if not live[symbol]:
                # The venue's rule for the first diff after a snapshot.
                if venue == "binance":
                    assert data["U"] <= ids[symbol] + 1 <= data["u"]
                else:
                    assert data["U"] <= ids[symbol] <= data["u"] or data["pu"] == ids[symbol]
                live[symbol] = True
            else:
                assert data["U"] == ids[symbol] + 1 if venue == "binance" else data["pu"] == ids[symbol]
            assert data["U"] <= data["u"]
            assert data["b"] or data["a"]
            bids, asks = books[symbol]
            apply(bids, data["b"])
            apply(asks, data["a"])
            ids[symbol] = data["u"]
        for symbol in range(3):
            if ids[symbol] == watcher.market.update_id(symbol):
                assert books[symbol] == (watcher.book(symbol, BID), watcher.book(symbol, ASK))
                compared[symbol] += 1
    assert compared[0] >= 3


@pytest.mark.parametrize("venue", ["binance", "binance-usdm"])
def test_tickers_show_the_best_prices_of_the_diff_book_wherever_their_ids_meet(venue: str) -> None:
    watcher = Watcher(venue, market(venue, messages_per_s=100.0))
    books: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        name: (watcher.book(symbol, BID), watcher.book(symbol, ASK)) for symbol, name in enumerate(SYMBOLS)
    }
    tickers: dict[tuple[str, int], dict[str, Any]] = {}
    met = 0
    for stream, data in watcher.until(20_000 * MS):
        if stream.endswith("@bookTicker"):
            tickers[data["s"], data["u"]] = data
            assert float(data["b"]) < float(data["a"])
        elif stream.endswith("@depth@100ms"):
            bids, asks = books[data["s"]]
            apply(bids, data["b"])
            apply(asks, data["a"])
            ticker = tickers.get((data["s"], data["u"]))
            if ticker is not None:
                met += 1
                bid, ask = max(bids, key=float), min(asks, key=float)
                assert (ticker["b"], ticker["B"], ticker["a"], ticker["A"]) == (bid, bids[bid], ask, asks[ask])
    assert met > 50


@pytest.mark.parametrize("venue", ["binance", "binance-usdm"])
def test_trades_are_numbered_without_holes_and_aggregates_cover_them(venue: str) -> None:
    watcher = Watcher(venue, market(venue))
    trades: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    aggregates: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for stream, data in watcher.until(20_000 * MS):
        if stream.endswith("@trade"):
            trades[data["s"]][data["t"]] = data
        elif stream.endswith("@aggTrade"):
            aggregates[data["s"]].append(data)
    assert len(trades["BTCUSDT"]) > 50
    for symbol, by_id in trades.items():
        ids = list(by_id)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        covered = []
        for before, data in zip([None, *aggregates[symbol]], aggregates[symbol], strict=False):
            assert before is None or data["a"] == before["a"] + 1
            parts = [by_id[ident] for ident in range(data["f"], data["l"] + 1)]
            covered += [part["t"] for part in parts]
            assert {(part["p"], part["m"], part["T"]) for part in parts} == {(data["p"], data["m"], data["T"])}
            assert sum(float(part["q"]) for part in parts) == pytest.approx(float(data["q"]), rel=1e-9)
        assert covered == ids


def test_a_trade_happens_at_the_side_that_its_maker_flag_says() -> None:
    watcher = Watcher("binance", market("binance"))
    best: dict[str, dict[str, Any]] = {}
    first_of_order = set()
    checked = Counter[bool]()
    for stream, data in watcher.until(20_000 * MS):
        if stream.endswith("@bookTicker"):
            best[data["s"]] = data
            first_of_order.add(data["s"])
        elif stream.endswith("@trade") and data["s"] in first_of_order:
            first_of_order.remove(data["s"])  # the order may go on to worse prices
            assert data["p"] == best[data["s"]]["b" if data["m"] else "a"]
            checked[data["m"]] += 1
    assert min(checked[True], checked[False]) > 10


def test_the_same_seed_makes_the_same_market_in_blocks_of_any_size() -> None:
    def texts(seed: int, times_ms: list[int]) -> list[Any]:
        watcher = Watcher("binance", market("binance", seed))
        return [item for time in times_ms for item in watcher.until(time * MS)]

    once = texts(5, [3_000])
    assert texts(5, [1, 2, 500, 501, 2_000, 3_000]) == once
    assert texts(6, [3_000]) != once


@pytest.mark.parametrize("burstiness", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("rate", [2.0, 150.0])
def test_the_rate_of_messages_is_what_was_asked(rate: float, burstiness: float) -> None:
    made = market("binance", messages_per_s=rate, burstiness=burstiness)
    seconds = max(20, int(1000 / rate))
    for _ in made.advance(seconds * 10**9, np.zeros(15, np.bool_)):
        pass
    assert made.messages / seconds == pytest.approx(rate, rel=0.1)


def test_a_limit_ends_the_market_after_the_diffs_that_are_still_due() -> None:
    made = market("binance", limit_messages=200)
    kinds = Counter[int]()
    for rows, _ in made.advance(10**12, np.ones(15, np.bool_)):
        kinds.update(rows["kind"].tolist())
    assert kinds[TRADE] + kinds[TRADE + 2] in range(150, 240)
    assert (made.state.flushed == made.state.ids[:, :1]).all()


def test_a_long_life_leaves_books_that_are_deep_uncrossed_and_within_their_window() -> None:
    made = market("binance", messages_per_s=5000.0)
    for _ in made.advance(2 * 10**9, np.zeros(15, np.bool_)):
        pass
    for symbol in range(3):
        bids, asks = made.book(symbol, BID, 10**6), made.book(symbol, ASK, 10**6)
        assert bids[0][0] < asks[0][0]
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        for side, levels in ((BID, bids), (ASK, asks)):
            assert len(levels) == made.state.filled[symbol, side] >= MIN_LEVELS
            assert levels[0][0] == made.state.best[symbol, side]
            assert abs(levels[-1][0] - levels[0][0]) < made.state.window
            assert all(lots > 0 for _, lots in levels)


@st.composite
def rows_and_levels(draw: st.DrawFn) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    count = draw(st.integers(1, 6))
    number = st.integers(0, 10**12)
    rows = np.zeros(count, MESSAGE)
    levels: list[tuple[int, int]] = [(0, 0)]
    for i in range(count):
        for name in ("time", "id", "first", "last"):
            rows[i][name] = draw(number)
        for name in ("price", "ask", "size", "ask_size"):
            rows[i][name] = draw(st.integers(0, 10**9))
        rows[i]["kind"] = draw(st.integers(0, DEPTH + 1))
        rows[i]["symbol"] = draw(st.integers(0, 2))
        rows[i]["maker"] = draw(st.booleans())
        if rows[i]["kind"] >= DEPTH:
            rows[i]["levels"] = len(levels)
            for name in ("bids", "asks"):
                side = draw(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=4))
                rows[i][name] = len(side)
                levels += side
    return rows, np.array(levels, np.int64)


@settings(max_examples=60)
@given(data=rows_and_levels(), venue=st.sampled_from(["binance", "binance-usdm"]), unit=st.sampled_from([1000, MS]))
def test_the_kernel_prints_what_plain_python_prints(
    data: tuple[NDArray[np.void], NDArray[np.int64]], venue: str, unit: int
) -> None:
    rows, levels = data
    instruments = [traded(symbol, futures=venue != "binance") for symbol in SYMBOLS]
    made, decimals = binance_templates(venue, instruments), decimals_of(instruments)
    streams = [name for symbol in SYMBOLS for name in stream_names(venue, symbol)]
    times = {"sent_ns": 1_700_000_000_123_456_789, "origin_ns": 1_700_000_000_000_000_000, "unit_ns": unit}
    batch = Renderer(made, decimals).batch(rows, levels, **times)
    for i in range(rows.shape[0]):
        text = render_one(made, decimals, rows[i:], levels, **times)
        assert batch.payload(i, COMBINED).decode() == text
        assert json.loads(text)["stream"] == streams[int(batch.stream[i])]
        assert batch.id[i] == rows[i]["id"]


@settings(max_examples=60)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 125, 126, 127, 255, 256, 65_535, 65_536]), min_size=1, max_size=4),
    form=st.sampled_from([COMBINED, RAW]),
    data=st.data(),
)
def test_packed_frames_are_the_websocket_frames_of_their_texts(
    sizes: list[int], form: int, data: st.DataObject
) -> None:
    texts = [b"{" + bytes([97 + i]) * size + b"}" for i, size in enumerate(sizes)]
    ends = np.cumsum([len(text) for text in texts])
    starts = ends - np.array([len(text) for text in texts])
    batch = Batch(np.frombuffer(b"".join(texts), np.uint8), ((starts, ends), (starts + 1, ends - 1)), starts, starts)
    order = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=5))
    packed = frames(batch, np.array(order, np.int64), form)
    expected = [texts[i] if form == COMBINED else texts[i][1:-1] for i in order]
    assert packed == b"".join(Frame(Opcode.TEXT, text).serialize(mask=False) for text in expected)


def test_a_frozen_symbol_goes_quiet_and_the_others_go_on_until_it_is_let_go() -> None:
    made = market("binance")
    wanted = np.ones(len(SYMBOLS) * made.kinds, np.bool_)

    def traded_until(second: int) -> set[int]:
        blocks = [rows["symbol"].copy() for rows, _ in made.advance(second * 1000 * MS, wanted)]
        return set(np.concatenate(blocks).tolist())

    assert traded_until(5) == {0, 1, 2}
    made.freeze({0})
    traded_until(7)  # its last diffs
    ids = made.state.ids[0].tolist()
    assert traded_until(12) == {1, 2}
    assert made.state.ids[0].tolist() == ids
    made.freeze(set())
    assert traded_until(20) == {0, 1, 2}


def test_a_refined_symbol_prints_and_lists_more_decimals_and_a_delisted_one_is_not_there() -> None:
    source = dialect_of(parse_spec(b'{"symbols":["BTCUSDT","ETHUSDT"],"depth_levels":20}')).source
    assert isinstance(source, LiveMarket)

    def prices() -> list[str]:
        return [price for price, _ in source.book("BTCUSDT", 20).bids]

    assert {len(price.partition(".")[2]) for price in prices()} == {8}
    assert source.refine("BTCUSDT", 1)
    assert {len(price.partition(".")[2]) for price in prices()} == {9}
    assert any(not price.endswith("0") for price in prices())
    assert prices() == sorted(prices(), key=Decimal, reverse=True)
    assert (source.listed["BTCUSDT"].price_digits, source.listed["BTCUSDT"].tick_size) == (9, "0.000000001")
    assert not source.refine("BTCUSDT", 4)  # more than it prints
    assert not source.refine("XYZUSDT", 1)

    assert source.set_life("BTCUSDT", status="HALT", trades=False)
    assert source.listed["BTCUSDT"].status == "HALT"
    assert source.set_life("BTCUSDT", status="BREAK", trades=False, listed=False)
    assert set(source.listed) == {"ETHUSDT"}
    assert source.set_life("BTCUSDT", status="TRADING", trades=True)
    assert (source.listed["BTCUSDT"].status, source.listed["BTCUSDT"].price_digits) == ("TRADING", 9)
    assert not source.set_life("XYZUSDT", status="HALT", trades=False)
