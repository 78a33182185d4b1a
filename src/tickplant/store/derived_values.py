"""Indicators over stored records: computed once per symbol and day, cached in `derived/`, recomputed if inputs change.

A day's values follow from its rows, and from what the kernel remembers of all earlier days. So each day has a key: a
digest of the chunks that it is read from, of the indicator (its sources and parameters), and of the previous day's key.
If the key of a file differs, that day and the days after it are computed again, and nothing else. So values do not
depend on the requested range, and equal those of one run over everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import Floats, Indicator
from tickplant.derive.own_indicators import said
from tickplant.errors import DeriveError, StoreError
from tickplant.store.daily_files import DAY_NS, day_of
from tickplant.store.derived_books import BookRows
from tickplant.store.derived_rows import Carried, DerivedRows
from tickplant.store.selection import Clock
from tickplant.store.value_table import Columns, ValueTable

if TYPE_CHECKING:
    from tickplant.store.reader import Store

FOLDER: Final = "derived"
SUFFIX: Final = ".npz"
CARRIED: Final = "carried_"
UNREADABLE: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for a file that is missing or damaged."""

HELD_BYTES: Final = 64 << 20
"""Days that were read or computed are held, up to this size, until they are handed out: so each is read only once."""

Progress = Callable[["DerivedDay"], None]


class DerivedDay(NamedTuple):
    """The values of a symbol on one UTC day, by receive time."""

    venue: str
    symbol: str
    day: str
    rows: int
    cached: bool  # read from the cache; False: computed now
    file: Path


class _Day(NamedTuple):
    """The values of a day, and the state that the next day starts with."""

    ts_event: NDArray[np.int64]
    ts_recv: NDArray[np.int64]
    values: Floats  # (outputs, rows)
    carried: Carried

    @property
    def size_bytes(self) -> int:
        """Its size in memory."""
        return sum(array.nbytes for array in (self.ts_event, self.ts_recv, self.values, *self.carried.values()))


class _Held:
    """Days in memory, at most HELD_BYTES. Thread-safe."""

    def __init__(self) -> None:
        self._days: dict[Path, _Day] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def hold(self, file: Path, day: _Day) -> None:
        """Hold a day, if there is room."""
        with self._lock:
            if self._bytes + day.size_bytes <= HELD_BYTES:
                self._days[file] = day
                self._bytes += day.size_bytes

    def look(self, file: Path) -> _Day | None:
        """A held day, if any."""
        return self._days.get(file)

    def hand_out(self, file: Path) -> _Day | None:
        """The same day, which is then no longer held."""
        with self._lock:
            day = self._days.pop(file, None)
            self._bytes -= day.size_bytes if day else 0
            return day


class Derived(ValueTable):
    """Values of one indicator, one row for each input row, symbol by symbol in order of time.

    Nothing is read before the first call, which computes what is not cached; later calls read the cache.
    """

    def __init__(
        self,
        store: Store,
        symbols: Sequence[tuple[str, str]],
        indicator: Indicator,
        parameters: Floats,
        *,
        interval_s: int,
        rule: str,
        label: str,
        code: str,
        range_ns: tuple[int | None, int | None] = (None, None),
        clock: Clock = "recv",
        progress: Progress = lambda _: None,
    ) -> None:
        self._symbols = list(symbols)
        self._indicator = indicator
        self._parameters = parameters
        self._interval_s = interval_s
        self._rule = rule
        self._range_ns = range_ns
        self._clock = clock
        self._progress = progress
        self._made: list[DerivedDay] | None = None
        self._kept: dict[Path, _Day] = {}  # days that could not be written
        self._held = _Held()
        self.label = label
        self._code = code
        super().__init__(store, indicator.outputs)

    @property
    def days(self) -> list[DerivedDay]:
        """Each symbol and day, and whether it came from the cache. Computes what is missing.

        Raises DamageError.
        """
        if self._made is None:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                made = list(pool.map(self._make, self._symbols))
            self._made = [day for days, _ in made for day in days]
            self._store.damages += sum(damages for _, damages in made)
        return self._made

    def blocks(self) -> Iterator[tuple[DerivedDay, Columns]]:
        """For each day with rows in the range: ts_event, ts_recv and the outputs, arrays of shape (rows,)."""
        start, end = self._range_ns
        for day in self.days:
            found = self._held.hand_out(day.file) or self._day(day.file)
            times = found.ts_recv if self._clock == "recv" else found.ts_event
            wanted = np.ones(len(times), np.bool_)
            wanted &= True if start is None else times >= start
            wanted &= True if end is None else times < end
            if wanted.any():
                columns: Columns = {"ts_event": found.ts_event[wanted], "ts_recv": found.ts_recv[wanted]}
                columns |= dict(zip(self._indicator.outputs, found.values[:, wanted], strict=True))
                yield day, columns

    # -----------------------------------------------------------------------------------------------------------

    def _make(self, symbol: tuple[str, str]) -> tuple[list[DerivedDay], int]:
        """All days of a symbol up to the end of the range, in order, and the number of damaged parts skipped.

        Runs in a thread of its own.
        """
        store = self._store.another()
        rows = self._rows_of(store, *symbol)
        folder = store.data_dir / FOLDER / quote(symbol[0], safe="") / quote(symbol[1], safe="") / self.label
        key = f"{self._code} {self.label} {self._parameters.tolist()}"
        before: Callable[[], Carried] = dict
        days = []
        for day, chunks in rows.chunks_by_day().items():
            if self._clock == "recv" and self._range_ns[1] is not None and day * DAY_NS >= self._range_ns[1]:
                break
            key = hashlib.blake2b(key.encode() + chunks, digest_size=16).hexdigest()
            name = day_of(day * DAY_NS)
            file = folder / f"{name}{SUFFIX}"
            made = _of_key(file, key)
            cached = made is not None
            if made is None:
                damages = store.damages
                made = self._compute(rows, day, before())
                # Damage that was skipped may be repaired later: such days are not cached.
                if store.damages > damages or not _save(file, key, made):
                    self._kept[file] = made
                    key += " damaged" if store.damages > damages else ""
            if file not in self._kept:
                self._held.hold(file, made)
            before = partial(self._left_by, file)
            days.append(DerivedDay(*symbol, name, len(made.ts_recv), cached, file))
            self._progress(days[-1])
        return days, store.damages

    def _rows_of(self, store: Store, venue: str, symbol: str) -> DerivedRows | BookRows:
        one = self._indicator
        if one.over == "book":
            return BookRows(store, store.find(venue, symbol), one, self.label)
        return DerivedRows(store, store.find(venue, symbol), one.over, one.inputs, self._interval_s, self._rule)

    def _left_by(self, file: Path) -> Carried:
        # Copies, since a kernel writes to the state that it continues from.
        return {name: array.copy() for name, array in self._day(file).carried.items()}

    def _day(self, file: Path) -> _Day:
        """A day that was computed. Raises StoreError if its file has been removed since."""
        if file in self._kept:
            return self._kept[file]
        if held := self._held.look(file):
            return held
        try:
            return _load(file)[1]
        except UNREADABLE as error:
            raise StoreError(f"cannot be read any more ({error}): derive again", path=file) from error

    def _compute(self, rows: DerivedRows | BookRows, day: int, carried: Carried) -> _Day:
        indicator = self._indicator
        state = carried.pop("state", None)
        state = indicator.start(self._parameters.tolist()) if state is None else state
        times: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        values = [np.zeros((len(indicator.outputs), 0))]
        for block in rows.read(day, carried):
            out = np.full((len(indicator.outputs), len(block.ts_recv)), np.nan)
            try:
                if block.inputs is not None:
                    indicator.kernel(block.inputs, self._parameters, state, out)
            except Exception as error:
                raise DeriveError(f"raised {said(error)}", key=self.label) from error
            times.append((block.ts_event, block.ts_recv))
            values.append(out)
        event, recv = (np.concatenate(column) for column in zip(*times, strict=True))
        return _Day(event, recv, np.concatenate(values, axis=1), {**carried, "state": state})


def _of_key(file: Path, key: str) -> _Day | None:
    """The day in a file, if the file exists, is undamaged, and has this key."""
    try:
        found, day = _load(file)
    except UNREADABLE:
        return None
    return day if found == key else None


def _load(file: Path) -> tuple[str, _Day]:
    """Key and contents of a file. Raises one of UNREADABLE."""
    with file.open("rb") as opened, np.load(opened) as found:
        carried = {name.removeprefix(CARRIED): found[name] for name in found.files if name.startswith(CARRIED)}
        return str(found["key"]), _Day(found["ts_event"], found["ts_recv"], found["values"], carried)


def _save(file: Path, key: str, day: _Day) -> bool:
    """Save a day; False if it could not be written: a read-only store costs only the cache."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}")
    carried: dict[str, Any] = {f"{CARRIED}{name}": array for name, array in day.carried.items()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as out:
            np.savez(
                out, key=np.array(key), ts_event=day.ts_event, ts_recv=day.ts_recv, values=day.values, **carried
            )  # fmt: skip
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True
