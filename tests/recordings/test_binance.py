"""The Binance recordings through the adapter, against a second reading of them with json and Decimal alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import zstandard
from binance_tools import Desk

from tickplant.feeds.venues.binance.venue import COINM, SPOT, USDM
from tickplant.records.layouts import TICK, Flag, Kind, Side

pytestmark = [pytest.mark.long, pytest.mark.no_cover]  # half a million ticks in plain Python; measured in smaller tests

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SCALE = 8

RECORDINGS = {
    "spot": (
        "binance_spot_btcusdt_20240808.gz",
        {"trade": 9757, "quote": 2 * 28040, "level": 124090 + 2000, "clear": 1},
    ),
    "usdm": (
        "binance_usdm_btcusdt_20240808.gz",
        {"trade": 21313, "quote": 2 * 66089, "level": 443521 + 2000, "clear": 1},
    ),
    "coinm": (
        "hftbacktest/binance-coinm-btcusd_perp_20240808.first8000.zst",
        {"trade": 238, "quote": 2 * 3537, "level": 48154 + 2000, "clear": 1},
    ),
}
FRAMES = {"spot": 41249, "usdm": 93954, "coinm": 8000}
SYMBOLS = {"spot": "BTCUSDT", "usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}
RULES = {"spot": SPOT, "usdm": USDM, "coinm": COINM}
TOUCHES = {"spot": 564, "usdm": 629, "coinm": 161}


def read_lines(name: str) -> Iterator[tuple[int, bytes]]:
    path = DATA / RECORDINGS[name][0]
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not beside the project")
    for line in unpacked(path).splitlines():
        time_ns, _, body = line.partition(b" ")
        yield int(time_ns), body


def unpacked(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


@pytest.fixture(scope="module", params=list(RECORDINGS))
def recorded(request: pytest.FixtureRequest) -> tuple[str, Desk, np.ndarray]:
    """A recording's name, the adapter that has read it line by line, and all its ticks."""
    desk = Desk(rules=RULES[request.param], scale=SCALE)
    chunks = []
    for ts, body in read_lines(request.param):
        desk.record(body, ts)
        chunks.append(desk.take_ticks().copy())
    return request.param, desk, np.concatenate(chunks)


def scaled(text: str) -> int:
    value = Decimal(text).scaleb(SCALE)
    assert value == int(value)
    return int(value)


def test_every_record_comes_out_and_nothing_is_rejected(recorded: tuple[str, Desk, np.ndarray]) -> None:
    name, desk, ticks = recorded
    counters = desk.adapter.counters
    assert counters.kinds == RECORDINGS[name][1]
    assert counters.frames == counters.parsed == FRAMES[name]
    assert counters.ticks == len(ticks) == sum(counters.kinds.values())
    assert (counters.rejected, counters.ignored, counters.gaps, counters.duplicates, counters.resyncs) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert counters.fallbacks == 2  # the first message of an unknown symbol, and the snapshot
    assert [instrument.symbol for instrument in desk.instruments] == [SYMBOLS[name]]


def test_every_field_equals_an_independent_reading(recorded: tuple[str, Desk, np.ndarray]) -> None:
    name, _, ticks = recorded
    market, book = [], {}  # rows as tuples; those of the book by frame, since held diffs come out later
    for ts, body in read_lines(name):
        message = json.loads(body)
        data = message.get("data", message)
        event = data.get("T", 0) * 1_000_000
        if "lastUpdateId" in data:
            rows = [(event, ts, 0, 0, data["lastUpdateId"], 0, Kind.CLEAR, 0, Flag.SNAPSHOT)]
            rows += levels(data["bids"], data["asks"], event, ts, data["lastUpdateId"], Flag.SNAPSHOT)
            book[ts] = rows
        elif "U" in data:
            event = event or data["E"] * 1_000_000
            book[ts] = levels(data["b"], data["a"], event, ts, data["u"], Flag(0))
        elif "t" in data:
            side = Side.SELL if data["m"] else Side.BUY
            row = (event, ts, scaled(data["p"]), scaled(data["q"]), data["t"], 0, Kind.TRADE, side, Flag.LAST)
            market += [row] if data.get("X", "MARKET") == "MARKET" else []
        else:
            market += [
                (event, ts, scaled(data["b"]), scaled(data["B"]), data["u"], 0, Kind.QUOTE, Side.BID, 0),
                (event, ts, scaled(data["a"]), scaled(data["A"]), data["u"], 0, Kind.QUOTE, Side.ASK, Flag.LAST),
            ]
    fields = ["ts_event", "ts_recv", "price", "size", "venue_seq", "order_id", "kind", "side", "flags"]
    on_book = np.isin(ticks["kind"], [Kind.LEVEL, Kind.CLEAR])
    assert ticks[~on_book][fields].tolist() == market
    # Within a frame the order is that of the wire; frames of the book are told apart by their receive time.
    by_frame: dict[int, list[tuple]] = {}
    for row in ticks[on_book][fields].tolist():
        by_frame.setdefault(row[1], []).append(row)
    assert by_frame == {ts: rows for ts, rows in book.items() if rows}
    assert (ticks["instrument"] == 1).all()
    assert (ticks["seq"] == 0).all()


def levels(bids: list, asks: list, event: int, ts: int, ident: int, flags: Flag) -> list[tuple]:
    rows = [
        (event, ts, scaled(price), scaled(size), ident, 0, Kind.LEVEL, side, flags)
        for side, entries in ((Side.BID, bids), (Side.ASK, asks))
        for price, size in entries
    ]
    if rows:
        rows[-1] = (*rows[-1][:-1], flags | Flag.LAST)
    return rows


def test_the_book_of_the_records_equals_a_book_kept_by_the_venues_procedure(
    recorded: tuple[str, Desk, np.ndarray],
) -> None:
    name, _, ticks = recorded
    truth = venue_books(name)
    bests = {}  # update id -> best bid and ask as the venue's bookTicker says
    for _, body in read_lines(name):
        data = json.loads(body).get("data", {})
        if "B" in data:
            bests[data["u"]] = tuple(scaled(data[key]) for key in "bBaA")
    sides: dict[int, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
    live = False
    compared = touched = 0
    for kind, side, price, size, ident, flags in ticks[
        ["kind", "side", "price", "size", "venue_seq", "flags"]
    ].tolist():
        if kind == Kind.CLEAR:
            sides = {Side.BID: {}, Side.ASK: {}}
            live = True
        elif kind == Kind.LEVEL and live:
            if size:
                sides[side][price] = size
            else:
                sides[side].pop(price, None)
            if flags & Flag.LAST:
                best = tuple(best_of(sides))
                assert (ident, best, len(sides[Side.BID]), len(sides[Side.ASK])) == next(truth)
                compared += 1
                if ident in bests:
                    assert bests[ident] == best
                    touched += 1
    assert next(truth, None) is None
    assert touched == TOUCHES[name]
    assert compared > 3000


def venue_books(name: str) -> Iterator[tuple]:
    """Best levels and number of levels after the snapshot and after each diff, as the venue tells to keep a book."""
    futures = name != "spot"
    held, book, last = [], None, None
    for _, body in read_lines(name):
        message = json.loads(body)
        data = message.get("data", message)
        if "lastUpdateId" in data:
            book, last = {"b": {}, "a": {}}, data["lastUpdateId"]
            put(book, data["bids"], data["asks"])
            yield (last, tuple(best_of(book)), len(book["b"]), len(book["a"]))
            events = [event for event in held if event["u"] >= last + (not futures)]
            assert events[0]["U"] <= last + (not futures) <= events[0]["u"]
        elif "U" in data:
            held += [data] if book is None else []
            events = [data]
        else:
            continue
        for event in events if book is not None else []:
            put(book, event["b"], event["a"])
            if event["b"] or event["a"]:
                yield (event["u"], tuple(best_of(book)), len(book["b"]), len(book["a"]))


def put(book: dict, bids: list, asks: list) -> None:
    for side, entries in (("b", bids), ("a", asks)):
        for price, size in entries:
            book[side][scaled(price)] = scaled(size)
            if not scaled(size):
                del book[side][scaled(price)]


def best_of(sides: dict) -> Iterator[int]:
    (bids, asks) = sides.values()
    yield from (max(bids), bids[max(bids)], min(asks), asks[min(asks)])


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_scanner_in_batches_records_what_the_reference_decoder_records_frame_by_frame(name: str) -> None:
    frames = list(read_lines(name))[:20_000]
    outputs = []
    for use_shapes in (True, False):
        desk = Desk(rules=RULES[name], scale=SCALE, use_shapes=use_shapes)
        chunks = []
        for start in range(0, len(frames), 64):
            part = frames[start : start + 64]
            desk.frames("", [body for _, body in part], part[0][0])
            chunks.append(desk.take_ticks().copy())
        ticks = np.concatenate(chunks)
        assert ticks.dtype == TICK
        outputs.append(ticks.tobytes())
    assert outputs[0] == outputs[1]
