"""What a feed has to know of the store when it starts: the newest ids of its streams. For the supervisor alone.

What was missed while a feed was down shows beside what it had recorded before. The ring holds the end of that, unless
the plant was down as well or an instrument has been quiet for long; the rest is read from the store here, and left in
a file for the feed (`feeds/continuity.py`). May import everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.continuity import Continuity, LastIds, file_of, save
from tickplant.plans import Names
from tickplant.shm.records import Schema
from tickplant.writer.store import Store

TAIL_RECORDS: Final = 1 << 20
"""How far back the store is read. A stream that has been quiet for longer begins anew, without a GAP."""


def names_in(data_dir: Path, venue: str) -> Names:
    """An ingest goes on with the one feed and the one engine that the store has of a venue, if that is so.

    Raises StoreError.
    """
    store = Store(data_dir, on_damage=lambda _: None)
    venues = {row.id: row.venue for row in store.instruments}
    feeds = [feed for feed in store.producers() if _venue_of(store, feed, venues) == venue]
    engines = store.producers(Schema.BBO) or store.producers(Schema.BAR)
    return Names(
        feed=feeds[0] if len(feeds) == 1 else venue,
        engine=engines[0] if len(engines) == 1 else "engine",
        # A derived record names its tick by seq alone: with two feeds of an instrument nobody knows whose that is.
        restores=set(feeds) <= {venue} or len(feeds) == 1,
    )


def _venue_of(store: Store, feed: str, venues: dict[int, str]) -> str:
    for path in store.files(feed, Schema.TICK):
        for entry in store.index(path).entries:
            if len(records := store.chunk(path, entry, Schema.TICK)):
                return venues.get(int(records[0]["instrument"]), "")
    return ""


def leave_last_ids(data_dir: Path, feed: str, run_dir: Path) -> None:
    """Write what the store of a feed ends with to the file that the feed will read. Raises StoreError, OSError.

    A damaged chunk is passed over: the ids before it make a wider GAP.
    """
    last: dict[int, LastIds] = {}
    for records in _newest_first(Store(data_dir, on_damage=lambda _: None), feed):
        older = Continuity()
        older.add(records)
        for instrument, ids in older.last.items():
            known = last.setdefault(instrument, ids)
            for stream in msgspec.structs.fields(LastIds):
                if getattr(known, stream.name) is None:
                    setattr(known, stream.name, getattr(ids, stream.name))
    save(file_of(run_dir, feed), last)


def _newest_first(store: Store, feed: str) -> Iterator[NDArray[np.void]]:
    """The newest TAIL_RECORDS or somewhat more, chunk by chunk."""
    read = 0
    for path, entries in store.entries(feed, Schema.TICK):
        for entry in entries[::-1]:
            if read >= TAIL_RECORDS:
                return
            records = store.chunk(path, entry, Schema.TICK)
            read += len(records)
            yield records
