"""The end of a run: the last record is stored, everything stops, and the store is compared with all that is known."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
from folded_book import FoldedBook
from numpy.typing import NDArray
from plant_process import tickplant

from chaos.chaos_plant import FEED, ChaosPlant
from tickplant.books.fold import BOOK_KINDS, Fold
from tickplant.client.book_request import fetch_book
from tickplant.errors import SubscribeError
from tickplant.instruments import to_mantissa
from tickplant.records.layouts import Flag, Kind, Schema, Side
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

CALM_DEADLINE_S: Final = 120.0
ATTEMPTS: Final = 10

Records = NDArray[np.void]


class Ending(msgspec.Struct, kw_only=True):
    """What was found. `failures` is empty if all is well."""

    heads: dict[str, tuple[int, int]]  # by journal: the furthest position seen in its ring, and the next seq stored
    lost: int  # records that reached a ring and are not stored
    verify_ok: bool
    verify_problems: dict[str, int]
    accounts: dict[str, int]  # sums of the feed's accounts over all days, and the records they cover
    books: dict[str, str]  # the stored books compared with the venue's
    engine_books: dict[str, str]
    failures: list[str]


def end(plant: ChaosPlant, reached: dict[tuple[str, Schema], int], turn: Callable[[], None]) -> Ending:
    """Wait until the books are in sync, stop the plant and judge. `reached`: the known heads of the rings."""
    failures = []
    symbols = plant.settings.symbols
    until(lambda: not _stale(plant), lambda: _rest(turn))
    venue_books = {symbol: plant.sim.get(f"/api/v3/depth?symbol={symbol}&limit=5000").json() for symbol in symbols}
    engine_books = {symbol: _engine_book(plant, symbol) for symbol in symbols}
    if not until(lambda: _is_stored(plant, venue_books), lambda: _rest(turn)):
        failures.append("the venue's last book changes are not stored")
    for key, head in plant.heads().items():
        reached[key] = max(reached.get(key, 0), head)
    plant.forget()
    code = plant.running.stop()
    if code:
        failures.append(f"`tickplant up` ended with {code}: {plant.errors()}")
    if left := plant.running.segments():
        failures.append(f"left in shared memory: {', '.join(sorted(left))}")
    plant.sim.stop()
    done = tickplant("verify", "--data", plant.data_dir, "--json", timeout_s=600.0)
    verified = json.loads(done.stdout.splitlines()[-1])
    problems = Counter(str(problem["kind"]) for problem in verified["problems"])
    if not verified["ok"]:
        failures.append(f"verify found problems: {dict(problems)}")
    failures += [f"miscounted: {account}" for account in sorted(plant.miscounted)]
    accounts = _accounts(verified["feeds"])
    if not verified["reconciled"] or not accounts.get("accounted"):
        failures.append(f"the counts do not add up, or there are none: {accounts}")
    store = Store(plant.data_dir)
    lost, heads = 0, {}
    for (producer, schema), head in sorted(reached.items()):
        name = f"{producer}/{schema.name.lower()}"
        heads[name] = (head, store.next_seq(producer, schema))
        lost += max(0, head - heads[name][1])
    lost += sum(one["last_seq"] - one["first_seq"] + 1 for one in verified["problems"] if one["kind"] == "hole")
    if lost:
        failures.append(f"{lost} records that were in a ring are not stored")
    books = {symbol: _stored_book(store, symbol, venue) for symbol, venue in venue_books.items()}
    failures += [f"the stored book of {symbol} is {found}" for symbol, found in books.items() if found != "equal"]
    failures += [
        f"the engine says that its book of {symbol} is live, and it is not the stored one"
        for symbol, found in engine_books.items()
        if found == "different"
    ]
    return Ending(
        heads=heads,
        lost=lost,
        verify_ok=bool(verified["ok"]),
        verify_problems=dict(problems),
        accounts=accounts,
        books=books,
        engine_books=engine_books,
        failures=failures,
    )


def _accounts(feeds: list[dict[str, Any]]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for feed in feeds:
        totals.update({name: feed[name] for name in ("lives", "records", "accounted")})
        for day in feed["days"]:
            totals.update({name: day[name] for name in ("received", "rejected", "made", "stored", "dropped")})
    return dict(totals)


def until(condition: Callable[[], bool], turn: Callable[[], None]) -> bool:
    """Turn until the condition holds; False if that takes too long."""
    deadline_s = time.monotonic() + CALM_DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        turn()
    return True


def _rest(turn: Callable[[], None]) -> None:
    """A second of turns, since asking the venue for its ledger is expensive."""
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        turn()


def _stale(plant: ChaosPlant) -> bool:
    """Whether some book is stale or missing, as stored so far."""
    store = Store(plant.data_dir)
    return any(store.book("binance", symbol, time.time_ns()).stale for symbol in plant.settings.symbols)


def _is_stored(plant: ChaosPlant, venue_books: dict[str, dict[str, Any]]) -> bool:
    """Whether the store has a change of each book that reaches beyond the book that the venue showed."""
    store = Store(plant.data_dir)
    return all(_reaching(store, symbol, venue["lastUpdateId"]) is not None for symbol, venue in venue_books.items())


def _reaching(store: Store, symbol: str, ident: int) -> Records | None:
    """The stored change of a book that ends at an id or spans it: its LEVELs."""
    for records in store.query("binance", symbol, kinds=[Kind.LEVEL]):
        later = records[(records["venue_seq"] >= ident) & ((records["flags"] & Flag.SNAPSHOT) == 0)]
        if len(later):
            return later[later["venue_seq"] == later[0]["venue_seq"]]
    return None


def _stored_book(store: Store, symbol: str, venue: dict[str, Any]) -> str:
    """Compare the stored book with the venue's.

    The venue shows its book at an id that may lie within a change that it sends slightly later. That change holds
    absolute sizes: after applying it, the book shown and the book folded up to it must be the same.
    """
    change = _reaching(store, symbol, venue["lastUpdateId"])
    if change is None:
        return "behind"
    row = store.find("binance", symbol)[-1]
    fold, shown = Fold(row.id), FoldedBook()
    for records in store.read(FEED, Schema.TICK, Selection(ids=frozenset({row.id}), kinds=BOOK_KINDS)):
        fold.apply(records[records["seq"] <= change[-1]["seq"]])
    for side, texts in ((Side.BID, venue["bids"]), (Side.ASK, venue["asks"])):
        for price, size in texts:
            shown.levels[side][to_mantissa(price, row.price_scale)] = to_mantissa(size, row.size_scale)
    shown.live = True
    shown.apply_ticks(change)
    stored = fold.book(row)
    if stored.stale:
        return "stale"
    sides = [[tuple(level) for level in side.tolist()] for side in (stored.bids, stored.asks)]
    return "equal" if sides == [shown.side(Side.BID), shown.side(Side.ASK)] else "different"


def _engine_book(plant: ChaosPlant, symbol: str) -> str:
    """Compare the engine's book with the stored one of the same moment."""
    store = Store(plant.data_dir)
    found = ""
    for _ in range(ATTEMPTS):
        try:
            live = fetch_book("binance", symbol, address=plant.running.publish)
        except SubscribeError as error:
            return f"missing ({error})"
        if live.stale:
            return "stale"
        until(lambda at_ns=live.ts_recv: store.book("binance", symbol, time.time_ns()).ts_recv > at_ns, _nap)
        book = store.book("binance", symbol, live.ts_recv)
        sides = [[tuple(level) for level in side.tolist()] for side in (book.bids, book.asks)]
        found = "equal" if sides == [live.bids, live.asks] else "different"
        if found == "equal":
            break
        # Several changes can share one read from the socket, and so one receive time.
    return found


def _nap() -> None:
    time.sleep(0.1)
