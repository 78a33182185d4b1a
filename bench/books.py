"""Books, compared with a book in two `SortedDict`s: level updates per second, with the best after each event.

    TICK records in batches of BATCH_RECORDS ──Books──> BBO records
    the same, as tuples of Python ints       ──SortedDict──> (bid, size, ask, size) at each change

and, like a feed of a venue that sends checksums and cuts its books to a depth:

    events of a few levels ──DepthBook, BookChecksum──> a checksum after each
    the same, as lists of tuples ──SortedDict, str──> the same

One core. Both start from decoded records; the rival is spared the conversion to Python objects. Its bests must equal
the kernel's before anything is timed. Streams: both Binance recordings, if available, and a synthetic one with DEPTH
levels per side and most updates near the top.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedDict

from bench.codec import RECORDINGS, recorded_ticks
from bench.harness import Result, main, median_of
from tickplant.books.checksums import ALGORITHMS, BookChecksum, Digits
from tickplant.books.depth_book import DepthBook
from tickplant.books.level_books import Books
from tickplant.derive.bars import Bars
from tickplant.records.layouts import NO_PRICE, TICK, Flag, Kind, Side

Records = NDArray[np.void]
Integers = NDArray[np.int64]
Row = tuple[int, int, int, int, int]
Best = tuple[int, int, int, int]

BATCH_RECORDS: Final = 256
DEPTHS: Final = (1_000, 10_000)
SYNTHETIC_RECORDS: Final = 400_000
QUICK_RECORDS: Final = 20_000
CUT_DEPTHS: Final = (10, 1_000)
EVENTS: Final = 20_000
QUICK_EVENTS: Final = 2_000


def synthetic(depth: int, count: int, seed: int = 1) -> Records:
    """A book of about `depth` levels per side around a fixed mid; half the updates are within 20 ticks of the top."""
    random = np.random.default_rng(seed)
    ticks = np.zeros(1 + 2 * depth + count, TICK)
    ticks["kind"], ticks["instrument"] = Kind.LEVEL, 1
    ticks["kind"][0] = Kind.CLEAR
    away = np.concatenate([np.arange(1, depth + 1), np.arange(1, depth + 1), np.zeros(count, np.int64)])
    away[2 * depth :] = np.where(
        random.random(count) < 0.5, random.integers(1, 21, count), random.integers(1, depth + 1, count)
    )
    side = np.repeat([int(Side.BID), int(Side.ASK)], depth)
    ticks["side"][1:] = np.concatenate([side, random.integers(1, 3, count)])
    ticks["price"][1:] = 10**6 + np.where(ticks["side"][1:] == Side.BID, -away, away)
    ticks["size"][1:] = 1 + random.integers(0, 1000, 2 * depth + count)
    ticks["size"][2 * depth + 1 :][random.random(count) < 0.4] = 0
    ticks["flags"][2 * depth + 1 :][random.random(count) < 0.1] = Flag.LAST
    ticks["flags"][2 * depth] = Flag.LAST
    ticks["seq"] = np.arange(len(ticks))
    return ticks


def rows_of(ticks: Records) -> list[Row]:
    """The rival's input: kind, side, price, size and flags of the book's records, from the first snapshot on."""
    chosen = ticks[(ticks["kind"] == Kind.LEVEL) | (ticks["kind"] == Kind.CLEAR)]
    chosen = chosen[np.flatnonzero(chosen["kind"] == Kind.CLEAR)[0] :]
    return list(zip(*(chosen[name].tolist() for name in ("kind", "side", "price", "size", "flags")), strict=True))


def kernel_bests(ticks: Records) -> list[Best]:
    """Each change of the best, by the engine's books."""
    books = Books()
    parts = [books.apply(ticks[i : i + BATCH_RECORDS]) for i in range(0, len(ticks), BATCH_RECORDS)]
    return [best for part in parts for best in part[["bid_price", "bid_size", "ask_price", "ask_size"]].tolist()]


def rival_bests(rows: list[Row]) -> list[Best]:
    """Each change of the best, by two SortedDicts."""
    bids: SortedDict[int, int] = SortedDict()
    asks: SortedDict[int, int] = SortedDict()
    last: Best | None = None
    bests = []
    clear, ends, buying = int(Kind.CLEAR), int(Flag.LAST), int(Side.BID)
    for kind, side, price, size, flags in rows:
        if kind == clear:
            bids.clear()
            asks.clear()
        else:
            levels = bids if side == buying else asks
            if size:
                levels[price] = size
            else:
                levels.pop(price, None)
        if flags & ends:
            bid, bid_size = bids.peekitem(-1) if bids else (NO_PRICE, 0)
            ask, ask_size = asks.peekitem(0) if asks else (NO_PRICE, 0)
            best = (bid, bid_size, ask, ask_size)
            if best != last:
                bests.append(best)
                last = best
    return bests


def kernel_run(ticks: Records) -> None:
    """The timed work of the kernel."""
    books = Books()
    for i in range(0, len(ticks), BATCH_RECORDS):
        books.apply(ticks[i : i + BATCH_RECORDS])


def bars_run(ticks: Records) -> None:
    """The timed work of the bars."""
    bars = Bars((1, 60))
    for i in range(0, len(ticks), BATCH_RECORDS):
        bars.apply(ticks[i : i + BATCH_RECORDS])


def synthetic_events(depth: int, count: int, seed: int = 1) -> list[Integers]:
    """A snapshot of `depth` levels per side, then events of one to three levels, mostly near the top.

    Levels are side, price and size.
    """
    random = np.random.default_rng(seed)
    prices = np.arange(1, depth + 1)
    sides = (Side.BID, 10**6 - prices), (Side.ASK, 10**6 + prices)
    events = [np.concatenate([np.stack([np.full(depth, s), p, 1 + prices], axis=1) for s, p in sides])]
    for length in random.integers(1, 4, count).tolist():
        side = random.integers(1, 3, length)
        near = random.random(length) < 0.6
        away = 1 + np.where(near, random.integers(0, 10, length), random.integers(0, depth + depth // 10, length))
        size = np.where(random.random(length) < 0.35, 0, random.integers(1, 10**9, length))
        events.append(np.stack([side, 10**6 + np.where(side == Side.BID, -away, away), size], axis=1))
    return events


def kernel_checksums(depth: int, events: list[Integers]) -> list[int | None]:
    """Kraken's checksum after each event, as a feed computes it."""
    book, checksum = DepthBook(depth), BookChecksum(ALGORITHMS["kraken"], Digits(1, 8, 1, 8))
    checksums = []
    book.snapshot(events[0])
    for event in events[1:]:
        book.update(event)
        checksums.append(checksum.of_book(book))
    return checksums


def rival_checksums(depth: int, events: list[list[list[int]]]) -> list[int]:
    """The same checksums, by two SortedDicts and strings."""
    bids: SortedDict[int, int] = SortedDict()
    asks: SortedDict[int, int] = SortedDict()
    checksums = []
    for event in events:
        for side, price, size in event:
            levels = bids if side == 1 else asks
            if size:
                levels[price] = size
            else:
                levels.pop(price, None)
        while len(bids) > depth:
            bids.popitem(0)
        while len(asks) > depth:
            asks.popitem()
        best = [(price, asks[price]) for price in asks.keys()[:10]]
        best += [(price, bids[price]) for price in bids.keys()[:-11:-1]]
        checksums.append(zlib.crc32("".join([f"{price}{size}" for price, size in best]).encode()))
    return checksums[1:]


def measure_cut(depth: int, count: int, repeats: int) -> Result:
    """Measure books of a depth. Raises AssertionError if two checksums differ."""
    events = synthetic_events(depth, count)
    as_lists = [event.tolist() for event in events]
    assert kernel_checksums(depth, events) == rival_checksums(depth, as_lists), f"depth {depth}: checksums differ"
    ours = median_of(repeats, partial(rate, count, partial(kernel_checksums, depth, events)))
    theirs = median_of(repeats, partial(rate, count, partial(rival_checksums, depth, as_lists)))
    return Result(
        name=f"books: updates and checksums a CPU second, cut to {depth:,} levels",
        value=ours,
        unit="events/s",
        compared_with="sortedcontainers.SortedDict and str",
        ratio=ours / theirs,
    )


def rate(count: int, work: Callable[[], object]) -> float:
    """`count` divided by the CPU seconds that `work` takes: other processes do not slow CPU time down."""
    started_s = time.process_time()
    work()
    return count / (time.process_time() - started_s)


def measure(name: str, ticks: Records, repeats: int) -> Result:
    """Measure one stream. Raises AssertionError if the two disagree."""
    rows = rows_of(ticks)
    bests = kernel_bests(ticks)
    assert len(bests) > 10
    assert bests == rival_bests(rows), f"{name}: the two do not say the same"
    levels = sum(row[0] == Kind.LEVEL for row in rows)
    ours = median_of(repeats, partial(rate, levels, partial(kernel_run, ticks)))
    theirs = median_of(repeats, partial(rate, levels, partial(rival_bests, rows)))
    return Result(
        name=f"books: level updates a CPU second, {name}",
        value=ours,
        unit="levels/s",
        compared_with="sortedcontainers.SortedDict",
        ratio=ours / theirs,
    )


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure all streams. Raises AssertionError if a best differs."""
    count = QUICK_RECORDS if quick else SYNTHETIC_RECORDS
    results = [measure(f"synthetic, {depth:,} levels a side", synthetic(depth, count), repeats) for depth in DEPTHS]
    results += [measure_cut(depth, QUICK_EVENTS if quick else EVENTS, repeats) for depth in CUT_DEPTHS]
    for label, (venue, file) in RECORDINGS.items():
        try:
            ticks = recorded_ticks(venue, file)
        except FileNotFoundError:
            continue
        ticks["seq"] = np.arange(len(ticks))
        ticks = ticks[ticks["kind"] != Kind.QUOTE]
        if quick:
            ticks = ticks[: 3 * QUICK_RECORDS]
        results.append(measure(f"{label} recording", ticks, repeats))
        value = median_of(repeats, partial(rate, len(ticks), partial(bars_run, ticks)))
        results.append(Result(name=f"bars: 1 s and 1 min, {label} recording", value=value, unit="records/s"))
    return results


if __name__ == "__main__":
    main(run)
