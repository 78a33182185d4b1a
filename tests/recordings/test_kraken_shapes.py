"""Kraken's recorded books by shape: every update is taken, and says what json reads."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal

import pytest
from independent import recording
from shape_tools import Bench

from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import PRICE_SCALE, SIZE_SCALE
from tickplant.feeds.venues.kraken.shapes import BOOK_EVENT, SHAPES
from tickplant.records.batch import FLAGS_SHIFT, KIND_SHIFT, PACKED, PRICE, SIDE_SHIFT, SIZE
from tickplant.records.layouts import Flag, Kind, Side

SCALE = 10


def books_of_2021() -> list[bytes]:
    with gzip.open(recording("kraken_v2_books.gz")) as file:
        return [line.partition(b" ")[2].rstrip() for line in file]


def book_of_2026() -> list[bytes]:
    lines = recording("kraken/kraken_btcusd_d10_20260816.first64.ndjson").read_bytes().splitlines()
    return [line.partition(b'"frame": ')[2][:-1] for line in lines if b'"dir": "tx"' not in line and b'"frame"' in line]


@pytest.mark.parametrize(("frames_of", "updates"), [(books_of_2021, 2550), (book_of_2026, 53)])
def test_every_update_of_a_recorded_book_is_taken_and_read_right(frames_of, updates: int) -> None:
    expected, referred, symbols = [], [], []
    for frame in frames_of():
        message = json.loads(frame, parse_float=Decimal, parse_int=Decimal)
        if message.get("channel") != "book" or message["type"] != "update":
            referred.append(frame)
            continue
        for entry in message["data"]:
            symbols += [entry["symbol"]] if entry["symbol"] not in symbols else []
            rows = [
                (Kind.LEVEL, side, level["price"].scaleb(SCALE), level["qty"].scaleb(SCALE))
                for side, name in ((Side.BID, "bids"), (Side.ASK, "asks"))
                for level in entry[name]
            ]
            rows.append((Kind.CHECKSUM, Side.NONE, 0, entry["checksum"]))
            expected.append((entry["symbol"], rows))
    assert len(expected) == updates
    bench = Bench(Shapes(SHAPES), symbols)
    bench.state[:, [PRICE_SCALE, SIZE_SCALE]] = SCALE
    bench.read(*frames_of())
    assert bench.referred == referred
    found = []
    for number, slot, rows, values in bench.given:
        assert number == BOOK_EVENT
        assert values[0] == rows[-1][SIZE]
        assert [row[PACKED] >> FLAGS_SHIFT for row in rows] == [0] * (len(rows) - 1) + [Flag.LAST]
        read = [
            (row[PACKED] >> KIND_SHIFT & 0xFF, row[PACKED] >> SIDE_SHIFT & 0xFF, row[PRICE], row[SIZE]) for row in rows
        ]
        found.append((symbols[slot], read))
    assert found == expected
