"""Kraken as it is simulated, without sockets: what it prints."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kraken_client import MS, ORIGIN_NS, SYMBOLS, Client, Venue

from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import LAST_QUOTE, LAST_TRADE, NONE, STATE_COLUMNS
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.feeds.venues.kraken.shapes import BOOK_EVENT, SHAPES
from tickplant.records.batch import TickBatch
from tickplant.sim.dialects.kraken.printer import KrakenPrinter
from tickplant.sim.dialects.kraken.shapes import BOOK, DEPTHS, FRAME, KINDS, STYLE, update_shapes
from tickplant.sim.dialects.kraken.window_kernels import window_changes
from tickplant.sim.templates import Renderer, decimals_of, render_one, templates

# Prices of a window from the best level on, as distances from a price that no level has.
sides = st.dictionaries(st.integers(1, 12), st.integers(1, 3), max_size=8)


@pytest.mark.kernels
@settings(max_examples=300)
@given(old=sides, new=sides, depth=st.integers(1, 8), is_bid=st.booleans())
def test_who_applies_the_changes_and_cuts_has_the_new_window(
    old: dict[int, int], new: dict[int, int], depth: int, is_bid: bool
) -> None:
    sign = -1 if is_bid else 1

    def window(levels: dict[int, int]) -> dict[int, int]:
        return {100 + sign * distance: levels[distance] for distance in sorted(levels)[:depth]}

    def rows(levels: dict[int, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array(list(levels.items()), np.int64).reshape(-1, 2)

    before, after = window(old), window(new)
    out = np.zeros((40, 2), np.int64)
    used = window_changes(rows(before), rows(after), depth, is_bid, out, 3) - 3
    changes = dict(out[3 : 3 + used].tolist())
    assert len(changes) == used
    held = {price: size for price, size in (before | changes).items() if size}
    best = sorted(held, key=lambda price: sign * price)[:depth]
    assert {price: held[price] for price in best} == after
    assert all(before.get(price) != size for price, size in changes.items())
    assert all(price in before for price, size in changes.items() if size == 0)


@pytest.mark.kernels
@pytest.mark.parametrize("depth", [10, *(pytest.param(depth, marks=pytest.mark.long) for depth in (25, 100))])
def test_every_checksum_is_that_of_the_book_that_a_client_keeps(depth: int) -> None:
    venue = Venue()
    for _ in venue.until(500 * MS):
        raise AssertionError("nothing is printed that nobody wants")
    client = Client(depth)
    client.take(venue.book(0, depth))
    client.take(venue.book(2, depth))
    for symbol in (0, 2):
        venue.wanted[symbol * KINDS + BOOK + DEPTHS.index(depth)] = True
    for step in range(1, 40):
        for _, frame in venue.until((500 + 100 * step) * MS):
            client.take(frame)
        if step == 20:  # a second client sees what the first one does
            late = Client(depth)
            late.take(venue.book(0, depth))
            assert late.books["BTC/USD"] == client.books["BTC/USD"]
    assert client.updates["BTC/USD"] > 50
    assert client.updates["SHIB/USD"] > 10


@pytest.mark.kernels
@pytest.mark.long
def test_levels_that_fall_out_of_the_window_are_not_deleted_and_come_back_when_there_is_room() -> None:
    venue = Venue()
    venue.book(0, 10)
    venue.want("BTC/USD@book-10")
    inside: dict[str, set[str]] = {"bids": set(), "asks": set()}
    fallen, returned = 0, 0
    known: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
    for _, frame in venue.until(6_000 * MS):
        (entry,) = json.loads(frame, parse_float=str)["data"]
        for name, sign in (("bids", -1), ("asks", 1)):
            for level in entry[name]:
                if float(level["qty"]):
                    returned += level["price"] in known[name] and level["price"] not in inside[name]
                    inside[name].add(level["price"])
                    known[name][level["price"]] = level["qty"]
                else:
                    inside[name].discard(level["price"])
            kept = sorted(inside[name], key=lambda price: sign * Decimal(price))[:10]
            fallen += len(inside[name]) - len(kept)
            inside[name] = set(kept)
    assert fallen > 10
    assert returned > 10


@pytest.mark.kernels
@pytest.mark.long
def test_trades_of_an_order_are_one_frame_and_quotes_follow_the_trigger() -> None:
    venue = Venue()
    venue.want("@trade", "@ticker-bbo", "@ticker-trades")
    trades: defaultdict[str, list[int]] = defaultdict(list)
    quotes: dict[str, list[Any]] = {"bbo": [], "trades": []}
    volume: defaultdict[str, Decimal] = defaultdict(Decimal)
    worth: defaultdict[str, Decimal] = defaultdict(Decimal)
    several = 0
    for stream, frame in venue.until(10_000 * MS):
        entries = json.loads(frame, parse_float=Decimal)["data"]
        symbol, _, channel = stream.partition("@")
        if channel == "trade":
            several += len(entries) > 1
            for key in ("side", "ord_type", "timestamp", "symbol"):
                assert len({entry[key] for entry in entries}) == 1
            trades[symbol] += [entry["trade_id"] for entry in entries]
            volume[symbol] += sum(entry["qty"] for entry in entries)
            worth[symbol] += sum(entry["qty"] * entry["price"] for entry in entries)
            last = entries[-1]
            continue
        (entry,) = entries
        quotes[channel.removeprefix("ticker-")].append(entry)
        assert entry["bid"] < entry["ask"]
        assert entry["low"] <= entry["last"] <= entry["high"]
        assert entry["volume"] == volume[symbol]
        if volume[symbol]:
            assert float(entry["vwap"]) == pytest.approx(float(worth[symbol] / volume[symbol]), rel=0.05)
        if channel == "ticker-trades":
            assert (entry["last"], entry["timestamp"]) == (last["price"], last["timestamp"])
    assert several > 5
    assert len(quotes["trades"]) > 20
    assert len(quotes["bbo"]) > len(quotes["trades"])
    for ids in trades.values():
        assert ids == list(range(ids[0], ids[0] + len(ids)))


@pytest.mark.kernels
@pytest.mark.long
def test_a_feed_s_fast_path_takes_every_update() -> None:
    venue = Venue()
    venue.want("@trade", "@ticker-bbo", "@book-100")
    for symbol in range(len(SYMBOLS)):
        venue.book(symbol, 100)
    symbols = SymbolTable()
    for slot, symbol in enumerate(SYMBOLS):
        symbols.add(symbol, slot)
    state = np.zeros((len(SYMBOLS), STATE_COLUMNS), np.int64)
    state[:, :3] = 1, 8, 8
    state[:, [LAST_TRADE, LAST_QUOTE]] = NONE
    reader = ShapeReader(Shapes(SHAPES), symbols, state)
    batch = TickBatch()
    given: Counter[int] = Counter()

    def refer(frame: bytes, ts_recv: int) -> None:
        raise AssertionError(frame)

    def give(number: int, slot: int, rows: Any, values: list[int], ts_recv: int) -> None:
        given[number] += 1

    sent = Counter[str]()
    for _, text in venue.until(4_000 * MS):
        reader.read((text,), 1, batch, refer, give)
        sent[json.loads(text)["channel"]] += 1
    assert {name: count for name, count in reader.taken.items() if count} == sent
    assert given[BOOK_EVENT] == sent["book"]
    assert min(sent.values()) > 10


@st.composite
def frame_rows(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    count = draw(st.integers(1, 4))
    rows = np.zeros(count, FRAME)
    for name in FRAME.names or ():
        rows[name] = draw(st.lists(st.integers(0, 10**9), min_size=count, max_size=count))
    for name in ("change", "percent"):
        rows[name] *= draw(st.sampled_from([1, -1]))
    rows["kind"], rows["symbol"] = draw(st.integers(0, KINDS - 1)), draw(st.integers(0, 2))
    rows["time"] = draw(st.integers(0, 4 * 10**17))
    for name in ("maker", "limit"):
        rows[name] = draw(st.integers(0, 1))
    rows["run"], rows["levels"] = count, 1
    rows["bids"], rows["asks"] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    levels = draw(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=6, max_size=6))
    return rows[: count if rows[0]["kind"] == 0 else 1], np.array(levels, np.int64)


@pytest.mark.kernels
@settings(max_examples=60)
@given(data=frame_rows())
def test_the_kernel_prints_what_plain_python_prints(data: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    rows, levels = data
    instruments = KrakenPrinter(SYMBOLS).instruments
    made, decimals = templates(STYLE, update_shapes, instruments), decimals_of(instruments)
    times = {"sent_ns": 0, "origin_ns": ORIGIN_NS, "unit_ns": 1}
    batch = Renderer(made, decimals).batch(rows, levels, **times)
    assert batch.messages == 1
    text = render_one(made, decimals, rows, levels, **times)
    assert batch.payload(0).decode() == text
    entries = json.loads(text)["data"]
    assert len(entries) == len(rows)
    assert batch.id[0] == rows[-1]["id"]
