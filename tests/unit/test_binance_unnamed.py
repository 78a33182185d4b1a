"""What becomes of frames that do not say plainly what they are: unnamed snapshots, other streams, other fills."""

from __future__ import annotations

import pytest
from binance_tools import SECOND, Desk, Record, diff, snapshot, trade, wrapped
from folded_book import FoldedBook

from tickplant.feeds.venues.binance.unnamed import WAIT_NS
from tickplant.records.layouts import Flag, Kind, Side

UNIT = 10**8


def book_of(symbol: str, records: list[Record]) -> FoldedBook:
    book = FoldedBook(symbol)
    book.apply(records)
    return book


def read(desk: Desk, *lines: dict, ts: int = 0) -> list[Record]:
    """The records of a whole recording, a millisecond between its lines."""
    records = [record for n, line in enumerate(lines) for record in desk.recorded(line, ts + n * 10**6)]
    desk.end()
    records += desk.take()
    counters = desk.adapter.counters
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected
    return records


def depth(symbol: str, first: int, last: int, bids: list, asks: list, **more: int) -> dict:
    return wrapped(f"{symbol.lower()}@depth@100ms", diff(first, last, bids, asks, symbol=symbol, **more))


# Whose snapshot it is.


def test_a_book_that_is_fetched_again_is_not_given_to_another_symbol() -> None:
    desk = Desk()
    records = read(
        desk,
        depth("BTCUSDT", 9000, 9010, [("60000", "1")], [("60001", "1")]),
        snapshot(9010, [("60000", "1")], [("60001", "1")]),
        depth("ETHUSDT", 500, 510, [("2500", "1")], [("2501", "1")]),
        depth("BTCUSDT", 9011, 9020, [("60000", "2")], []),
        snapshot(9020, [("60000", "2")], [("60001", "1")]),
        depth("ETHUSDT", 511, 520, [("2500.5", "4")], []),
        depth("BTCUSDT", 9021, 9030, [("60000", "3")], []),
    )
    btc, eth = (book_of(symbol, records) for symbol in ("BTCUSDT", "ETHUSDT"))
    assert btc.live
    assert btc.levels[Side.BID] == {60000 * UNIT: 3 * UNIT}
    assert not eth.live
    assert len([r for r in records if r.symbol == "ETHUSDT" and r.kind == Kind.LEVEL]) == 3
    assert desk.adapter.counters.rejected == 0


@pytest.mark.parametrize("futures", [False, True])
def test_a_snapshot_that_fits_two_books_by_its_id_is_given_to_none(futures: bool) -> None:
    desk = Desk(futures=futures)
    more = [{"previous": n} if futures else {} for n in (99, 104)]
    records = read(
        desk,
        depth("AAA", 100, 110, [("1", "1")], [], **more[0]),
        depth("BBB", 105, 112, [("1", "1")], [], **more[1]),
        snapshot(108, [("1", "1")], [("2", "1")]),
    )
    assert Kind.CLEAR not in {record.kind for record in records}
    assert [reject.cause for reject in desk.rejects] == ["snapshot of no known symbol"]
    assert len([record for record in records if record.kind == Kind.LEVEL]) == 2


def test_a_snapshot_that_may_be_ahead_of_another_book_is_given_to_none_however_narrow_that_ones_first_diff_was() -> (
    None
):
    desk = Desk()
    records = read(
        desk,
        depth("AAA", 100, 140, [("1", "0")], []),
        depth("AAA", 141, 160, [("1", "0")], []),
        depth("BBB", 131, 131, [("1", "1")], []),
        snapshot(150, [("1", "1")], [("2", "1")]),
    )
    assert Kind.CLEAR not in {record.kind for record in records}
    assert [reject.cause for reject in desk.rejects] == ["snapshot of no known symbol"]


def test_of_two_books_that_a_snapshot_fits_by_its_id_levels_that_agree_prove_one() -> None:
    desk = Desk(futures=True)
    levels = [(str(100 - n), str(n + 1)) for n in range(10)]
    records = read(
        desk,
        depth("AAA", 100, 110, levels, [], previous=99),
        depth("BBB", 101, 111, [("7", "1")], [], previous=100),
        depth("BBB", 112, 120, [("8", "1")], [], previous=111),
        depth("AAA", 111, 121, [("50", "1")], [], previous=110),
        snapshot(115, [*levels, ("50", "1")], [("200", "1")]),
    )
    assert book_of("AAA", records).live
    assert not book_of("BBB", records).live


def test_levels_that_do_not_agree_prove_that_a_snapshot_is_of_another_book() -> None:
    desk = Desk(futures=True)
    records = read(
        desk,
        depth("AAA", 100, 110, [("1", "1")], [], previous=99),
        snapshot(110, [("60000", "1")], [("60001", "1")]),
    )
    assert not book_of("AAA", records).live
    assert "0 agree" in desk.rejects[0].detail


def test_a_snapshot_newer_than_its_diffs_waits_for_them() -> None:
    desk = Desk(futures=True)
    assert desk.recorded(depth("AAA", 100, 110, [("1", "1")], [], previous=99), 0) == []
    assert desk.recorded(snapshot(115, [("1", "1")], [("2", "1")]), 1) == []
    records = desk.recorded(depth("AAA", 111, 120, [("1", "2")], [], previous=110), 2)
    assert book_of("AAA", records).levels == {Side.BID: {UNIT: 2 * UNIT}, Side.ASK: {2 * UNIT: UNIT}}
    assert [record.ts_recv for record in records] == [0, 1, 1, 1, 2]


def test_a_snapshot_that_no_diffs_reach_is_rejected_in_the_end() -> None:
    desk = Desk(futures=True)
    desk.recorded(depth("AAA", 100, 110, [("1", "1")], [], previous=99), 0)
    desk.recorded(snapshot(500, [("1", "1")]), 1)
    assert desk.adapter.counters.rejected == 0
    desk.recorded(depth("AAA", 111, 120, [("1", "2")], [], previous=110), WAIT_NS + 2)
    assert [reject.cause for reject in desk.rejects] == ["snapshot of no known symbol"]


@pytest.mark.parametrize("ident", [50, 105])
def test_a_snapshot_that_is_older_than_the_diffs_or_came_before_them_is_rejected(ident: int) -> None:
    desk = Desk()
    lines = [depth("AAA", 100, 110, [("1", "1")], []), snapshot(ident, [("1", "1")])]
    records = read(desk, *(lines if ident == 50 else lines[::-1]))
    assert not book_of("AAA", records).live
    assert [reject.cause for reject in desk.rejects] == ["snapshot of no known symbol"]


# Partial books without a stream's name.


def test_small_books_that_diffs_do_not_lead_from_one_to_the_next_are_partial() -> None:
    desk = Desk()
    records = read(
        desk,
        diff(100, 110, [("100", "1")], [("101", "1")]),
        snapshot(110, [("100", "1")], [("101", "1")]),
        diff(111, 120, [("100", "0")], []),
        snapshot(120, [("99", "5")], [("101", "1")]),
        diff(121, 130, [("98", "1")], []),
        snapshot(130, [("99", "5")], [("101", "1")]),
    )
    assert not book_of("BNBBTC", records).live
    assert [reject.cause for reject in desk.rejects] == ["partial book of no known symbol"] * 3
    assert len([record for record in records if record.kind == Kind.LEVEL]) == 4


@pytest.mark.parametrize("depth_levels", [5, 10, 20])
def test_a_book_of_just_the_depth_of_a_partial_stream_is_never_a_whole_one(depth_levels: int) -> None:
    desk = Desk()
    bids = [(str(100 - n), "1") for n in range(depth_levels)]
    records = read(desk, diff(100, 110, bids[:1], []), snapshot(110, bids, [("101", "1")]))
    assert not book_of("BNBBTC", records).live
    assert [reject.cause for reject in desk.rejects] == ["partial book of no known symbol"]


def test_a_small_book_that_misses_a_level_of_its_diffs_is_not_whole() -> None:
    desk = Desk()
    records = read(
        desk,
        diff(100, 110, [("100", "1"), ("90", "1")], []),
        snapshot(110, [("100", "1")], [("101", "1")]),
    )
    assert not book_of("BNBBTC", records).live


def test_a_small_book_that_nothing_contradicts_is_taken_at_the_end_or_after_a_while() -> None:
    lines = [diff(100, 110, [("100", "1", [])], []), snapshot(110, [("100", "1", [])], [("101", "1", [])])]
    book = book_of("BNBBTC", read(Desk(), *lines, diff(111, 112, [("99", "1", [])], [])))
    assert book.live
    assert book.levels[Side.BID] == {100 * UNIT: UNIT, 99 * UNIT: UNIT}
    desk = Desk()
    assert [desk.recorded(line, 0) for line in lines] == [[], []]
    assert book_of("BNBBTC", desk.recorded(diff(111, 112, [("99", "1")], []), 3 * SECOND)).live


# Streams and messages.


def test_a_snapshot_that_a_recorder_filed_under_a_streams_name_is_read() -> None:
    desk = Desk()
    named = {"stream": "ethusdt@depthSnapshot", "generated": True, "data": snapshot(105, [("9", "2")], [("10", "2")])}
    records = read(desk, named, depth("ETHUSDT", 104, 106, [("8", "1")], []), depth("ETHUSDT", 107, 108, [], []))
    assert book_of("ETHUSDT", records).live
    assert desk.adapter.counters.parsed == 3


def test_what_looks_like_depth_but_is_another_stream_is_ignored_and_counted_by_kind() -> None:
    desk = Desk(futures=True)
    records = read(
        desk,
        depth("A", 100, 110, [("1", "1")], [], previous=99),
        snapshot(105, [("1", "1")], [("2", "2")]),
        wrapped("a@rpiDepth@500ms", diff(111, 120, [("1", "9")], [], symbol="A", previous=110)),
        wrapped("!miniTicker@arr", [{"e": "24hrMiniTicker", "s": "A"}]),
        depth("A", 111, 112, [("1", "3")], [], previous=110),
    )
    assert book_of("A", records).levels[Side.BID] == {UNIT: 3 * UNIT}
    counters = desk.adapter.counters
    assert counters.ignored_kinds == {"rpiDepth": 1, "!miniTicker": 1}
    assert (counters.ignored, counters.rejected, counters.gaps) == (2, 0, 0)


def test_kinds_are_counted_apart_up_to_a_bound() -> None:
    desk = Desk()
    read(desk, *(wrapped(f"a@kind{n}", {}) for n in range(100)))
    kinds = desk.adapter.counters.ignored_kinds
    assert (len(kinds), sum(kinds.values()), kinds["other"]) == (65, 100, 36)


def test_fills_that_were_not_made_on_the_book_are_counted_by_origin() -> None:
    desk = Desk(futures=True)
    origins = ["MARKET", "NA", "INSURANCE_FUND", "NA", "ADL", "MARKET"]
    records = read(desk, *(trade(n, X=origin) for n, origin in enumerate(origins)), trade(4, X="ADL"))
    assert [(record.venue_seq, record.flags) for record in records] == [(0, Flag.LAST), (5, Flag.LAST)]
    assert desk.adapter.counters.off_book == {"NA": 2, "INSURANCE_FUND": 1, "ADL": 1}
