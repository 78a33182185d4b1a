"""The book of a symbol at any stored instant, from its last snapshot or a later checkpoint, and the ticks since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tickplant.books.fold import BOOK_KINDS, Book, Fold
from tickplant.client.book_request import Book as PlainBook
from tickplant.client.book_request import QueuedOrder
from tickplant.errors import DamageError
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, Kind, Schema
from tickplant.runtime.config import Crossed
from tickplant.store import stored_checkpoints
from tickplant.store.selection import Clock, Selection

if TYPE_CHECKING:  # the reader offers this as a method
    from tickplant.store.reader import Store


class _Clear(NamedTuple):
    """The CLEAR with which a book begins."""

    ts_recv: int
    instrument: Instrument
    producer: str
    seq: int
    of_orders: bool


def book_at(store: Store, instruments: Sequence[Instrument], at_ns: int, *, orders: bool, crossed: Crossed) -> Book:
    """The book of a symbol, given all its instruments, as `Store.book` describes."""
    fold, instrument = fold_at(store, instruments, at_ns, crossed=crossed)
    return fold.book(instrument, orders=orders)


def plain_book(stored: Book) -> PlainBook:
    """A stored book in the form that a subscriber gets."""
    queues = (stored.bid_orders, stored.ask_orders)
    bid_orders, ask_orders = (None if one is None else [QueuedOrder(*row) for row in one.tolist()] for one in queues)
    row = stored.instrument
    return PlainBook(
        venue=row.venue,
        symbol=row.symbol,
        ts_event=stored.ts_event,
        ts_recv=stored.ts_recv,
        stale=stored.stale,
        price_scale=row.price_scale,
        size_scale=row.size_scale,
        bids=[(price, size) for price, size in stored.bids.tolist()],
        asks=[(price, size) for price, size in stored.asks.tolist()],
        bid_orders=bid_orders,
        ask_orders=ask_orders,
    )


def begins_at(store: Store, ids: frozenset[int] | None, start_ns: int, clock: Clock) -> dict[str, int]:
    """By producer, the seq at which a playback from this time begins; without producers that have nothing to play.

    It is the seq of the first record, in stored order, at or after the time. Earlier records are in the initial books;
    all later records are played, even if their time steps back. Raises DamageError.
    """
    wanted = Selection(ids=ids, start_ns=start_ns, clock=clock)
    firsts = {name: next(store.read(name, Schema.TICK, wanted), None) for name in store.producers()}
    return {name: int(records["seq"][0]) for name, records in firsts.items() if records is not None}


def fold_at(
    store: Store,
    instruments: Sequence[Instrument],
    at_ns: int,
    *,
    crossed: Crossed = "flag",
    begins: Mapping[str, int] | None = None,
) -> tuple[Fold, Instrument]:
    """The book of `book_at`, as a fold that can continue, and the instrument that it belongs to.

    With `begins`, the result of `begins_at`, it is the book before a playback begins, whatever its records' times are.
    A book whose snapshot is not complete by then, because its records were received at different times, is stale.
    """
    ends = {name: begins[name] - 1 if begins and name in begins else None for name in store.producers()}
    end_ns = at_ns + 1 if begins is None else None
    clears = [
        found
        for instrument in instruments
        for producer, last_seq in ends.items()
        if (found := _last_clear(store, producer, instrument, end_ns, last_seq))
    ]
    if not clears:
        return Fold(instruments[-1].id), instruments[-1]
    start = max(clears, key=lambda clear: clear.ts_recv)
    instrument = start.instrument
    matching = start.of_orders and crossed == "match"
    fold = Fold(instrument.id, matching=matching)
    selection = Selection(ids=frozenset({instrument.id}), kinds=BOOK_KINDS, end_ns=end_ns)
    first_seq, last_seq = start.seq, ends[start.producer]
    # An engine writes no checkpoints of resolved books; those of an engine that did not resolve them would be wrong.
    if not matching and (checkpoint := _checkpoint(store, start, at_ns, last_seq)):
        fold.apply(checkpoint.ticks)
        first_seq = checkpoint.source_seq
    damages = store.damages
    for records in store.read(start.producer, Schema.TICK, selection, first_seq=first_seq, last_seq=last_seq):
        if store.damages > damages:
            fold.lose()
            damages = store.damages
        fold.apply(records)
    if store.damages > damages:
        fold.lose()
    return fold, instrument


def _checkpoint(store: Store, start: _Clear, at_ns: int, last_seq: int | None) -> stored_checkpoints.Checkpoint | None:
    """The checkpoint that shortens the fold from a snapshot to a time, if there is one."""
    try:
        return stored_checkpoints.newest(
            store,
            start.producer,
            start.instrument.id,
            of_orders=start.of_orders,
            after_seq=start.seq,
            after_ns=start.ts_recv,
            at_ns=at_ns,
            until_seq=None if last_seq is None else last_seq + 1,
        )
    except DamageError:
        return None  # only damage in the ticks matters here; `verify` reports this one


def _last_clear(
    store: Store, producer: str, instrument: Instrument, end_ns: int | None, last_seq: int | None
) -> _Clear | None:
    """The newest CLEAR of an instrument that was received before `end_ns` and recorded up to `last_seq`."""
    wanted = Selection(ids=frozenset({instrument.id}), kinds=frozenset({Kind.CLEAR}), end_ns=end_ns)
    for stretch in store.newest_first(producer, Schema.TICK, wanted, last_seq=last_seq):
        clears = wanted.records(store.records(stretch))
        clears = clears[(clears["flags"] & Flag.PARTIAL) == 0]
        if len(clears):
            last = clears[-1]
            of_orders = bool(last["flags"] & Flag.ON_ORDERS)
            return _Clear(int(last["ts_recv"]), instrument, producer, int(last["seq"]), of_orders)
    return None
