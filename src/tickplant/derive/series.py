"""Series of values: the meaning of their names, and their numbers in a store.

A name determines its series: `rsi-14.1m` is RSI with period 14 over one-minute bars, `hawkes-0.1-0.5-1.trade` is Hawkes
intensity over trades with three parameters, `vpin-50.volume-10` is VPIN over bars of volume 10, `depth-10.book_1s` is
the depth of ten levels of the book each second, and `bars.volume-10` is the bars of trades themselves.

A record has the number of its series. `series.jsonl` in the store maps numbers to names: one JSON object per line,
numbers from 1 on, append-only, so that a number keeps its meaning for the life of a store. The supervisor appends to
the file, everybody reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from os.path import commonprefix
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tickplant.derive.indicator import number_text
from tickplant.errors import DeriveError, StoreError
from tickplant.line_file import LineFile
from tickplant.records.schemas import SERIES_FILE

MAX_SERIES: Final = 65_535  # the number takes two bytes
MAX_TABLE_BYTES: Final = 16 << 20
NAME_BYTES: Final = 96  # a topic has at most 128
MAX_BAR_S: Final = 366 * 86_400
"""Longest bars of trades by time."""

BARS: Final = "1m"
EVERY: Final = "1s"
"""Defaults: the bars of an indicator over bars, and the sampling interval of one over books."""
LISTED: Final = 20
"""At most this many of the existing series are named in a message."""

_ROWS: Final = {
    "bar": "bars",
    "trade": "each trade",
    "bbo": "each best bid and offer",
    "book": "samples of the book",
}
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BOOK: Final = "book_"
_LENGTH: Final = re.compile(r"([1-9]\d{0,5})([smhd])", re.ASCII)
_MILLISECONDS: Final = re.compile(r"([1-9]\d{0,5})ms", re.ASCII)
_NUMBER: Final = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_CALENDAR: Final = "[A-Z][A-Z0-9]{2,15}"
_RULE: Final = re.compile(rf"(tick|volume|dollar|imbalance|time)-({_NUMBER})|session-({_CALENDAR})", re.ASCII)
_BY_RULE: Final = rf"(?:tick|volume|dollar|imbalance|time)-{_NUMBER}|session-{_CALENDAR}"
_LONG: Final = r"[1-9]\d{0,5}"
_OVER: Final = rf"trade(?:-{_CALENDAR})?|bbo|{_BOOK}{_LONG}(?:ms|[smhd])|{_LONG}[smhd]|{_BY_RULE}"
_NAME: Final = re.compile(rf"([a-z][a-z0-9_]*)((?:-{_NUMBER})*)\.({_OVER})", re.ASCII)


def _channels(pattern: str) -> re.Pattern[str]:
    """A pattern of channels: a channel is a name with `_` for each dot, since channels cannot contain dots."""
    return re.compile(pattern.replace(r"\.", "_"), re.ASCII)


CHANNEL: Final = _channels(rf"(?!agg_trade\Z|bars?_)[a-z][a-z0-9_]*(?:-{_NUMBER})*_(?:{_OVER})")
"""The channels of series of values."""
BARS_CHANNEL: Final = _channels(rf"bars_(?:{_RULE.pattern})")
"""The channels of bars of trades."""

_BARS: Final = "bars."
"""Prefix of the names of bars of trades, which are not an indicator."""


class SeriesName(NamedTuple):
    """A parsed name."""

    indicator: str
    parameters: tuple[float, ...]
    over: str  # trade, or trade with a calendar's sessions; bbo; the length of bars, or their rule and size;
    # or book_ and the sampling interval
    bars_s: int  # the length of time bars, seconds; 0 for other rows
    rule: str = ""  # the rule of bars of trades, see `trade_bar_kernels.RULES`
    size: float = 0.0  # the size of such a bar, in units of prices and sizes; time in seconds
    every_ns: int = 0  # how often a book is sampled; 0 for other rows
    calendar: str = ""  # the calendar for bars by session, or for an indicator that restarts with sessions

    @property
    def of_books(self) -> bool:
        """Whether its rows are derived from books."""
        return self.over == "bbo" or self.every_ns > 0


def bar_seconds(text: str) -> int:
    """The length of bars such as `1m`, seconds. Raises DeriveError."""
    found = _LENGTH.fullmatch(text)
    if not found:
        raise DeriveError(f"{text!r} is not a bar length: write a number and s, m, h or d, such as 1m", key="bars")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > _UNITS["d"]:
        raise DeriveError(f"{text} is longer than a day", key="bars")
    return seconds


def book_samples(every: str) -> str:
    """What a series over samples is over: `book_100ms` for `100ms`, likewise for `1s`, `5m` …. Raises DeriveError."""
    sample_ns(every)
    return _BOOK + every


def sample_ns(every: str) -> int:
    """The sampling interval, ns. Raises DeriveError."""
    if found := _MILLISECONDS.fullmatch(every):
        return int(found[1]) * 10**6
    try:
        return bar_seconds(every) * 10**9
    except DeriveError:
        message = f"{every!r} is not a sampling interval, at most a day: a number and ms, s, m, h or d, such as 100ms"
        raise DeriveError(message, key="every") from None


def series_over(indicator: str, over: str, *, bars: str = "", every: str = "") -> str:
    """What a series is over, as in its name: one rule for the configuration and for history.

    Args:
        indicator: name of the indicator, for messages.
        over: `Indicator.over`.
        bars: a length, or a rule of bars of trades; only for an indicator over bars, default 1m.
        every: how often books are sampled; only for an indicator over books, default 1s.

    Raises DeriveError, whose key is the option at fault, for an option that does not apply to the indicator.
    """
    for key, given, of in (("bars", bars, "bar"), ("every", every, "book")):
        if given and over != of:
            raise DeriveError(f"{indicator} is over {_ROWS[over]}, not over {_ROWS[of]}", key=key)
    if over == "book":
        return book_samples(every or EVERY)
    if over == "bar":
        rule = trade_bar_rule(bars)
        if not rule:
            bar_seconds(bars or BARS)
        return rule or bars or BARS
    return over


def unknown_series(name: str, there: Sequence[str]) -> str:
    """The message about a series that a store does not have; it lists series with a similar beginning first."""
    near = sorted(there, key=lambda other: -len(commonprefix([name, other])))  # noqa: RUF071  # letters, not folders
    listed = ", ".join(near[:LISTED]) + (f" and {len(there) - LISTED:,} more" if len(there) > LISTED else "")
    return f"the store has no series {name[:NAME_BYTES]!r}; it has {listed or 'none'}"


def series_name(label: str, over: str) -> str:
    """The name of a series: the label of its indicator with parameters, and what it is over."""
    return f"{label}.{over}"


def parse_series(name: str) -> SeriesName:
    """Parse the name of a series. Raises DeriveError."""
    found = _NAME.fullmatch(name)
    if found is None or len(name) > NAME_BYTES:
        raise DeriveError(f"{name[:NAME_BYTES]!r} is not a series such as rsi-14.1m", key="series")
    parameters = tuple(float(number) for number in re.findall(f"-({_NUMBER})", found[2]))
    over = found[3]
    if rule := _RULE.fullmatch(over):
        if calendar := rule[3]:
            return SeriesName(found[1], parameters, over, 0, "session", calendar=calendar)
        return SeriesName(found[1], parameters, over, 0, rule[1], float(rule[2]))
    if over.startswith("trade-"):
        return SeriesName(found[1], parameters, over, 0, calendar=over.removeprefix("trade-"))
    if found[1] == "bars":
        raise DeriveError(f"{name!r} is not a series: bars of trades are such as bars.volume-50", key="series")
    if over.startswith(_BOOK):
        return SeriesName(found[1], parameters, over, 0, every_ns=sample_ns(over.removeprefix(_BOOK)))
    return SeriesName(found[1], parameters, over, 0 if over in ("trade", "bbo") else bar_seconds(over))


def trade_bar_rule(text: str) -> str:
    """The rule of bars of trades such as `volume-50.0`, in the form used in names; empty for any other text.

    Raises DeriveError for a size that no bar can have.
    """
    found = _RULE.fullmatch(text)
    if not found or found[3]:
        return text if found else ""
    size = float(found[2])
    if not 0 < size < math.inf or (found[1] == "tick" and size != int(size)):
        raise DeriveError(f"{text}: a bar has a size above 0, and of ticks a whole one", key="bars")
    if found[1] == "time" and not 1e-3 <= size <= MAX_BAR_S:
        raise DeriveError(f"{text}: a bar has from 0.001 to {MAX_BAR_S:,} seconds", key="bars")
    return f"{found[1]}-{number_text(size)}"


def bars_series(rule: str) -> str:
    """The name of the series of bars of trades with this rule."""
    return _BARS + rule


def are_bars(name: str) -> bool:
    """Whether a series is bars of trades, not values of an indicator."""
    return name.startswith(_BARS)


def series_channel(name: str) -> str:
    """The channel on which a series is published."""
    return name.replace(".", "_")


def is_wanted(patterns: Sequence[str], venue: str, symbol: str) -> bool:
    """Whether patterns of VENUE.SYMBOL match this symbol; an empty list matches all."""
    return not patterns or any(fnmatchcase(f"{venue}.{symbol}", pattern) for pattern in patterns)


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    id: int
    name: str
    source: str = ""  # digest of the text of a user's indicator: another text would make another series
    members: tuple[str, ...] = ()  # the features of a feature set


class SeriesTable:
    """The names of a store's series, by number. One process appends; any number of processes read.

    Raises StoreError if a line is not a row.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self.path = Path(data_dir) / SERIES_FILE
        self.names: list[str] = []  # the name of number 1 first
        self.sources: dict[str, str] = {}  # by name, for users' indicators: the digest of the text
        self.members: dict[str, tuple[str, ...]] = {}  # by name, for feature sets: the features
        self._file = LineFile(self.path, MAX_TABLE_BYTES)
        self.reload()

    def reload(self) -> None:
        """Read the rows that were appended since the last read."""
        self._file.read(self._take)

    def _take(self, line: bytes) -> None:
        number = len(self.names) + 1
        try:
            row = msgspec.json.decode(line, type=_Row)
            parse_series(row.name)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DeriveError) as error:
            raise StoreError(f"row {number} is not a series ({error}); restore the file", path=self.path) from None
        if row.id != number:
            raise StoreError(f"row {number} has id {row.id}; restore the file", path=self.path)
        self._keep(row)

    def _keep(self, row: _Row) -> None:
        self.names.append(row.name)
        if row.source:
            self.sources[row.name] = row.source
        if row.members:
            self.members[row.name] = row.members

    def up_to(self, number: int) -> list[str]:
        """The names, including that of this number. Raises StoreError if there is no such number."""
        if number > len(self.names):
            self.reload()
        if number > len(self.names):
            raise StoreError(f"no series has number {number}", path=self.path)
        return self.names

    def unknown(self, name: str) -> str:
        """The message about a series that is not in the table."""
        return unknown_series(name, self.names)

    def numbers(
        self,
        names: Iterable[str],
        *,
        add: bool,
        sources: Mapping[str, str] | None = None,
        members: Mapping[str, tuple[str, ...]] | None = None,
    ) -> dict[str, int]:
        """The number of each name. With `add`, new numbers become durable; otherwise only the caller knows them.

        `sources`: digests by name, for users' indicators. `members`: features by name, for feature sets.

        Raises StoreError.
        """
        known = {name: number for number, name in enumerate(self.names, 1)}
        new = [name for name in dict.fromkeys(names) if name not in known]
        known |= {name: number for number, name in enumerate(new, len(self.names) + 1)}
        if len(known) > MAX_SERIES:
            raise StoreError(f"is full: {MAX_SERIES:,} series is the limit", path=self.path)
        if add and new:
            texts, features = sources or {}, members or {}
            rows = [_Row(known[name], name, texts.get(name, ""), features.get(name, ())) for name in new]
            self._file.append(b"".join(msgspec.json.encode(row) + b"\n" for row in rows), new[0])
            for row in rows:
                self._keep(row)
        return {name: known[name] for name in names}
