"""Books of a venue that leaves a checksum out, or sends a number that says nothing in its place."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant.books.checksums import ALGORITHMS, Digits
from tickplant.feeds.kit.book_tracker import Diff, Gap
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.level_rows import checked_rows, without_checksum
from tickplant.feeds.kit.numbers import integer
from tickplant.feeds.kit.rejected import RejectError
from tickplant.instruments import Instrument
from tickplant.records.batch import FLAGS_SHIFT, KIND_SHIFT, PACKED, PRICE, SIDE_SHIFT, SIZE, Rows
from tickplant.records.layouts import Flag, GapCause, Kind, Side

ONE = Instrument(1, "okx", "BTC-USDT", 1, 1)
DIGITS = Digits(1, 1, 1, 1)


class Level:
    def __init__(self, price: str, size: str) -> None:
        self.price, self.size = price, size


def rows(
    bids: dict, asks: dict, checksum: int | None = None, *, snapshot: bool = False, asks_first: bool = False
) -> Rows:
    sides = [[Level(*level) for level in side.items()] for side in (bids, asks)]
    return checked_rows(ONE, *sides, 1, 2, checksum, snapshot=snapshot, asks_first=asks_first)


def kinds(of: Rows) -> list[Kind]:
    return [Kind(word) for word in (of[:, PACKED] >> KIND_SHIFT & 0xFF).tolist()]


def lasts(of: Rows) -> list[bool]:
    return [bool(word) for word in (of[:, PACKED] >> FLAGS_SHIFT & Flag.LAST).tolist()]


def test_rows_without_a_checksum_end_with_a_level() -> None:
    made = rows({"1.5": "2"}, {"1.6": "3"})
    assert (kinds(made), lasts(made)) == ([Kind.LEVEL, Kind.LEVEL], [False, True])
    assert np.array_equal(made, without_checksum(rows({"1.5": "2"}, {"1.6": "3"}, 7)))
    assert len(rows({}, {})) == 0


def test_asks_stand_first_where_the_venue_sends_them_first() -> None:
    made = rows({"1.5": "2"}, {"1.6": "3"}, 7, asks_first=True)
    assert (made[:, PACKED] >> SIDE_SHIFT & 0xFF).tolist() == [Side.ASK, Side.BID, Side.NONE]
    assert (made[:, PRICE].tolist(), made[:, SIZE].tolist()) == ([16, 15, 0], [30, 20, 7])


def test_a_book_goes_on_without_a_checksum_and_is_cut_all_the_same() -> None:
    book = CheckedBook(ALGORITHMS["okx"])
    book.on_snapshot(rows({"1.5": "2"}, {"1.6": "3"}, snapshot=True), DIGITS, 1)
    (event,) = book.on_update(rows({"1.4": "2"}, {}))
    assert isinstance(event, Diff)
    assert (kinds(event.content), lasts(event.content)) == ([Kind.LEVEL, Kind.LEVEL], [False, True])
    assert event.content[:, [PRICE, SIZE]].tolist() == [[14, 20], [14, 0]], "what falls out of the depth is recorded"
    assert book.live
    assert (book.agreed, book.failed) == (0, 0)


def test_a_checksum_that_comes_all_the_same_is_compared() -> None:
    book = CheckedBook(ALGORITHMS["okx"])
    book.on_snapshot(rows({"1.5": "2"}, {"1.6": "3"}, snapshot=True), DIGITS, 400)
    gap, _ = book.on_update(rows({"1.4": "2"}, {}, 7))
    assert isinstance(gap, Gap)
    assert gap.cause == GapCause.CHECKSUM
    (passed,) = book.on_update(rows({"1.4": "3"}, {}))
    assert isinstance(passed, Diff)
    assert kinds(passed.content) == [Kind.LEVEL], "recorded as it comes until the next snapshot"


@pytest.mark.parametrize("text", ["", "01", "-1", "1.0", "1e3", " 1", "1\n", "٣", str(2**63)])
def test_an_integer_within_quotation_marks_is_read_as_a_shape_reads_it(text: str) -> None:
    assert (integer("0"), integer(str(2**63 - 1))) == (0, 2**63 - 1)
    with pytest.raises(RejectError, match="value"):
        integer(text)
