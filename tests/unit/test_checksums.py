"""Checksums of books: the venues' published examples, and the digits that count."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tickplant.books.checksums import (
    ALGORITHMS,
    BookChecksum,
    Digits,
    checks,
    pack_decimals,
    unpack_decimals,
)
from tickplant.books.depth_book import DepthBook
from tickplant.books.fold import wrong_checksums
from tickplant.instruments import Instrument, to_mantissa
from tickplant.records.batch import TickBatch
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Side

pytestmark = pytest.mark.kernels

# The worked example of Kraken's checksum guide.
KRAKEN_ASKS = """45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660
45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"""
KRAKEN_BIDS = """45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586
45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"""
KRAKEN = 3310070434


def levels(text: str, price_scale: int = 8, size_scale: int = 8) -> np.ndarray:
    numbers = text.split()
    prices = [to_mantissa(number, price_scale) for number in numbers[::2]]
    sizes = [to_mantissa(number, size_scale) for number in numbers[1::2]]
    return np.array(list(zip(prices, sizes, strict=True)), np.int64).reshape(-1, 2)


@pytest.mark.parametrize(("price_scale", "size_scale"), [(1, 8), (8, 8), (12, 10)])
def test_krakens_example_at_any_scale_of_the_integers(price_scale: int, size_scale: int) -> None:
    checksum = BookChecksum(ALGORITHMS["kraken"], Digits(price_scale, size_scale, 1, 8))
    bids, asks = levels(KRAKEN_BIDS, price_scale, size_scale), levels(KRAKEN_ASKS, price_scale, size_scale)
    assert checksum.of_levels(bids, asks) == KRAKEN
    deeper = np.concatenate([bids, [[1, 1]]]), np.concatenate([asks, [[10**18, 1]]])
    assert checksum.of_levels(*deeper) == KRAKEN, "the best ten count"
    assert checksum.of_levels(asks, bids) != KRAKEN


def test_a_book_gives_the_checksum_of_its_best_levels() -> None:
    checksum = BookChecksum(ALGORITHMS["kraken"], Digits(8, 8, 1, 8))
    book = DepthBook(10)
    sides = [(Side.BID, KRAKEN_BIDS), (Side.ASK, KRAKEN_ASKS)]
    book.snapshot(np.concatenate([np.insert(levels(text), 0, side, axis=1) for side, text in sides])[::-1].copy())
    assert checksum.of_book(book) == KRAKEN
    book.update(np.array([[Side.BID, levels(KRAKEN_BIDS)[3, 0], 0]]))
    assert checksum.of_book(book) not in (KRAKEN, None)


def test_an_empty_side_contributes_nothing() -> None:
    checksum = BookChecksum(ALGORITHMS["kraken"], Digits(6, 8, 6, 8))
    nothing = levels("")
    assert checksum.of_levels(nothing, nothing) == 0
    assert checksum.of_levels(nothing, levels("0.031357 0.00000001", 6)) == zlib.crc32(b"313571")


def test_a_number_with_more_decimals_than_the_wire_has_no_checksum() -> None:
    checksum = BookChecksum(ALGORITHMS["kraken"], Digits(8, 8, 1, 8))
    assert checksum.of_levels(levels("45283.55 1"), levels("")) is None
    assert checksum.of_levels(levels(""), levels("45283.5 1 45283.55 1")) is None
    okx = BookChecksum(ALGORITHMS["okx"], Digits(8, 8, 0, 0))
    assert okx.of_levels(levels("45283.55 1"), levels("")) is not None, "no decimals are stated there"


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [
        ("3366.1 7 3366 6", "3366.8 9 3368 8", -1881014294),
        ("3366.1 7", "3366.8 9 3368 8 3372 8", 831078360),
    ],
)
def test_okxs_examples(bids: str, asks: str, expected: int) -> None:
    for scale in (1, 8):
        checksum = BookChecksum(ALGORITHMS["okx"], Digits(scale, scale, 0, 0))
        assert checksum.of_levels(levels(bids, scale, scale), levels(asks, scale, scale)) == expected


def test_bitget_keeps_the_zeros_that_okx_leaves_out() -> None:
    digits = Digits(8, 8, 1, 4)
    bids, asks = levels("100 0.5"), levels("")
    assert BookChecksum(ALGORITHMS["bitget"], digits).of_levels(bids, asks) == zlib.crc32(b"100.0:0.5000")
    assert BookChecksum(ALGORITHMS["okx"], digits).of_levels(bids, asks) == zlib.crc32(b"100:0.5") - 2**32, "signed"


def test_decimals_have_their_bounds() -> None:
    with pytest.raises(ValueError, match="decimals are 0 to 18"):
        BookChecksum(ALGORITHMS["kraken"], Digits(8, 8, 1, 19))


def record(number: int, price: int, size: int) -> np.void:
    tick = np.zeros(1, TICK)
    tick["kind"], tick["size"], tick["order_id"] = Kind.CHECKSUM, number, pack_decimals(price, size)
    return tick[0]


def test_a_stored_checksum_can_be_checked_from_the_record_and_the_folded_book() -> None:
    row = Instrument(id=1, venue="kraken", symbol="BTC/USD", price_scale=8, size_scale=8)
    bids, asks = levels(KRAKEN_BIDS), levels(KRAKEN_ASKS)
    assert unpack_decimals(pack_decimals(1, 8)) == (1, 8)
    assert checks(record(KRAKEN, 1, 8), row, bids, asks) is True
    assert checks(record(KRAKEN + 1, 1, 8), row, bids, asks) is False
    assert checks(record(KRAKEN, 2, 8), row, bids, asks) is False, "the wire's decimals count"
    assert checks(record(KRAKEN, 0, 8), row, bids, asks) is False
    assert checks(record(KRAKEN, 200, 8), row, bids, asks) is None
    other = Instrument(id=1, venue="binance", symbol="BTCUSDT", price_scale=8, size_scale=8)
    assert checks(record(KRAKEN, 1, 8), other, bids, asks) is None


def test_the_checksums_that_disagree_with_the_stored_book_are_found() -> None:
    row = Instrument(id=7, venue="kraken", symbol="BTC/USD", price_scale=8, size_scale=8)
    batch = TickBatch()
    batch.add(Kind.CLEAR, 7)
    for side, text in ((Side.BID, KRAKEN_BIDS), (Side.ASK, KRAKEN_ASKS)):
        for price, size in levels(text).tolist():
            batch.add(Kind.LEVEL, 7, price=price, size=size, side=side)
    best = int(levels(KRAKEN_BIDS)[0, 0])
    for size, number in ((0, KRAKEN), (7, KRAKEN + 1), (0, 0)):  # what the best bid becomes after a checksum
        batch.add(Kind.CHECKSUM, 7, size=number, order_id=pack_decimals(1, 8), venue_seq=number, flags=Flag.LAST)
        batch.add(Kind.LEVEL, 7, price=best, size=size, side=Side.BID)
        batch.add(Kind.CHECKSUM, 8, size=1, flags=Flag.LAST)
    batch.add(Kind.GAP, 7, price=GapCause.CHECKSUM, flags=Flag.ON_BOOK | Flag.LAST)
    batch.add(Kind.CHECKSUM, 7, size=1, flags=Flag.LAST)
    ticks = batch.take()
    for cuts in ([], [3], [22, 23, 24, 25]):
        wrong = wrong_checksums(np.split(ticks, cuts), row)
        assert [int(record["venue_seq"]) for record in wrong] == [KRAKEN + 1, 0]
    assert not list(wrong_checksums([ticks], Instrument(7, "binance", "BTCUSDT", 8, 8)))
