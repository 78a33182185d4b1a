"""Sessions of exchanges, kept in a store: `calendars/XNYS.txt` has a line for each session, its open and close in ns.

The package exchange_calendars makes them once, so that an engine, a replay and a computation over history use the same
sessions, whichever release of the package is installed later, if any. `python -m tickplant.derive.calendars XNYS`
prints such a file. It runs as its own process, since the package imports pandas, which a supervisor does without.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tickplant.derive.derivation import Sessions
from tickplant.derive.series import parse_series
from tickplant.errors import DeriveError, StoreError

FOLDER: Final = "calendars"
PACKAGE: Final = "exchange_calendars"
MISSING: Final = "sessions need the package exchange_calendars: pip install 'tickplant[calendars]'"

FIRST_YEAR: Final = 1990
LAST_YEAR: Final = 2040
"""The range of sessions, as far as the package covers it for an exchange."""

_HEAD: Final = "# sessions of {}, open and close in ns since 1970, by exchange_calendars {}\n"


SOON_DAYS: Final = 60
"""A plant begins to warn this long before a calendar ends."""

_DAY_NS: Final = 86_400 * 10**9


class Calendar(NamedTuple):
    """The sessions of an exchange."""

    name: str  # a code of ISO 10383, or another name of the package
    version: str  # of the package that made them
    sessions: Sessions

    def text(self) -> bytes:
        """The content of the calendar's file."""
        lines = "".join(f"{opens} {closes}\n" for opens, closes in self.sessions.tolist())
        return (_HEAD.format(self.name, self.version) + lines).encode()

    @property
    def digest(self) -> str:
        """Digest of the sessions, hexadecimal."""
        return hashlib.blake2b(self.sessions.tobytes(), digest_size=8).hexdigest()


def path_of(data_dir: Path | str, name: str) -> Path:
    """The file of a calendar in a store."""
    return Path(data_dir) / FOLDER / f"{name}.txt"


def parse_calendar(name: str, text: bytes) -> Calendar:
    """A calendar from the content of its file. Raises ValueError."""
    head, _, body = text.decode("ascii").partition("\n")
    if not head.startswith("# ") or not text.endswith(b"\n"):
        raise ValueError("it has no first or no last line")
    numbers = np.array([[int(word) for word in line.split()] for line in body.splitlines()], np.int64)
    if numbers.ndim != 2 or numbers.shape[1] != 2:
        raise ValueError("it has no sessions, or a line that is not two numbers")
    if (np.diff(numbers.reshape(-1)) < 0).any() or (numbers[:, 0] == numbers[:, 1]).any():
        raise ValueError("sessions must be in order, without overlap")
    return Calendar(name, head.rpartition(" ")[2], numbers)


def stored_calendar(data_dir: Path | str, name: str) -> Calendar | None:
    """The calendar in a store; None if the store has no such calendar. Raises StoreError if it cannot be read."""
    path = path_of(data_dir, name)
    try:
        return parse_calendar(name, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot be read ({error}); restore the file", path=path) from None


def installed_version() -> str:
    """The installed release of the package; empty if none is. Does not import the package."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return ""


@lru_cache(maxsize=16)
def made_calendar(name: str) -> Calendar:
    """The calendar as the package makes it, which takes a second. Raises DeriveError."""
    try:
        import exchange_calendars  # noqa: PLC0415  # brings pandas
    except ImportError:
        raise DeriveError(MISSING, key="calendar") from None
    there = exchange_calendars.get_calendar_names(include_aliases=False)
    if name not in there:
        if name in exchange_calendars.get_calendar_names(include_aliases=True):
            real = exchange_calendars.calendar_utils.global_calendar_dispatcher.resolve_alias(name)
            raise DeriveError(f"{name} is an alias of {real}: use {real}", key="calendar")
        raise DeriveError(f"{name} is not a calendar of exchange_calendars, such as XNYS, XLON, CMES", key="calendar")
    with warnings.catch_warnings():  # pandas warns of future changes
        warnings.simplefilter("ignore")
        try:
            schedule = _schedule(exchange_calendars, name)
        except Exception as error:  # whatever an incompatible pandas makes it raise
            raise DeriveError(f"exchange_calendars cannot make {name}: {error}", key="calendar") from error
    columns = [schedule[side].dt.tz_convert(None).to_numpy().astype("datetime64[ns]") for side in ("open", "close")]
    return Calendar(name, installed_version(), np.stack(columns, axis=1).view(np.int64))


def _schedule(package: Any, name: str) -> Any:
    """The package's table of sessions, as far as it covers this exchange."""
    found = type(package.get_calendar(name))
    earliest, latest = found.bound_min(), found.bound_max()
    first, last = f"{FIRST_YEAR}-01-01", f"{LAST_YEAR}-12-31"
    start = first if earliest is None else max(first, str(earliest.date()))
    end = last if latest is None else min(last, str(latest.date()))
    return package.get_calendar(name, start=start, end=end).schedule


def calendar_of(data_dir: Path | str, name: str) -> Calendar:
    """The calendar in a store or, if the store has none, as the package makes it. Raises StoreError, DeriveError."""
    return stored_calendar(data_dir, name) or made_calendar(name)


def sessions_of(data_dir: Path | str, names: Iterable[str]) -> dict[str, Sessions]:
    """The sessions that these series need, from the store, by name of the calendar. Raises StoreError."""
    found: dict[str, Sessions] = {}
    for calendar in dict.fromkeys(parse_series(name).calendar for name in names):
        if calendar:
            stored = stored_calendar(data_dir, calendar)
            if stored is None:
                raise StoreError("is missing; restore the file", path=path_of(data_dir, calendar))
            found[calendar] = stored.sessions
    return found


def days_left(sessions: Sessions, now_ns: int) -> int:
    """Whole days until the last session closes; negative once it has closed."""
    return (int(sessions[-1, 1]) - now_ns) // _DAY_NS if len(sessions) else -1


def end_sentence(name: str, days: int) -> str:
    """A sentence that says when a calendar ends, what follows, and what to do."""
    when = f"ends in {days} days" if days >= 0 else "has ended"
    return (
        f"{name} {when}: after its last session trades are in bars of a day of UTC, outside of all sessions, and "
        "series by session have no values. Install a newer exchange_calendars, and start the plant again"
    )


def main() -> int:
    """Print a calendar. If it cannot be made: exit code 1, and the reason on standard error."""
    try:
        text = made_calendar(sys.argv[1]).text()
    except DeriveError as error:
        sys.stderr.write(f"{error.why}\n")
        return 1
    sys.stdout.buffer.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
