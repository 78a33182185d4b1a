"""Proves that a store is whole and complete: every chunk, every seq, every gap.

Whole means that every byte of every journal belongs to a valid chunk whose header describes its records. Complete means
that `seq` runs without a hole from the first record of a producer to its last. Losses at the venue or in the plant,
before a record got its seq, are in the data as GAPs, and are listed here by symbol and day. The counts of a feed are in
the data as well: `src/tickplant/store/reconcile.py` compares them with the stored records. So are the checksums that a
venue sends with its books: `src/tickplant/store/book_checks.py` compares the stored books with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.market_books import MAX_LEVELS
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.channels import ALL_STREAMS, streams_of
from tickplant.records.layouts import GapCause, Kind, Schema
from tickplant.store.book_checks import StoredChecksums
from tickplant.store.coverage import RemovedSummary, removed_on_purpose
from tickplant.store.daily_files import DAILY_SUFFIX, DAY_NS, day_of
from tickplant.store.deep_checks import DeepCheck, recorded_of
from tickplant.store.deep_summary import DeepSummary
from tickplant.store.reader import Store
from tickplant.store.reconcile import FeedSummary, Reconciliation
from tickplant.store.segment_checks import HARMLESS, JournalSummary, Problem, SegmentChecks
from tickplant.store.segments import Segment

Records = NDArray[np.void]
Progress = Callable[[int, int], None]
Ledger = dict[tuple[int, int, int, int], tuple[int, int, int]]
"""(day, instrument, cause, streams) to (gaps, missing records, gaps of unknown size)."""

_CAUSES: Final = {int(cause): cause.name.lower() for cause in GapCause}


class GapSummary(msgspec.Struct, frozen=True):
    """GAP records of one symbol, day, cause and stream."""

    venue: str
    symbol: str
    day: str  # UTC, of the receive time
    cause: str
    stream: str  # trade, quote, book, or a combination such as trade+quote
    gaps: int
    missing: int  # records known to be missing
    unknown: int  # gaps with an unknown number of missing records


class Report(msgspec.Struct):
    """The result. `ok` is False if there is any problem that is not HARMLESS; gaps do not count as problems."""

    data_dir: str
    ok: bool
    reconciled: bool  # the stored records contradict no account; if they do, `ok` is False too
    records: int
    bytes: int
    journals: list[JournalSummary]
    problems: list[Problem]
    feeds: list[FeedSummary]
    gaps: list[GapSummary]
    removed: list[RemovedSummary]
    deep: list[DeepSummary] = []  # by feed, if requested


def verify(
    data_dir: Path | str, *, deep: bool = False, max_levels: int = MAX_LEVELS, progress: Progress | None = None
) -> Report:
    """Read and check everything that is stored. Safe while a plant is writing.

    Args:
        data_dir: the store.
        deep: fold all ticks again, and compare all derived records with the result.
        max_levels: the most levels per side in the books of the plant's engines. For a book that once exceeded this, a
            record that differs is unproved.
        progress: called with the number of bytes checked so far, and the total.

    Raises:
        StoreError: there is no store, or a file cannot be read at all.
    """
    problems: list[Problem] = []
    store = Store(data_dir)
    if not store.data_dir.is_dir():
        raise StoreError("no such data directory", path=store.data_dir)
    ledger: Ledger = {}
    journals = [(producer, schema) for schema in Schema for producer in store.producers(schema)]
    sizes = {journal: sum(map(_size, store.segments(*journal))) for journal in journals}
    total = sum(sizes.values())
    if deep:  # ticks are read twice
        total += sum(size for (_, schema), size in sizes.items() if schema == Schema.TICK)
    done = 0
    summaries, feeds = [], []
    for producer, schema in journals:
        check = SegmentChecks(store, producer, schema, problems)
        reconciliation, checksums = Reconciliation(producer), StoredChecksums(store.instruments)
        for block in check.blocks():
            if schema == Schema.TICK:
                _count_gaps(block.records, ledger)
                if block.partial:
                    reconciliation.interrupt()
                    checksums.interrupt()
                else:
                    flaws = reconciliation.add(block.records)
                    problems += [Problem("account", block.path, block.offset, *flaw) for flaw in flaws]
                    checksums.add(block.records, block.path, block.offset)
            done += block.bytes
            if progress:
                progress(done, max(done, total))
        for book, at in checksums.wrong():
            problems.append(Problem("checksum", at.path, at.offset, str(book), at.seq, book.last_seq))
        check.summary.checksums = checksums.agreed
        if schema == Schema.TICK:
            feeds.append(reconciliation.summary)
        summaries.append(check.summary)
    derived: list[DeepSummary] = []
    for feed, deep_check in _deep_checks(store, max_levels) if deep else ():
        size = sizes[feed, Schema.TICK]
        ticks = sum(one.records for one in summaries if (one.producer, one.schema) == (feed, "tick"))
        derived.append(deep_check.run(_folding(progress, deep_check.summary, done, size / max(1, ticks), total)))
        done += size
    return Report(
        data_dir=str(store.data_dir),
        ok=all(problem.kind in HARMLESS for problem in problems) and not any(summary.wrong for summary in derived),
        reconciled=all(feed.reconciled for feed in feeds),
        records=sum(summary.records for summary in summaries),
        bytes=sum(summary.bytes for summary in summaries),
        journals=summaries,
        problems=problems,
        feeds=feeds,
        gaps=_gap_table(store.instruments, ledger),
        deep=derived,
        removed=removed_on_purpose(store),
    )


def _deep_checks(store: Store, max_levels: int) -> Iterator[tuple[str, DeepCheck]]:
    recorded = recorded_of(store)
    for feed in recorded:
        yield feed, DeepCheck(store, feed, recorded, max_levels)


def _folding(
    progress: Progress | None, summary: DeepSummary, done: int, bytes_a_tick: float, total: int
) -> Callable[[], None]:
    """A callback that reports the progress of a fold, in bytes like the rest of the check."""

    def tell() -> None:
        if progress:
            progress(int(done + bytes_a_tick * summary.ticks), max(done, total))

    return tell


def _size(segment: Segment) -> int:
    """Number of bytes that are read of a segment."""
    paths = segment.path.glob(f"*{DAILY_SUFFIX}") if segment.span else [segment.path]
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in paths)
    return 0


def _count_gaps(records: Records, ledger: Ledger) -> None:
    for gap in records[records["kind"] == Kind.GAP]:
        streams = int(gap["flags"]) & ALL_STREAMS
        key = int(gap["ts_recv"]) // DAY_NS, int(gap["instrument"]), int(gap["price"]), int(streams)
        gaps, missing, unknown = ledger.get(key, (0, 0, 0))
        size = int(gap["size"])
        ledger[key] = gaps + 1, missing + max(0, size), unknown + (size < 0)


def _gap_table(table: InstrumentTable, ledger: Ledger) -> list[GapSummary]:
    rows = []
    for (day, number, cause, streams), (gaps, missing, unknown) in sorted(ledger.items()):
        known = 1 <= number <= len(table)
        rows.append(
            GapSummary(
                venue=table.by_id(number).venue if known else "",
                symbol=table.by_id(number).symbol if known else f"id {number}",
                day=day_of(day * DAY_NS),
                cause=_CAUSES.get(cause, str(cause)),
                stream="+".join(streams_of(streams)),
                gaps=gaps,
                missing=missing,
                unknown=unknown,
            )
        )
    return rows
