"""What holds for every test: nothing that a killed process left half written spoils the coverage of all the others."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest


def is_whole(path: Path) -> bool:
    """Whether a data file of coverage can be combined with others."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as data:
            data.execute("SELECT version FROM coverage_schema")
            return bool(data.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


@pytest.hookimpl(wrapper=True, trylast=True)  # inside of pytest-cov's, which combines the files when this returns
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Remove what cannot be combined: of processes killed, or out of disk on purpose, while they wrote it."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        for path in session.config.rootpath.glob(".coverage.*"):
            if not is_whole(path):
                path.unlink()
    return result
