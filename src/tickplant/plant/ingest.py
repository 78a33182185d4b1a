"""The feed process of an ingest: a recording that continues what the store holds.

`feeds/past.py` defines what the feed must know; here the store is read for it. What must outlast a killed ingest is
kept in `<data>/ingests.jsonl`: one row for each life of a feed that began, and for each ingest of it that ended in
order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.feeds.feed_process import run_feed
from tickplant.feeds.feed_process import warm_up as warm_up_feeds
from tickplant.feeds.last_ids import Continuity, LastIds, by_symbol
from tickplant.feeds.past import Covered, Life
from tickplant.feeds.stored_spans import StoredSpans
from tickplant.plant.durable_file import write_durably
from tickplant.plant.plans import Names
from tickplant.records.layouts import Schema
from tickplant.records.schemas import DERIVED
from tickplant.runtime.child_process import child_process
from tickplant.runtime.job_specs import FeedSpec, Recording
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.writer.format.codec import warm_up as warm_up_codec

Records = NDArray[np.void]

FILE: Final = "ingests.jsonl"


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A life of a feed that begins at a seq or, with `lines`, an ingest of that life that ended after these lines."""

    feed: str
    seq: int
    lines: int = 0
    recording: str = ""  # its name, for a human reader
    before_ns: int = 0  # newest receive time stored before it
    last: dict[int, LastIds] = {}  # newest ids by instrument
    instruments: int = 0  # the newest one that had records


class StoredPast:
    """What a data directory holds of a feed (`feeds.past.Past`). Raises StoreError, DamageError."""

    def __init__(self, data_dir: Path, feed: str, venue: str, recording: str) -> None:
        self._store = Store(data_dir)
        self._feed = feed
        self._recording = recording
        self._path = data_dir / FILE
        self._end: tuple[dict[int, LastIds], int, int] | None = None
        self._next_seq = self._store.next_seq(feed, Schema.TICK)
        self._instruments = [row for row in self._store.instruments if row.venue == venue]
        # Records that a power cut took from the journal were never stored: lives that began after its end do not count.
        self._rows = [row for row in _load(self._path) if row.feed != feed or row.seq <= self._next_seq]

    def lives(self) -> Iterator[Life]:
        """See Past."""
        rows = {0: Row(self._feed, 0)} | {row.seq: row for row in self._mine() if not row.lines}
        until = self._next_seq
        for seq in sorted(rows, reverse=True):
            if until > seq:
                row = rows[seq]
                yield Life(
                    first_seq=seq,
                    before=self._by_symbol(row.last),
                    before_ns=row.before_ns,
                    ends=frozenset(row.lines for row in self._mine() if row.lines and row.seq == seq),
                    count=until - seq,
                    newest=until == self._next_seq,
                    instruments=row.instruments,
                )
            until = seq
        last, before_ns, instruments = self._last()
        before = self._by_symbol(last)
        yield Life(first_seq=self._next_seq, before=before, before_ns=before_ns, instruments=instruments)

    def records(self, life: Life) -> Iterator[Records]:
        """See Past."""
        until = life.first_seq + life.count - 1
        return self._store.read(self._feed, Schema.TICK, Selection(), first_seq=life.first_seq, last_seq=until)

    def covered(self, life: Life) -> Covered:
        """See Past."""
        first = {row.symbol: row.id for row in reversed(self._instruments)}
        covered = Covered({row.id: first[row.symbol] for row in self._instruments})
        if life.first_seq:
            for records in self._store.read(self._feed, Schema.TICK, Selection(), last_seq=life.first_seq - 1):
                covered.add(records)
        return covered

    def spans(self, life: Life) -> StoredSpans:
        """See Past."""
        spans = StoredSpans()
        begins = sorted({0, *(row.seq for row in self._mine() if not row.lines and row.seq < life.first_seq)})
        for first, until in itertools.pairwise([*begins, life.first_seq]):
            spans.begin_life()
            if first < until:
                for records in self._store.read(
                    self._feed, Schema.TICK, Selection(), first_seq=first, last_seq=until - 1
                ):
                    spans.add(records)
        return spans

    def begin(self, life: Life) -> None:
        """See Past."""
        last, before_ns, instruments = self._last()
        rows = [row for row in self._rows if row.feed != self._feed or row.seq < life.first_seq]
        row = Row(
            self._feed,
            life.first_seq,
            recording=self._recording,
            before_ns=before_ns,
            last=last,
            instruments=instruments,
        )
        self._save([*rows, row])

    def end(self, life: Life, lines: int) -> None:
        """See Past."""
        if lines not in life.ends:
            self._save([*self._rows, Row(self._feed, life.first_seq, lines=lines)])

    def _mine(self) -> list[Row]:
        return [row for row in self._rows if row.feed == self._feed]

    def _last(self) -> tuple[dict[int, LastIds], int, int]:
        """Newest ids, receive time and instrument at the end of the store, read from the newest life's beginning."""
        if self._end is None:
            self._end = self._read_last()
        return self._end

    def _read_last(self) -> tuple[dict[int, LastIds], int, int]:
        begins = [row for row in self._mine() if not row.lines]
        known = max(begins, key=lambda row: row.seq, default=Row(self._feed, 0))
        continuity = Continuity()
        continuity.last = {id_: msgspec.structs.replace(ids) for id_, ids in known.last.items()}
        newest_ns, instruments = known.before_ns, known.instruments
        if self._next_seq > known.seq:
            for records in self._store.read(self._feed, Schema.TICK, Selection(), first_seq=known.seq):
                continuity.add(records)
                newest_ns = max(newest_ns, int(records["ts_recv"].max()))
                instruments = max(instruments, int(records["instrument"].max()))
        return continuity.last, newest_ns, instruments

    def _by_symbol(self, last: dict[int, LastIds]) -> dict[str, tuple[int, LastIds]]:
        newest = {row.symbol: row.id for row in self._instruments if row.id in last}
        return {symbol: (newest[symbol], ids) for symbol, ids in by_symbol(last, self._instruments).items()}

    def _save(self, rows: list[Row]) -> None:
        self._rows = rows
        text = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        try:
            write_durably(self._path, text)
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}", path=self._path) from error


def _load(path: Path) -> list[Row]:
    try:
        lines = path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Row) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        # Without the file, continuation still works by ids alone.
        raise StoreError(f"is damaged ({error}); remove it: ids alone then tell what is stored", path=path) from None


def ended(data_dir: Path, feed: str) -> int:
    """Number of a feed's ingests that ended in order, repeats counted once. Raises StoreError."""
    return sum(row.feed == feed and row.lines > 0 for row in _load(data_dir / FILE))


def names_in(data_dir: Path, venue: str) -> Names:
    """The names for an ingest: those of the only feed and engine that the store has of a venue, if they are unique.

    Raises StoreError.
    """
    store = Store(data_dir, on_damage=lambda _: None)
    venues = {row.id: row.venue for row in store.instruments}
    feeds = [feed for feed in store.producers() if _venue_of(store, feed, venues) == venue]
    engines = next((names for schema in DERIVED if (names := store.producers(schema))), [])
    return Names(
        feed=feeds[0] if len(feeds) == 1 else venue,
        engine=engines[0] if len(engines) == 1 else "engine",
        # A derived record names its tick by seq alone: with two feeds of an instrument the seq is ambiguous.
        restores=set(feeds) <= {venue} or len(feeds) == 1,
    )


def _venue_of(store: Store, feed: str, venues: dict[int, str]) -> str:
    records = next(store.read(feed, Schema.TICK, Selection()), None)
    return "" if records is None else venues.get(int(records[0]["instrument"]), "")


def main() -> None:
    """Run the feed of one ingest; ends the process."""

    def past(spec: FeedSpec) -> StoredPast:
        recording = Path(spec.source.path).name if isinstance(spec.source, Recording) else ""
        return StoredPast(Path(spec.plant.data_dir), spec.name, spec.config.venue, recording)

    with child_process(FeedSpec) as spec:
        run_feed(spec, past)


def warm_up() -> None:
    """Compile or load the kernels of the store's reader and of every feed."""
    warm_up_codec()
    warm_up_feeds()


if __name__ == "__main__":
    main()
