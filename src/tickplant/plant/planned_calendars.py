"""The calendars behind session series: made by a separate process, and kept in the store.

Past sessions of a stored calendar stay as they are, since bars were made by them. Future sessions are made again if
another release of the package is installed, which may know of other holidays.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from tickplant.derive.calendars import (
    MISSING,
    Calendar,
    installed_version,
    parse_calendar,
    path_of,
    stored_calendar,
)
from tickplant.derive.series import parse_series
from tickplant.errors import DeriveError, StoreError
from tickplant.plant.durable_file import write_durably

MAKING_S: Final = 60.0
"""Time limit for making a calendar."""


def plan_calendar(data_dir: Path, name: str) -> Calendar:
    """The calendar that a plant uses from now on. Raises DeriveError, StoreError."""
    stored, version = stored_calendar(data_dir, name), installed_version()
    if stored and version in ("", stored.version):
        return stored
    if not version:
        raise DeriveError(MISSING, key="calendar")
    made = _make(name)
    return merged(stored, made, time.time_ns()) if stored else made


def merged(stored: Calendar, made: Calendar, now_ns: int) -> Calendar:
    """The stored sessions that have begun, followed by those newly made."""
    begun = stored.sessions[stored.sessions[:, 0] <= now_ns]
    until = max(now_ns + 1, int(begun[-1, 1]) if len(begun) else 0)
    return made._replace(sessions=np.concatenate([begun, made.sessions[made.sessions[:, 0] >= until]]))


def keep_calendars(data_dir: Path, series: Iterable[str]) -> None:
    """Store the calendars of these series. Raises DeriveError, StoreError."""
    for name in dict.fromkeys(parse_series(one).calendar for one in series):
        if name:
            stored, planned = stored_calendar(data_dir, name), plan_calendar(data_dir, name)
            if stored is None or planned.text() != stored.text():
                path = path_of(data_dir, name)
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_durably(path, planned.text())
                except OSError as error:
                    raise StoreError(f"cannot be written: {error.strerror}", path=path) from error


@lru_cache(maxsize=16)  # called when the plant is planned and when its engines start
def _make(name: str) -> Calendar:
    """Have the package make a calendar. Raises DeriveError."""
    command = [sys.executable, "-m", "tickplant.derive.calendars", name]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAKING_S, check=False)
    except subprocess.TimeoutExpired:
        raise DeriveError(f"making {name} takes longer than {MAKING_S:g} s", key="calendar") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise DeriveError(lines[-1], key="calendar")
    return parse_calendar(name, done.stdout)
