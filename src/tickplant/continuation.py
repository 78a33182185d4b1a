"""A feed that continues what the store holds of it: `python -m tickplant.continuation`. May import everything.

What was missed while a feed was down shows beside what it had recorded before. The ring holds the end of that, unless
the plant was down as well or an instrument has been quiet for long. A feed may not read the store; so its process reads
the rest here, before it becomes the feed, and leaves it in a file (`feeds/continuity.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.control import FeedSpec
from tickplant.errors import StoreError
from tickplant.feeds.continuity import Continuity, LastIds, file_of, save
from tickplant.feeds.process import run_feed
from tickplant.feeds.process import warm_up as warm_up_feeds
from tickplant.process import child_process
from tickplant.shm.records import Schema
from tickplant.writer.codec import warm_up as warm_up_codec
from tickplant.writer.store import Store

TAIL_RECORDS: Final = 1 << 20
"""How far back the store is read. A stream that has been quiet for longer begins anew, without a GAP."""


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


def main() -> None:
    """Run one feed of a live plant; ends the process."""
    with child_process(FeedSpec) as spec:
        try:
            leave_last_ids(Path(spec.plant.data_dir), spec.name, Path(spec.plant.run_dir))
        except (StoreError, OSError) as error:
            structlog.get_logger().warning("this feed will not know what it missed", why=str(error))
        run_feed(spec)


def warm_up() -> None:
    """Compile or load the kernels of the store's reader and of every feed."""
    warm_up_codec()
    warm_up_feeds()


if __name__ == "__main__":
    main()
