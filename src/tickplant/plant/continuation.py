"""A feed that continues its records in the store: `python -m tickplant.plant.continuation`.

What was missed while a feed was down must show next to its earlier records. The ring holds the end of those, unless the
plant was down as well or an instrument has been quiet for long. A feed may not read the store; so its process reads the
rest here, before it becomes the feed, and leaves it in a file (`feeds/last_ids.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.feeds.feed_process import run_feed
from tickplant.feeds.feed_process import warm_up as warm_up_feeds
from tickplant.feeds.last_ids import Continuity, LastIds, file_of, save
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.runtime.child_process import child_process
from tickplant.runtime.config import FeedConfig
from tickplant.runtime.job_specs import FeedSpec
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.store.selection import Selection
from tickplant.writer.format.codec import warm_up as warm_up_codec

TAIL_RECORDS: Final = 1 << 20
"""How far back the store is read. A stream that has been quiet for longer starts afresh, without a GAP."""


def leave_last_ids(
    data_dir: Path, feed: str, run_dir: Path, enough: Callable[[Mapping[int, LastIds]], bool] = lambda _: False
) -> None:
    """Write the newest ids of a feed in the store to the file that the feed will read. Raises StoreError, OSError.

    Reading back ends early once the ids found are `enough`. A damaged chunk is skipped: the ids before it make a wider
    GAP.
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
        if enough(last):
            break
    save(file_of(run_dir, feed), last)


def every_stream(table: InstrumentTable, config: FeedConfig) -> Callable[[Mapping[int, LastIds]], bool]:
    """Whether each configured stream of each registered symbol was found, usually in the newest chunks."""
    newest = {row.symbol: row.id for row in table if row.venue == config.venue and row.symbol in config.symbols}

    def found(last: Mapping[int, LastIds]) -> bool:
        return all(
            ident in last and all(getattr(last[ident], stream) is not None for stream in config.channels)
            for ident in newest.values()
        )

    return found


def _newest_first(store: Store, feed: str) -> Iterator[NDArray[np.void]]:
    """The newest TAIL_RECORDS records or slightly more, chunk by chunk."""
    read = 0
    for stretch in store.newest_first(feed, Schema.TICK, Selection()):
        if read >= TAIL_RECORDS:
            return
        records = store.records(stretch)
        read += len(records)
        yield records


def main() -> None:
    """Run one feed of a live plant; ends the process."""
    with child_process(FeedSpec) as spec:
        try:
            data_dir = Path(spec.plant.data_dir)
            enough = every_stream(InstrumentTable.load(data_dir / INSTRUMENTS_FILE), spec.config)
            leave_last_ids(data_dir, spec.name, Path(spec.plant.run_dir), enough)
        except (StoreError, OSError) as error:
            structlog.get_logger().warning("this feed will not know what it missed", why=str(error))
        run_feed(spec)


def warm_up() -> None:
    """Compile or load the kernels of the store's reader and of every feed."""
    warm_up_codec()
    warm_up_feeds()


if __name__ == "__main__":
    main()
