"""The instrument table: the symbol of each id, and how many decimals its integers carry.

The table is an append-only text file in the store, `instruments.jsonl`, with one JSON object per line. The supervisor
writes it; every process reads it. Ids start at 1 and are stable for the life of the store; an instrument whose scales
change gets a new id. The next registration drops a last line that a crash has torn (`line_file`): nothing used its id
yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from tickplant.errors import StoreError
from tickplant.line_file import LineFile

FEED_SYMBOL = "*"
"""Symbol of each venue's pseudo-instrument, which carries feed-wide STATUS records."""

DEFAULT_SCALE = 8
MAX_INSTRUMENTS = 1 << 20
NAME_BYTES = 128  # of a venue or a symbol
MAX_SCALE = 18  # 10**18 still fits an i8 mantissa

MAX_TABLE_BYTES = 64 << 20
"""A larger file is not an instrument table: this is room for half a million instruments."""

Scale = Annotated[int, msgspec.Meta(ge=0, le=MAX_SCALE)]

_DECIMAL = re.compile(r"([+-]?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?\Z", re.ASCII)


class Instrument(msgspec.Struct, frozen=True):
    """One row of the table. `value = mantissa * 10**-scale` for every price and size of this id."""

    id: int
    venue: str
    symbol: str
    price_scale: Scale
    size_scale: Scale

    def covers(self, price_scale: int | None, size_scale: int | None) -> bool:
        """Whether values with this many decimals fit exactly; None fits always."""
        return (price_scale or 0) <= self.price_scale and (size_scale or 0) <= self.size_scale


class InstrumentTable:
    """The table in memory, and the one way to add to it. One process registers; any number of processes read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[Instrument] = []
        self._by_symbol: dict[tuple[str, str], list[Instrument]] = {}
        self._file = LineFile(path, MAX_TABLE_BYTES)
        self.reload()

    @classmethod
    def load(cls, path: Path) -> InstrumentTable:
        """Read the table; a missing file is an empty table. Raises StoreError if a line is not a row."""
        return cls(path)

    def reload(self) -> None:
        """Read the rows appended since the last read."""
        self._file.read(self._take)

    def _take(self, line: bytes) -> None:
        try:
            row = msgspec.json.decode(line, type=Instrument)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(
                f"row {len(self._rows) + 1} is not an instrument ({error}); restore the file", path=self.path
            ) from None
        if row.id != len(self._rows) + 1:
            raise StoreError(f"row {len(self._rows) + 1} has id {row.id}; restore the file", path=self.path)
        self._add(row)

    def _add(self, row: Instrument) -> None:
        self._rows.append(row)
        self._by_symbol.setdefault((row.venue, row.symbol), []).append(row)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def by_id(self, instrument_id: int) -> Instrument:
        """The row of an id. Raises StoreError for an unknown id."""
        if not 1 <= instrument_id <= len(self._rows):
            raise StoreError(f"no instrument has id {instrument_id}", path=self.path)
        return self._rows[instrument_id - 1]

    def find(self, venue: str, symbol: str) -> list[Instrument]:
        """Rows of a symbol, oldest first: several if its scales have changed, none if it is unknown."""
        return list(self._by_symbol.get((venue, symbol), ()))

    def register(self, venue: str, symbol: str, price_scale: int, size_scale: int) -> Instrument:
        """The newest row with these scales; a missing one is appended durably. Raises StoreError, ValueError."""
        return self.register_all([(venue, symbol, price_scale, size_scale)])[0]

    def register_all(self, wanted: Sequence[tuple[str, str, int, int]]) -> list[Instrument]:
        """`register` each `(venue, symbol, price_scale, size_scale)`; all new rows become durable at once.

        Raises StoreError, ValueError; in that case no row is added.
        """
        found: list[Instrument] = []
        new: dict[tuple[str, str, int, int], Instrument] = {}
        for key in wanted:
            venue, symbol, price_scale, size_scale = key
            rows = reversed(self._by_symbol.get((venue, symbol), ()))
            row = next((row for row in rows if (row.price_scale, row.size_scale) == (price_scale, size_scale)), None)
            if row is None and key not in new:
                self._check_new(*key, number=len(self._rows) + len(new))
                new[key] = Instrument(len(self._rows) + len(new) + 1, venue, symbol, price_scale, size_scale)
            found.append(row or new[key])
        if new:
            self._append(list(new.values()))
        return found

    def _check_new(self, venue: str, symbol: str, price_scale: int, size_scale: int, *, number: int) -> None:
        """Raises StoreError, ValueError for values that cannot become a row after the first `number` rows."""
        if not (0 <= price_scale <= MAX_SCALE and 0 <= size_scale <= MAX_SCALE):
            raise ValueError(f"{venue} {symbol}: scales {price_scale}, {size_scale} are not within 0..{MAX_SCALE}")
        for text in (venue, symbol):
            if not 0 < len(text.encode(errors="surrogatepass")) <= NAME_BYTES or not text.isprintable():
                raise ValueError(f"{text[:NAME_BYTES]!r} is not a name of 1 to {NAME_BYTES} printable bytes")
        if number >= MAX_INSTRUMENTS:
            raise StoreError(f"is full: {MAX_INSTRUMENTS} instruments is the limit", path=self.path)

    def _append(self, rows: list[Instrument]) -> None:
        names = ", ".join(f"{row.venue} {row.symbol}" for row in rows[:3]) + (" …" if len(rows) > 3 else "")
        self._file.append(b"".join(msgspec.json.encode(row) + b"\n" for row in rows), names)
        for row in rows:
            self._add(row)


def parse_decimal(text: str) -> tuple[int, int]:
    """Exact value of a decimal text, which may have an exponent, as `(mantissa, scale)` with scale >= 0.

    Raises ValueError for anything that is not a plain decimal number.
    """
    match = _DECIMAL.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a decimal number")
    sign, whole, fraction, exponent = match.groups(default="")
    scale = len(fraction) - int(exponent or 0)
    mantissa = int(sign + whole + fraction)
    factor: int = 10 ** max(0, -scale)
    return mantissa * factor, max(0, scale)


def to_mantissa(text: str, scale: int) -> int:
    """Exact mantissa of a decimal text at `scale`. Raises ValueError if digits would be lost or an i8 overflows."""
    # Fast path without the regular expression. Venues nearly always send digits, a point, and at most `scale` digits.
    whole, _, fraction = text.partition(".")
    plain = whole + fraction.ljust(scale, "0")
    if whole and len(fraction) <= scale and len(plain) <= MAX_SCALE and plain.isdigit() and plain.isascii():
        return int(plain)
    mantissa, digits = parse_decimal(text)
    factor: int = 10 ** abs(scale - digits)
    if digits <= scale:
        mantissa *= factor
    else:
        mantissa, lost = divmod(mantissa, factor)
        if lost:
            raise ValueError(f"{text} has more than {scale} decimals")
    if not -(2**63) < mantissa < 2**63:
        raise ValueError(f"{text} does not fit 63 bits at scale {scale}")
    return mantissa


def format_decimal(mantissa: int, scale: int) -> str:
    """Fixed-point text with exactly `scale` decimals: `format_decimal(-5, 2)` is `-0.05`."""
    if scale == 0:
        return str(mantissa)
    digits = str(abs(mantissa)).rjust(scale + 1, "0")
    return f"{'-' if mantissa < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"
