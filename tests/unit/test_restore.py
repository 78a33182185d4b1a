"""From where on stored ticks must be folded so that what follows the stored derived records is exact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tickplant.derive.derivation import Settings
from tickplant.engine.derived_sink import Stored, newest_of
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BAR, BBO, TICK, Flag, Kind, Schema
from tickplant.runtime.child_loop import Stopped
from tickplant.runtime.job_specs import Past
from tickplant.store.reader import Store
from tickplant.store.restore import LOOK_BACK_S, FeedPast, Mark, first_needed, marks
from tickplant.writer import index
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.journal import Journal

SECOND = 10**9
OTHERWISE = 4242
IDS = frozenset({1, 2})
ONE = Settings(bar_s=(1,))


def ticks(clears: dict[int, int], count: int = 5000) -> np.ndarray:
    """One tick a second: trades of instrument 1, but for CLEARs, instrument by seq."""
    made = np.zeros(count, TICK)
    made["seq"] = np.arange(count)
    made["ts_recv"] = made["ts_event"] = 10**18 + np.arange(count) * SECOND
    made["kind"], made["instrument"] = Kind.TRADE, 1
    for seq, instrument in clears.items():
        made["kind"][seq], made["instrument"][seq] = Kind.CLEAR, instrument
    return made


def fill(folder: Path, schema: Schema, producer: str, records: np.ndarray) -> None:
    journal = Journal(folder, schema, producer, rotate_bytes=4000)
    for start in range(0, len(records), 100):
        journal.append(records[start : start + 100])
        journal.flush()
    journal.close()


def derived(dtype: np.dtype[np.void], *rows: dict[str, Any]) -> np.ndarray:
    made = np.zeros(len(rows), dtype)
    made["seq"] = np.arange(len(rows))
    for record, row in zip(made, rows, strict=True):
        record["ts_recv"] = 10**18 + row["source_seq"] * SECOND
        for name, value in row.items():
            record[name] = value
    return made


def mark(instrument: int, source_seq: int, interval_s: int = 0, *, stale: bool = False) -> Mark:
    schema = Schema.BAR if interval_s else Schema.BBO
    return Mark(schema, instrument, interval_s, source_seq, 10**18 + source_seq * SECOND, stale)


def needed(folder: Path, clears: dict[int, int], *stored: Mark, bar_s: tuple[int, ...] = (1, 60)) -> int:
    fill(folder, Schema.TICK, "feed", ticks(clears))
    return first_needed(Store(folder), "engine", "feed", IDS, stored, Settings(bar_s=bar_s), OTHERWISE).first_seq


def test_without_a_stored_record_the_engine_begins_where_its_ring_does(tmp_path: Path) -> None:
    assert needed(tmp_path, {10: 1}) == OTHERWISE


@pytest.mark.parametrize(
    ("clears", "stored", "first"),
    [
        ({10: 1, 900: 1, 3000: 1}, [mark(1, 4990)], 3000),  # the last one until then
        ({10: 1, 900: 1, 3000: 1}, [mark(1, 2999), mark(2, 4990, stale=True)], 900),  # one that comes later is too late
        ({10: 1, 900: 1, 3000: 1}, [mark(1, 3000), mark(2, 4990, stale=True)], 3000),
        ({10: 1, 900: 2}, [mark(1, 4990), mark(2, 4990)], 10),  # the oldest of several instruments
        ({10: 1, 900: 2}, [mark(1, 4990, stale=True), mark(2, 4990)], 900),  # a stale book has no past
        ({10: 1, 900: 2, 1000: 1, 2000: 1}, [mark(1, 500, stale=True), mark(2, 4990)], 900),
        ({10: 1, 600: 1, 900: 2}, [mark(1, 500, stale=True), mark(2, 4990)], 600),  # but perhaps a life after that
    ],
)
def test_a_book_is_folded_from_its_last_snapshot_before_its_last_stored_record(
    tmp_path: Path, clears: dict[int, int], stored: list[Mark], first: int
) -> None:
    assert needed(tmp_path, clears, *stored) == first


def test_bars_are_folded_from_ten_minutes_before_the_last_stored_record(tmp_path: Path) -> None:
    first = needed(tmp_path, {4900: 1}, mark(1, 4950))
    assert 4950 - 600 - 100 <= first <= 4950 - 600


def test_longer_bars_begin_two_of_them_before(tmp_path: Path) -> None:
    first = needed(tmp_path, {4900: 1}, mark(1, 4950, 900), bar_s=(1, 900))
    assert 4950 - 1800 - 100 <= first <= 4950 - 1800


def test_partial_books_are_no_beginning(tmp_path: Path) -> None:
    records = ticks({10: 1, 3000: 1})
    records["flags"][3000] = Flag.PARTIAL
    fill(tmp_path, Schema.TICK, "feed", records)
    beginning = first_needed(Store(tmp_path), "engine", "feed", IDS, [mark(1, 4990)], ONE, OTHERWISE)
    assert (beginning.first_seq, len(beginning.checkpoints)) == (10, 0)


def test_the_marks_are_the_last_records_of_each_series(tmp_path: Path) -> None:
    bbo = [{"instrument": 1 + i % 3, "source_seq": i, "flags": Flag.STALE if i == 999 else 0} for i in range(1000)]
    bars = [{"instrument": 1, "source_seq": i, "interval_s": 1 if i % 60 else 60} for i in range(500)]
    fill(tmp_path, Schema.BBO, "engine", derived(BBO, *bbo))
    fill(tmp_path, Schema.BAR, "engine", derived(BAR, *bars))
    found = marks(Store(tmp_path), "engine", frozenset({1, 2, 4}), Settings(bar_s=(1, 60)))
    assert sorted(found, key=lambda mark: (mark.series, mark.instrument)) == [
        mark(1, 999, stale=True),
        mark(2, 997),
        mark(1, 499, 1),
        mark(1, 480, 60),
    ]


def test_a_series_that_ended_days_ago_is_not_looked_for(tmp_path: Path) -> None:
    rows = [{"instrument": 1, "source_seq": 0}] * 100 + [{"instrument": 2, "source_seq": LOOK_BACK_S + 1}]
    fill(tmp_path, Schema.BBO, "engine", derived(BBO, *rows))
    assert marks(Store(tmp_path), "engine", frozenset({1, 2}), Settings()) == [mark(2, LOOK_BACK_S + 1)]


def test_records_are_stored_once_whatever_is_made_again() -> None:
    stored = Stored(Schema.BAR)
    stored.know(1, 1, 10)
    stored.know(1, 1, 5)
    bars = derived(BAR, *({"instrument": i, "interval_s": s, "source_seq": q} for i, s, q in MADE))
    missing = stored.missing(bars)
    assert missing[["instrument", "interval_s", "source_seq"]].tolist() == [(1, 60, 10), (1, 1, 11), (900, 1, 3)]
    assert len(stored.missing(bars)) == 0
    assert newest_of(Schema.BAR, bars) == {(1, 1): 11, (1, 60): 10, (900, 1): 3}
    assert newest_of(Schema.BBO, derived(BBO, {"instrument": 7, "source_seq": 9})) == {(7, 0): 9}


MADE = ((1, 1, 9), (1, 1, 10), (1, 60, 10), (1, 1, 11), (900, 1, 3))


def test_who_scans_a_store_is_called_back_meanwhile_and_may_end_the_scan(tmp_path: Path) -> None:
    """Else an engine would be killed as silent, and its successor as well, for as long as the store is large."""
    fill(tmp_path, Schema.TICK, "feed", ticks({7: 1, 8: 2}))
    fill(tmp_path, Schema.BBO, "engine", derived(BBO, {"instrument": 1, "source_seq": 4990}))
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "AAA", 8, 8)
    calls: list[int] = []
    whole = Store(tmp_path, while_reading=lambda: calls.append(0))
    beginning, stored = FeedPast(whole, "engine", "feed", Past("venue"), list, ONE).beginning(0)
    assert (beginning.first_seq, stored) == (7, [mark(1, 4990)])
    assert len(calls) > 5
    for number in (0, len(calls) // 2, len(calls) - 1):
        left = iter(range(number))

        def meanwhile(left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Stopped

        store = Store(tmp_path, while_reading=meanwhile)
        with pytest.raises(Stopped):
            FeedPast(store, "engine", "feed", Past("venue"), list, ONE).beginning(0)


def test_a_restore_is_called_back_before_each_chunk_that_it_decodes_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, Schema.TICK, "feed", ticks({7: 1, 8: 2}))
    fill(tmp_path, Schema.BBO, "engine", derived(BBO, *({"instrument": 1, "source_seq": 4000 + i} for i in range(900))))
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "AAA", 8, 8)
    for path in tmp_path.rglob("*.tpx"):
        path.unlink()  # so that the files have to be scanned, too
    since = 0  # chunks read or decoded since it was called back
    most, decoded = 0, 0

    def meanwhile() -> None:
        nonlocal since
        since = 0

    def counted(found: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal since, most, decoded
            since, decoded = since + 1, decoded + 1
            most = max(most, since)
            return found(*args, **named)

        return call

    monkeypatch.setattr(ChunkDecoder, "decode", counted(ChunkDecoder.decode))
    monkeypatch.setattr(index, "read_chunk", counted(index.read_chunk))
    past = FeedPast(Store(tmp_path, while_reading=meanwhile), "engine", "feed", Past("venue"), list, ONE)
    beginning, _ = past.beginning(0)
    assert sum(len(records) for records in past.ticks(beginning.first_seq)) == 5000 - beginning.first_seq
    assert decoded > 100
    assert most == 1


def test_the_instruments_of_a_feed_are_those_it_ever_had_and_those_that_have_come(tmp_path: Path) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    ids = [table.register(venue, symbol, 8, 8).id for venue in ("venue", "other") for symbol in ("AAA", "BBB", "CCC")]
    for symbols, seen, expected in ((("aaa",), [ids[1]], ids[:2]), ((), [], ids[:3])):
        past = FeedPast(Store(tmp_path), "engine", "feed", Past("venue", symbols), lambda seen=seen: seen, ONE)
        assert past.ids() == frozenset(expected)
