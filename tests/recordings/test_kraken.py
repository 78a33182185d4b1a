"""Kraken's adapter on real books, and on the golden messages with the state that must follow from each."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folded_book import FoldedBook
from independent import recording
from kraken_tools import KrakenDesk

from tickplant.books.checksums import checks_orders
from tickplant.books.fold import wrong_checksums
from tickplant.books.order_books import OrderBooks
from tickplant.feeds.kit.order_ids import order_id
from tickplant.feeds.venues.kraken import messages
from tickplant.records.layouts import Flag, GapCause, Kind, Side

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "kraken.jsonl"
SCALE = 9  # the finest of the recorded pairs


def books_of_2021() -> Iterator[tuple[int, bytes]]:
    with gzip.open(recording("kraken_v2_books.gz")) as file:
        for line in file:
            time_ns, _, frame = line.rstrip(b"\n").partition(b" ")
            yield int(time_ns), frame


def books_of_2026() -> Iterator[tuple[int, bytes]]:
    # Of another tool: one JSON object a line, the frame in it as it came.
    with recording("kraken/kraken_btcusd_d10_20260816.first64.ndjson").open("rb") as file:
        for line in file:
            received = re.match(rb'\{"rx_ns": (\d+), "frame": (.*)\}\s*\Z', line)
            if received is not None:
                yield 1_786_923_422_000_000_000 + int(received[1]), received[2]


RECORDINGS = {"2021": (books_of_2021, 2560), "2026": (books_of_2026, 54)}


@pytest.fixture(params=[True, False], ids=["shapes", "reference"])
def shapes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_checksum_of_a_recording_passes_and_its_records_fold_to_the_same_books(name: str, shapes: bool) -> None:
    frames, checksums = RECORDINGS[name]
    desk = KrakenDesk(scale=SCALE, use_shapes=shapes)
    parts = []
    for time_ns, frame in frames():
        desk.frames("", [frame], time_ns)
        parts.append(desk.take_ticks())
    ticks = np.concatenate(parts)
    counters = desk.adapter.counters
    assert (counters.checksums_ok, counters.checksums_failed, counters.gaps, counters.rejected) == (checksums, 0, 0, 0)
    assert (ticks["kind"] == Kind.CHECKSUM).sum() == checksums
    for instrument in desk.instruments:
        own = ticks[ticks["instrument"] == instrument.id]
        assert [*wrong_checksums([own], instrument)] == []


def with_one_digit_changed(frame: bytes, folds: dict[str, FoldedBook]) -> tuple[str, bytes]:
    """The symbol and the frame with another size at a bid among the best ten; as it is where there is none."""
    (entry,) = json.loads(frame, parse_float=str)["data"]
    best = sorted(folds[entry["symbol"]].levels[Side.BID], reverse=True)[:10]
    for level in entry["bids"]:
        if Decimal(level["qty"]) and Decimal(level["price"]).scaleb(SCALE) >= best[-1]:
            size = level["qty"].encode()
            other = size[:-1] + (b"%d" % ((size[-1] - 47) % 10))
            old = b'"price":%s,"qty":%s' % (level["price"].encode(), size)
            return entry["symbol"], frame.replace(old, old[: -len(size)] + other)
    return "", frame


@pytest.mark.parametrize("name", RECORDINGS)
def test_one_digit_of_one_update_changed_resyncs_that_pair_and_only_that_pair(name: str, shapes: bool) -> None:
    frames, checksums = RECORDINGS[name]
    desk = KrakenDesk(scale=SCALE, use_shapes=shapes)
    changed, records = "", []
    folds: dict[str, FoldedBook] = {}
    for time_ns, original in frames():
        frame = original
        if not changed and len(records) > 5000 * (checksums > 100) and b'"type":"update"' in frame:
            changed, frame = with_one_digit_changed(frame, folds)
        desk.frames("", [frame], time_ns)
        new = desk.take()
        records += new
        for record in new:
            folds.setdefault(record.symbol, FoldedBook(record.symbol)).apply([record])
    gaps = [record for record in records if record.kind is Kind.GAP]
    assert [(gap.symbol, gap.price, gap.flags) for gap in gaps] == [
        (changed, GapCause.CHECKSUM, Flag.ON_BOOK | Flag.LAST)
    ]
    counters = desk.adapter.counters
    assert counters.checksums_failed == 1
    assert {symbol for symbol, fold in folds.items() if not fold.live and symbol != "*"} == {changed}
    assert counters.checksums_ok < checksums


def test_the_recorded_book_of_orders_has_the_venues_checksum_and_its_queues(shapes: bool) -> None:
    # Prices stand as text in this one.
    text = recording("kraken/kraken_level3_snapshot_2024-01-08.json").read_bytes()
    desk = KrakenDesk(scale=SCALE, use_shapes=shapes)
    desk.record(text, 1)
    ticks = desk.take_ticks()
    counters = desk.adapter.counters
    assert (counters.checksums_ok, counters.checksums_failed, counters.rejected) == (1, 0, 0)
    (book,) = json.loads(text)["data"]
    orders = ticks[ticks["kind"] == Kind.ORDER_ADD]
    expected = [
        (order_id(one["order_id"]), int(Decimal(one["limit_price"]).scaleb(SCALE)), side)
        for side, name in ((Side.BID, "bids"), (Side.ASK, "asks"))
        for one in book[name]
    ]
    assert len(expected) == 35
    assert orders[["order_id", "price", "side"]].tolist() == expected
    assert int(ticks["size"][-1]) == book["checksum"] == 1063832831
    (instrument,) = [row for row in desk.instruments if row.symbol == "BTC/USD"]
    books = OrderBooks()
    books.apply(ticks)
    sides = [books.orders(instrument.id, side, 10) for side in (Side.BID, Side.ASK)]
    rows = [np.stack([side["price"], side["size"]], axis=1) for side in sides]
    assert checks_orders(ticks[-1], instrument, *rows) is True
    rows[0][0, 1] += 1
    assert checks_orders(ticks[-1], instrument, *rows) is False


def golden() -> list[dict[str, Any]]:
    if not GOLDEN.exists():
        pytest.skip("the golden messages are not beside the project")
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def plain(message: messages.Message) -> list[dict[str, Any]]:
    """A message as the golden file has it."""

    def sides(book: messages.Book) -> dict[str, Any]:
        return {
            name: [[level.price, level.size] for level in levels]
            for name, levels in (("bids", book.bids), ("asks", book.asks))
        }

    match message:
        case messages.Trades():
            return [
                {"kind": "trade", "symbol": one.symbol, "ts_event_ns": one.time, "price": one.price, "qty": one.size}
                | {"side": one.side, "id": one.id}
                | ({"flags": ["backfill"]} if message.snapshot else {})
                for one in message.trades
            ]
        case messages.Quotes():
            return [
                {"kind": "bbo", "symbol": one.symbol, "ts_event_ns": one.time or None, "bid_price": one.bid[0]}
                | {"bid_qty": one.bid[1], "ask_price": one.ask[0], "ask_qty": one.ask[1]}
                for one in message.quotes
            ]
        case messages.Books():
            return [
                {"kind": "snapshot" if one.snapshot else "diff", "symbol": one.symbol, "ts_event_ns": one.time or None}
                | sides(one)
                | {"checksum": one.checksum}
                for one in message.books
            ]
        case messages.Pairs():
            return [{"kind": "status", "symbol": one.symbol, "status": one.status} for one in message.pairs]
        case messages.Status():
            return [{"kind": "status", "symbol": None, "status": message.system}]
        case messages.Answer():
            return [{"kind": "ack" if message.success else "error", "symbol": message.symbol or None}]
        case messages.Ignored():
            return [{"kind": "heartbeat", "symbol": None}]


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Numbers by value, exponents expanded; what no decoder of ours reads is left out."""
    known = {"kind", "symbol", "price", "qty", "side", "id", "flags", "status", "checksum", "ts_event_ns"}
    known |= {"bid_price", "bid_qty", "ask_price", "ask_qty", "bids", "asks"}
    left = {"ack": {"id", "ts_event_ns"}, "error": {"id", "ts_event_ns"}, "heartbeat": {"id", "ts_event_ns"}}
    left["status"] = {"ts_event_ns"}
    record = {name: value for name, value in record.items() if name in known - left.get(record["kind"], set())}
    for name in ("price", "qty", "bid_price", "bid_qty", "ask_price", "ask_qty"):
        if name in record:
            record[name] = Decimal(record[name])
    for name in ("bids", "asks"):
        if name in record:
            record[name] = [[Decimal(number) for number in level] for level in record[name]]
    return record


def test_the_reference_decoder_reads_the_golden_messages_as_expected() -> None:
    for line in golden():
        found = [comparable(record) for record in plain(messages.decode(line["raw"].encode()))]
        expected = [comparable(record) for record in line["expect"]]
        by_id = [sorted(some, key=lambda record: record.get("id", 0)) for some in (found, expected)]
        for mine, theirs in zip(*by_id, strict=True):
            if "checksum" not in theirs:
                mine.pop("checksum", None)
            assert mine == theirs, line["raw"]


def test_the_conclusions_of_the_golden_file_hold_when_it_is_fed_in_order(shapes: bool) -> None:
    desk = KrakenDesk(("BTC/USD", "ETH/BTC", "USDC/USD"), use_shapes=shapes)
    desk.begin()
    desk.take()
    desk.actions.clear()
    folds = {symbol: FoldedBook(symbol) for symbol in desk.symbols or ()}
    for line in golden():
        before = desk.adapter.counters
        records = desk.feed(line["raw"])
        after, state = desk.adapter.counters, line.get("state", {})
        symbol = line["expect"][0]["symbol"] if line["expect"] else None
        for fold in folds.values():
            fold.apply(records)
        if "checksum_ok" in state:
            assert after.checksums_ok - before.checksums_ok == state["checksum_ok"], line["note"]
            assert after.checksums_failed - before.checksums_failed == (not state["checksum_ok"])
            assert folds[symbol].live == state["checksum_ok"]
        if state.get("checksum_ok"):
            for side, name, best in (
                (Side.BID, "best_bid", folds[symbol].best_bid),
                (Side.ASK, "best_ask", folds[symbol].best_ask),
            ):
                expected = state[name] and tuple(int(Decimal(number).scaleb(8)) for number in state[name])
                assert best == expected, (name, line["note"])
                del side
            assert [len(folds[symbol].levels[side]) for side in (Side.BID, Side.ASK)] == state["levels"]
        if state.get("action") == "resync":
            assert [json.loads(action.payload)["method"] for action in desk.actions] == ["unsubscribe", "subscribe"]
            assert all(json.loads(action.payload)["params"]["symbol"] == [symbol] for action in desk.actions)
            desk.actions.clear()
        if state.get("action") == "dedupe":
            assert after.duplicates - before.duplicates == len(state["duplicate"])
            (gap,) = [record for record in records if record.kind is Kind.GAP]
            missing = set(range(gap.order_id + 1, gap.venue_seq)) - {
                record.venue_seq for record in records if record.kind is Kind.TRADE
            }
            assert sorted(missing) == state["missing"]
    assert desk.adapter.counters.rejected == 2  # the refusals
