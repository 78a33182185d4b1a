"""Rows a page at a time. A cursor says where each producer's rows continue, so pages have no holes and no doubles.

A cursor is `PRODUCER:SEQ`, a comma-separated list if there are several producers: the first seq of each that the pages
so far do not hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np

from tickplant.records.layouts import Kind, Schema
from tickplant.records.merge import Columns, Records, join_records, merge_columns
from tickplant.store.reader import Store
from tickplant.store.readings import PRODUCER
from tickplant.store.rows import BATCH_ROWS, Rows
from tickplant.store.segments import Range
from tickplant.store.selection import Selection
from tickplant.store.tables import TABLES, VIEWS

ALL_TABLES: Final = tuple(dict.fromkeys(("ticks", *VIEWS, *TABLES)))

_PLACE: Final = re.compile(r"([a-z0-9][a-z0-9_-]{0,30}):(\d{1,19})", re.ASCII)

MOST_STRETCHES: Final = 64
"""The most stretches of the journal to read together, on the way back in time."""

Places = dict[str, int]
"""By producer, the first seq that no page has returned yet."""


class Page(NamedTuple):
    """Rows in order, as `Rows.blocks` returns them, and where the next ones begin; None if there are none yet."""

    blocks: list[Columns]
    after: Places | None


def parse_cursor(text: str) -> Places:
    """The places in a cursor. Raises ValueError."""
    found = [_PLACE.fullmatch(part) for part in text.split(",")] if text else []
    if not all(found):
        raise ValueError(f"{text[:80]!r} is not a cursor such as binance:4712, which the page before has named")
    return {match[1]: int(match[2]) for match in found if match}


def cursor_text(places: Mapping[str, int]) -> str:
    """The text that `parse_cursor` reads."""
    return ",".join(f"{producer}:{seq}" for producer, seq in sorted(places.items()))


class Question:
    """Rows of one instrument in one table.

    Args:
        store: the store to read.
        table: one of ALL_TABLES.
        venue: the instrument's venue.
        symbol: the instrument's symbol.
        start_ns: start of the half-open range by `clock`.
        end_ns: end of that range.
        clock: `recv` or `event`.
        how: `columns`, `where` and `prices`, as `Store.rows` takes them.

    Raises StoreError, WhereError, TickplantError for an invalid question.
    """

    def __init__(
        self,
        store: Store,
        table: str,
        venue: str,
        symbol: str,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        clock: Any = "recv",
        **how: Any,
    ) -> None:
        self.schema = TABLES.get(table, Schema.TICK)
        self._store = store
        self._asked = {"schema": self.schema, "kinds": VIEWS.get(table), "clock": clock, "end_ns": end_ns, **how}
        self._venue, self._symbol, self._start_ns = venue, symbol, start_ns
        kinds = None if table not in VIEWS else frozenset(int(Kind[word.upper()]) for word in VIEWS[table])
        ids = frozenset(row.id for row in store.find(venue, symbol))
        self._selection = Selection(ids=ids, kinds=kinds, start_ns=start_ns, end_ns=end_ns, clock=clock)

    def rows(self, after: Places | None = None) -> Rows:
        """All rows, or those after a cursor."""
        return self._store.rows(self._venue, self._symbol, start_ns=self._start_ns, after=after, **self._asked)

    def fingerprint(self, after: Places | None = None) -> bytes:
        """Sixteen bytes that change whenever the rows may: a digest of the chunks that may hold them."""
        digest = blake2b(digest_size=16)
        for producer in self._store.producers(self.schema):
            first_seq = (after or {}).get(producer, 0)
            asked = Range(producer, self.schema, self._selection, first_seq)
            digest.update(producer.encode())
            for entries in self._store.chunks(asked):
                headers = entries["header"]
                digest.update(np.stack([headers["first_seq"], headers["last_seq"]]).tobytes())
        return digest.digest()

    def page(self, limit: int, after: Places | None = None) -> Page:
        """The first `limit` rows, or the first after a cursor. Raises DamageError."""
        producers = self._store.producers(self.schema)
        rows = self.rows(after)
        places = dict(after or {})
        blocks: list[Columns] = []
        left = limit
        for block in rows.blocks(rows.columns, rows=min(limit, BATCH_ROWS), also=(PRODUCER, "seq")):
            if not left:
                return Page(blocks, places)
            part = {name: values[:left] for name, values in block.items()}
            for rank in np.unique(part[PRODUCER]).tolist():
                places[producers[rank]] = int(part["seq"][part[PRODUCER] == rank][-1]) + 1
            blocks.append(part)
            left -= len(part["seq"])
            if len(part["seq"]) < len(block["seq"]):
                return Page(blocks, places)
        return Page(blocks, None)

    def newest(self, limit: int) -> Page:
        """The last `limit` rows, oldest first; the cursor leads to rows stored later. Raises DamageError."""
        producers = self._store.producers(self.schema)
        rows = self.rows()
        parts: list[list[Columns]] = []
        for producer in producers:
            found: list[Columns] = []
            count = 0
            for records in self._newest_records(producer, rows.selection or self._selection):
                fields = {name: records[name] for name in records.dtype.names or ()}
                kept = list(rows.of(_only(fields)).blocks(rows.columns, also=("seq", "ts_recv")))
                found[:0] = kept
                count += sum(len(block["seq"]) for block in kept)
                if count >= limit:
                    break
            parts.append(found)
        ranked: list[Iterator[Columns]] = [
            ({**block, PRODUCER: np.full(len(block["seq"]), rank, np.int32)} for block in found)
            for rank, found in enumerate(parts)
        ]
        blocks: list[Columns] = list(merge_columns(ranked)) if ranked else []
        over = sum(len(block["seq"]) for block in blocks) - limit
        while blocks and over > 0:
            first = blocks[0]
            cut = min(over, len(first["seq"]))
            blocks[:1] = [{name: values[cut:] for name, values in first.items()}] if cut < len(first["seq"]) else []
            over -= cut
        places: Places = {}
        for block in blocks:
            for rank in np.unique(block[PRODUCER]).tolist():
                places[producers[rank]] = int(block["seq"][block[PRODUCER] == rank][-1]) + 1
        return Page(blocks, places or None)

    def _newest_records(self, producer: str, selection: Selection) -> Iterator[Records]:
        """A producer's records, newest first, in parts that grow on the way back.

        Each part has a fixed cost of milliseconds, and a chunk may hold only a second of a few bars.
        """
        held: list[Records] = []
        wanted = 1
        for stretch in self._store.newest_first(producer, self.schema, selection):
            held.append(selection.records(self._store.records(stretch)))
            if len(held) == wanted:
                yield join_records(held[::-1])
                held, wanted = [], min(2 * wanted, MOST_STRETCHES)
        if held:
            yield join_records(held[::-1])


def _only(fields: Columns) -> Any:
    """A source of one block."""

    def read(names: Sequence[str]) -> Iterator[Columns]:
        yield {name: fields[name] for name in names}

    return read
