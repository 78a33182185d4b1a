"""What is stored is held against the accounts in it: whatever is altered, left out or added shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_records import START_NS, make_ticks

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Schema, StatusCode
from tickplant.store.reconcile import FeedSummary, Reconciliation
from tickplant.store.verify import verify
from tickplant.writer.journal import Journal

Records = np.ndarray[Any, Any]
DAY_NS = 86_400 * 10**9
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


class Feed:
    """A feed's stream, made by arithmetic."""

    def __init__(self, first_seq: int = 0) -> None:
        self.parts: list[Records] = []
        self.next_seq = first_seq
        self.begin()

    def begin(self) -> None:
        """Another life."""
        self.began, self.made, self.dropped = self.next_seq, 0, 0
        self.frames = np.zeros(3, np.int64)

    def ticks(self, count: int, rejected: int = 0) -> None:
        self._add(make_ticks(count, first_seq=self.next_seq))
        self.frames += (count + rejected, count, rejected)

    def full(self, dropped: int) -> None:
        """The ring was full for a while."""
        gap = np.zeros(1, TICK)
        gap["kind"], gap["price"], gap["size"], gap["flags"] = Kind.GAP, GapCause.RING_FULL, dropped, Flag.ON_TRADE
        self._add(gap)
        self.made += dropped
        self.dropped += dropped
        self.frames += (dropped, dropped, 0)

    def account(self, ts_recv: int = START_NS) -> None:
        pair = np.zeros(2, TICK)
        pair["kind"], pair["flags"] = Kind.STATUS, Flag.LAST
        pair["price"] = StatusCode.ACCOUNT_FRAMES, StatusCode.ACCOUNT_TICKS
        pair["size"] = self.frames[0], self.made + 2
        pair["venue_seq"] = self.frames[1], self.next_seq + 2 - self.began
        pair["order_id"] = self.frames[2], self.dropped
        self._add(pair, ts_recv)

    def _add(self, records: Records, ts_recv: int = START_NS) -> None:
        records["ts_recv"], records["instrument"] = ts_recv, 1
        records["seq"] = np.arange(self.next_seq, self.next_seq + len(records))
        self.parts.append(records)
        self.next_seq += len(records)
        self.made += len(records)

    @property
    def records(self) -> Records:
        return np.concatenate(self.parts)


def reconcile(*chunks: Records) -> tuple[FeedSummary, list[tuple[str, int, int]]]:
    reconciliation = Reconciliation("feed")
    flaws = [tuple(flaw) for chunk in chunks for flaw in reconciliation.add(chunk)]
    return reconciliation.summary, flaws


@pytest.fixture
def feed() -> Feed:
    """Two days of a feed that was killed once: 10 + 5 records of its first life no account covers."""
    feed = Feed()
    feed.ticks(100, rejected=3)
    feed.account()
    feed.full(40)
    feed.ticks(50)
    feed.account()
    feed.ticks(20, rejected=1)
    feed.account(START_NS + DAY_NS)
    feed.ticks(15)
    feed.begin()
    feed.ticks(30)
    feed.full(7)
    feed.account(START_NS + DAY_NS)
    return feed


@pytest.mark.parametrize("cut", [10_000, 50, 7, 1])
def test_what_adds_up_is_counted_by_day_however_it_is_cut_into_chunks(feed: Feed, cut: int) -> None:
    records = feed.records
    summary, flaws = reconcile(*(records[start : start + cut] for start in range(0, len(records), cut)))
    assert flaws == []
    assert summary.reconciled
    assert (summary.lives, summary.records, summary.records - summary.accounted) == (2, len(records), 15)
    first, second = summary.days
    assert (first.day, first.accounts, second.day, second.accounts) == ("2023-11-14", 2, "2023-11-15", 2)
    assert (first.received, first.parsed, first.rejected) == (193, 190, 3)
    assert (first.made, first.stored, first.dropped, first.told) == (195, 155, 40, 40)
    assert (second.received, second.parsed, second.rejected) == (58, 57, 1)
    assert (second.made, second.stored, second.dropped, second.told) == (62, 55, 7, 7)
    assert [str(account) for account in summary.balances] == [
        "frames received 251 = parsed 247 + rejected 4",
        "ticks made 257 = stored 210 + dropped 47",
        "ticks dropped 47 = told 47",
    ]


def accounts_of(records: Records) -> list[int]:
    return np.flatnonzero(records["kind"] == Kind.STATUS).tolist()


@pytest.mark.parametrize("field", ["size", "venue_seq", "order_id"])
@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("by", [1, -1])
def test_an_altered_number_in_any_account_is_found(feed: Feed, place: int, field: str, by: int) -> None:
    records = feed.records
    where = accounts_of(records)[place]
    if records[where][field] == 0 and by < 0:
        by = 2
    records[field][where] = int(records[where][field]) + by
    summary, flaws = reconcile(records)
    assert not summary.reconciled
    assert any(first <= records["seq"][where] <= last for _, first, last in flaws)


def test_a_record_that_is_missing_is_found_between_the_accounts_around_it(feed: Feed) -> None:
    records = feed.records
    summary, flaws = reconcile(records[:120], records[121:])
    assert flaws == [("ticks made 93 = stored 52 + dropped 40 IS OFF BY 1", 102, 154)]
    assert [day.reconciled for day in summary.days] == [False, True]


def test_a_record_that_is_there_twice_is_found(feed: Feed) -> None:
    records = feed.records
    summary, flaws = reconcile(records[:130], records[128:])
    assert not summary.reconciled
    assert [text for text, _, _ in flaws] == ["ticks made 93 = stored 55 + dropped 40 IS OFF BY -2"]


def test_a_drop_that_no_gap_tells_of_is_found(feed: Feed) -> None:
    records = feed.records
    (full, _) = np.flatnonzero(records["kind"] == Kind.GAP)
    records["size"][full] -= 1
    _, flaws = reconcile(records)
    assert [text for text, _, _ in flaws] == ["ticks dropped 40 = told 39 IS OFF BY 1"]


def test_a_store_that_begins_in_the_middle_of_a_life_is_counted_from_the_first_account(feed: Feed) -> None:
    records = feed.records[90:]
    summary, flaws = reconcile(records)
    assert flaws == []
    assert summary.records - summary.accounted == 12 + 15
    assert summary.days[0].received == 90


def test_a_store_without_accounts_proves_nothing_and_contradicts_nothing() -> None:
    summary, flaws = reconcile(make_ticks(10))
    assert flaws == []
    assert (summary.reconciled, summary.lives, summary.accounted, summary.days) == (True, 0, 0, [])


def stored(data_dir: Path, records: Records) -> Path:
    InstrumentTable.load(data_dir / "instruments.jsonl").register("binance", "BTCUSDT", 8, 8)
    journal = Journal(data_dir, Schema.TICK, "binance")
    journal.append(records)
    journal.close()
    return data_dir


def test_the_report_of_the_manual_is_what_verify_says(feed: Feed, tmp_path: Path) -> None:
    report = json.loads(msgspec.json.encode(verify(stored(tmp_path, feed.records))))
    match = re.search(r"<!-- test: verify -->\n```json\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert match
    manual = json.loads(match[1])
    for each in (report, report["journals"][0]):  # what depends on the place, and on the version of zstd
        each["bytes"] = manual["bytes"]
    assert report | {"data_dir": manual["data_dir"]} == manual


def test_verify_names_the_chunk_and_the_records_that_do_not_add_up(feed: Feed, tmp_path: Path) -> None:
    records = feed.records
    records["order_id"][accounts_of(records)[2]] += 1
    report = verify(stored(tmp_path, records))
    assert (report.ok, report.reconciled) == (False, False)
    (problem, again) = report.problems
    assert (problem.kind, problem.first_seq, problem.last_seq) == ("account", 102, 154)
    assert problem.text == "frames received 90 = parsed 90 + rejected 1 IS OFF BY -1"
    assert again.text == "frames received 21 = parsed 20 IS OFF BY 1"
    assert Path(problem.path).suffix and problem.offset == 0
