"""Columns of records as Arrow arrays: one rule for files, queries, DuckDB, polars and Flight.

Prices and sizes are decimal128(38, s), where s is the largest scale among the instruments: 19 digits of a mantissa and
up to 18 more from a smaller scale always fit 38. On request they are the nearest float64, or the stored int64, whose
decimals stand in the columns `price_scale` and `size_scale`. A price that does not exist is null; so is the venue time
if the venue gives none. GAP and STATUS rows carry their cause or code, a whole number, as price. The size of a GAP row
is the number of missing records, null if unknown.

Names and words are dictionary columns. The dictionary's values are unique and the same in every batch, so readers may
group by index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import Instrument
from tickplant.records.layouts import DTYPES, NO_PRICE, UNKNOWN, Kind, Schema, Side
from tickplant.records.merge import Columns
from tickplant.records.schemas import FACTS, PLAIN_NUMBERS, PRICES, SERIES_FILE, SIZES, TIMES

Prices = Literal["decimal", "float", "integer"]
"""The form of prices and sizes: exact decimals, the nearest float64, or the stored integers next to their scales."""

VENUE_TIMES: Final = frozenset({"ts_event", "book_ts_event"})  # 0 where the venue gave none
COLUMNS: Final[dict[Schema, tuple[str, ...]]] = {
    schema: ("ts_event", "ts_recv", "venue", "symbol", *facts.shown) for schema, facts in FACTS.items()
}
"""Columns of the result, in order."""

SCALES: Final = ("price_scale", "size_scale")
"""Columns on request: how many decimals the integers of a row have, 0 for plain numbers."""
INTEGER_TIMES: Final = {"event_ns": "ts_event", "recv_ns": "ts_recv"}
"""Columns on request: the named times as int64 nanoseconds, 0 where the venue gave none."""

KIND_WORDS: Final = tuple(kind.name.lower() for kind in Kind)  # Kind counts up from 1
SIDE_WORDS: Final = ("bid", "ask", "buy", "sell")


def _of_all_kinds(kinds: Iterable[int]) -> NDArray[np.bool_]:
    """A table, by kind, of whether the kind is one of these: a look-up is several times faster than comparisons."""
    found = np.zeros(256, np.bool_)
    found[list(kinds)] = True
    return found


_HAS_DECIMALS: Final = (~_of_all_kinds(PLAIN_NUMBERS)).astype(np.uint8)
_HAS_PRICE: Final = ~_of_all_kinds((Kind.CLEAR, Kind.CHECKSUM))
_HAS_SIZE: Final = ~_of_all_kinds((Kind.CLEAR, Kind.STATUS))
_KIND_PLACES: Final = np.full(256, -1, np.int8)  # in KIND_WORDS
_KIND_PLACES[1 : len(KIND_WORDS) + 1] = np.arange(len(KIND_WORDS))
_SIDE_PLACES: Final = np.full((256, 256), -1, np.int8)  # in SIDE_WORDS, by kind and side
_SIDE_PLACES[:, Side.BID], _SIDE_PLACES[:, Side.ASK] = 0, 1
_SIDE_PLACES[Kind.TRADE, Side.BUY], _SIDE_PLACES[Kind.TRADE, Side.SELL] = 2, 3


class ArrowColumns:
    """Makes Arrow arrays from columns of records of one schema."""

    def __init__(
        self,
        instruments: Iterable[Instrument],
        schema: Schema,
        *,
        prices: Prices = "decimal",
        series: Sequence[str] | None = None,
    ) -> None:
        """Take what the columns themselves do not contain.

        Args:
            instruments: every instrument that occurs.
            schema: the schema of the records.
            prices: the form of prices and sizes.
            series: names of the numbers in the column `series`, number 1 first; None leaves them as numbers.
        """
        self.series = series if FACTS[schema].named else None
        self.record_schema = schema
        self.prices: Prices = prices
        self._dtype = DTYPES[schema]
        self.instruments = list(instruments)
        rows = self.instruments
        count = max((row.id for row in rows), default=0) + 1
        self._known = np.zeros(count, np.bool_)
        self._scales = {name: np.zeros(count, np.uint8) for name in SCALES}
        different = {name: {getattr(row, name) for row in rows} for name in SCALES}
        self._same_scale = {name: min(scales) if len(scales) == 1 else None for name, scales in different.items()}
        # A symbol may have had several ids, but a dictionary holds each name once.
        self.names = {name: sorted({getattr(row, name) for row in rows}) for name in ("venue", "symbol")}
        places = {name: {word: place for place, word in enumerate(words)} for name, words in self.names.items()}
        self._name_of = {name: np.zeros(count, np.int32) for name in self.names}  # index into `names`, by id
        for row in rows:
            self._known[row.id] = True
            for name, scales in self._scales.items():
                scales[row.id] = getattr(row, name)
            for name, of_id in self._name_of.items():
                of_id[row.id] = places[name][getattr(row, name)]

    def scales_of(self, name: str) -> list[int]:
        """The scales that occur in this column of prices or sizes, sorted, each once."""
        return sorted({getattr(row, _scale_of(name)) for row in self.instruments})

    @property
    def default(self) -> tuple[str, ...]:
        """The columns of a request that names none."""
        return COLUMNS[self.record_schema] + (SCALES if self.prices == "integer" else ())

    @cached_property
    def all(self) -> tuple[str, ...]:
        """Every column that may be requested."""
        return (*COLUMNS[self.record_schema], *SCALES, *INTEGER_TIMES, "instrument")

    @property
    def nothing(self) -> Columns:
        """No rows."""
        return {name: np.zeros(0, self._dtype[name]) for name in self._dtype.names or ()}

    def sources(self, names: Iterable[str]) -> tuple[str, ...]:
        """The fields of records from which these columns are made, always with the instrument."""
        needed = {"instrument": None}
        for name in names:
            if name in PRICES or name in SIZES or name in SCALES or name in ("kind", "side"):
                needed |= dict.fromkeys(("kind",) if "kind" in (self._dtype.names or ()) else ())
            if name not in ("venue", "symbol", *SCALES):
                needed[INTEGER_TIMES.get(name, name)] = None
        return tuple(needed)

    def plain_sources(self, names: Iterable[str]) -> tuple[str, ...]:
        """The fields of records from which `plain` makes these columns: for most, the field of that name alone."""
        made = [name for name in names if self._is_made(name)]
        stored = [INTEGER_TIMES.get(name, name) for name in names if name not in made]
        return tuple(dict.fromkeys((*stored, *(self.sources(made) if made else ()))))

    def _is_made(self, name: str) -> bool:
        """Whether `plain` computes this column rather than returning the stored field."""
        is_number = name in PRICES or name in SIZES
        return name == "series" or name in self.names or name in SCALES or (is_number and self.prices == "float")

    def type(self, name: str) -> pa.DataType:
        """The Arrow type of a column of `all`."""
        if name in TIMES:
            return pa.timestamp("ns", "UTC")
        if self.is_words(name):
            return pa.dictionary(pa.int8() if name in ("kind", "side") else pa.int32(), pa.string())
        if name in SCALES:
            return pa.uint8()
        if name in INTEGER_TIMES:
            return pa.int64()
        if name in PRICES or name in SIZES:
            scales = self._scales[_scale_of(name)]
            exact = pa.int64() if self.prices == "integer" else pa.decimal128(38, int(scales.max()))
            return pa.float64() if self.prices == "float" else exact
        return pa.from_numpy_dtype(self._dtype[name])

    def is_words(self, name: str) -> bool:
        """Whether a column holds words, which `labels` lists."""
        return name in ("venue", "symbol", "kind", "side") or (name == "series" and self.series is not None)

    def schema(self, names: Sequence[str]) -> pa.Schema:
        """The Arrow schema of these columns."""
        return pa.schema([(name, self.type(name)) for name in names])

    def check(self, columns: Columns) -> None:
        """Raises ValueError for a record of an unnamed instrument, StoreError for one of an unnamed series."""
        ids = columns["instrument"]
        if not len(ids):
            return
        last = int(ids.max())
        present = ids[:1] if last == int(ids.min()) else ids  # mostly all records have the same id
        if last >= len(self._known) or not self._known[present].all():
            raise ValueError("a record is of an instrument that was not named to the export")
        if "series" in columns and self.series is not None and columns["series"].max(initial=0) > len(self.series):
            why = f"does not name series {int(columns['series'].max())}, which has records"
            raise StoreError(f"{why}: either the series is new and a retry helps, or this is damage", path=SERIES_FILE)

    def batch(self, names: Sequence[str], columns: Columns) -> pa.RecordBatch:
        """A batch of these columns, made from the fields that `sources` names."""
        arrays = [self.array(name, columns) for name in names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema(names))

    def array(self, name: str, columns: Columns) -> pa.Array:
        """One column."""
        kind = self.type(name)
        if name in TIMES:
            times = np.ascontiguousarray(columns[name])
            return pa.array(times, mask=times == 0 if name in VENUE_TIMES else None).cast(kind)
        if name in PRICES or name in SIZES:
            if self.prices == "integer":
                mantissas, valid = _mantissas(name, columns)
                return pa.array(mantissas, mask=None if valid.all() else ~valid)
            mantissas, scales, valid = self.numbers(name, columns)
            if self.prices == "float":
                return pa.array(mantissas / 10.0**scales, mask=~valid)
            return _decimals(mantissas, scales, valid, kind)
        if name in SCALES:
            return pa.array(self.scales(name, columns))
        if self.is_words(name):
            indices, words = self.labels(name, columns)
            return pa.DictionaryArray.from_arrays(indices.cast(kind.index_type), pa.array(words))
        return pa.array(np.ascontiguousarray(columns[INTEGER_TIMES.get(name, name)]))

    def labels(self, name: str, columns: Columns) -> tuple[pa.Array, list[str]]:
        """Indices into a list of words, null where a row has none, and that list."""
        if name in self.names:
            return pa.array(self._name_of[name][columns["instrument"]]), self.names[name]
        words: Sequence[str]
        places: NDArray[np.int8] | NDArray[np.int32]
        if name == "series":
            words, places = self.series or (), columns[name].astype(np.int32) - 1
        elif name == "kind":
            words, places = KIND_WORDS, _KIND_PLACES[columns["kind"]]
        else:
            kinds = columns["kind"].astype(np.uint16)
            words, places = SIDE_WORDS, _SIDE_PLACES.reshape(-1)[kinds << 8 | columns["side"]]
        missing = places < 0
        if not missing.any():
            return pa.array(places), list(words)
        # Some readers look at the index of a null too, so it must be a valid one.
        return pa.array(np.where(missing, 0, places).astype(places.dtype), mask=missing), list(words)

    def scales(self, name: str, columns: Columns) -> NDArray[np.uint8]:
        """The scale of each row: of its prices for `price_scale`, of its sizes for `size_scale`."""
        ids, same = columns["instrument"], self._same_scale[name]
        scales = self._scales[name][ids] if same is None else np.full(len(ids), same, np.uint8)
        if "kind" in columns:
            scales *= _HAS_DECIMALS[columns["kind"]]
        return scales

    def numbers(self, name: str, columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.bool_]]:
        """Mantissas, the scale of each, and which of them are valid."""
        mantissas, valid = _mantissas(name, columns)
        return mantissas, self.scales(_scale_of(name), columns), valid

    def plain(self, name: str, columns: Columns) -> NDArray[Any]:
        """One column as a numpy array: the stored values, except that names are text, and prices float64 on request."""
        if name in self.names or (name == "series" and self.is_words(name)):
            indices, words = self.labels(name, columns)
            named: NDArray[np.str_] = np.array(words, np.str_)[indices.to_numpy()]
            return named
        if name in SCALES:
            return self.scales(name, columns)
        if self.prices == "float" and (name in PRICES or name in SIZES):
            mantissas, scales, valid = self.numbers(name, columns)
            return np.where(valid, mantissas / 10.0**scales, np.nan)
        return np.ascontiguousarray(columns[INTEGER_TIMES.get(name, name)])


@lru_cache(maxsize=16)
def arrow_columns(
    instruments: tuple[Instrument, ...], schema: Schema, prices: Prices, series: tuple[str, ...]
) -> ArrowColumns:
    """The ArrowColumns of these instruments, cached: many callers ask for the same ones again and again."""
    return ArrowColumns(instruments, schema, prices=prices, series=series)


def _mantissas(name: str, columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The mantissas of a column of prices or sizes, and which of them are valid."""
    mantissas = np.ascontiguousarray(columns[name])
    valid = mantissas != NO_PRICE if name in PRICES else np.ones(len(mantissas), np.bool_)
    if "kind" in columns:
        kinds = columns["kind"]
        if name == "price":
            valid &= _HAS_PRICE[kinds]
        else:
            valid &= _HAS_SIZE[kinds] & ~((kinds == Kind.GAP) & (mantissas == UNKNOWN))
    return mantissas, valid


def _scale_of(name: str) -> str:
    return "price_scale" if name in PRICES else "size_scale"


def bitmap(valid: NDArray[np.bool_]) -> pa.Buffer:
    """Arrow's validity bitmap: which values are valid, one bit each."""
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _decimals(
    mantissas: NDArray[np.int64], scales: NDArray[np.uint8], valid: NDArray[np.bool_], kind: pa.DataType
) -> pa.Array:
    """Decimals at the scale of `kind`, from mantissas whose own scales are no larger."""
    words = np.empty((len(mantissas), 2), np.int64)  # a decimal128 is a 128-bit integer: low word, high word
    words[:, 0] = mantissas
    words[:, 1] = mantissas >> 63
    words[~valid] = 0
    for scale in np.unique(scales[valid]).tolist():
        if scale != kind.scale:
            rows = np.flatnonzero(valid & (scales == scale))
            own = pa.decimal128(38, scale)
            part = pa.Array.from_buffers(own, len(rows), [None, pa.py_buffer(words[rows])])
            words[rows] = np.frombuffer(part.cast(kind).buffers()[1], np.int64).reshape(-1, 2)
    return pa.Array.from_buffers(kind, len(mantissas), [bitmap(valid), pa.py_buffer(words)])
