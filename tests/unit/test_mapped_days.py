"""Days as mapped columns: what the records say, made once, anew where they grow, dropped by budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_days import MIDNIGHT_NS, make_day_records, register, write_journal

from tickplant.errors import DamageError
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.records.merge import join_records
from tickplant.store import mapped_days
from tickplant.store.daily_files import DAY_NS
from tickplant.store.mapped_days import FOLDER, MappedDay
from tickplant.store.reader import Store

ROWS = 600
TICKS = make_day_records(Schema.TICK, MIDNIGHT_NS - DAY_NS // 2 + np.arange(ROWS) * (DAY_NS // 300))
TICKS["ts_recv"][299:301] = TICKS["ts_recv"][299:301][::-1].copy()  # a step back over midnight


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three days of one feed."""
    register(tmp_path)
    write_journal(tmp_path, "feed", Schema.TICK, [TICKS[:200], TICKS[200:410], TICKS[410:]])
    return tmp_path


def files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / FOLDER).rglob("*.npy"))


def joined(days: list[MappedDay], name: str) -> np.ndarray[Any, Any]:
    return np.concatenate([np.zeros(0, DTYPES[Schema.TICK][name]), *(day.columns[name] for day in days)])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ids": [2, 3]},
        {"kinds": ["trade", "quote"]},
        {"start_ns": MIDNIGHT_NS - 10**13, "end_ns": MIDNIGHT_NS + DAY_NS + 10**13},
        {"ids": [1], "start_ns": MIDNIGHT_NS, "end_ns": MIDNIGHT_NS + DAY_NS},
        {"start_ns": MIDNIGHT_NS + 7, "clock": "event"},
        {"ids": [5], "kinds": ["clear"], "end_ns": 5},
    ],
)
def test_days_hold_what_the_records_say(data_dir: Path, asked: dict[str, Any]) -> None:
    store = Store(data_dir)
    records = join_records([TICKS[:0], *store.scan(**asked)])
    records = records[np.argsort(records["ts_recv"] // DAY_NS, kind="stable")]
    for _ in range(2):  # made, then found
        days = list(store.scan(**asked).days())
        for name in TICKS.dtype.names or ():
            assert (joined(days, name) == records[name]).all(), name
        assert [int(day.day.astype(int)) for day in days] == sorted({int(day) for day in records["ts_recv"] // DAY_NS})
    assert all(not day.columns["price"].flags.writeable for day in days if day.mapped)


def test_a_day_is_decoded_once_and_only_the_columns_asked_for(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    days = list(Store(data_dir).scan().days(["price", "ts_recv"], progress=told.append))
    assert told[-1] == ROWS
    assert [day.mapped for day in days] == [True, True, True]
    assert {path.name.partition("-")[0] for path in files(data_dir)} == {"price", "ts_recv"}

    def decoded(*_: object, **__: object) -> Any:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "blocks", decoded)
        again = list(Store(data_dir).scan().days(["price"]))
    assert (joined(again, "price") == joined(days, "price")).all()
    assert np.load(files(data_dir)[0]).dtype == np.int64  # any tool that knows numpy's format reads them
    with pytest.raises(ValueError, match="tick has no column 'prize'"):
        next(Store(data_dir).scan().days(["prize"]))


def test_a_day_that_has_grown_is_made_anew_and_the_old_file_goes(data_dir: Path) -> None:
    before = list(Store(data_dir).scan().days(["seq"]))
    assert len(files(data_dir)) == 3
    more = make_day_records(Schema.TICK, MIDNIGHT_NS + DAY_NS + DAY_NS // 2 + np.arange(ROWS + 5))[ROWS:]
    more["ts_recv"] = TICKS["ts_recv"][-1]
    write_journal(data_dir, "feed", Schema.TICK, [more])
    after = list(Store(data_dir).scan().days(["seq"]))
    assert joined(after, "seq").tolist()[-5:] == list(range(ROWS, ROWS + 5))
    assert len(files(data_dir)) == 3
    assert joined(before, "seq").tolist()[-1] == ROWS - 1  # who has the old one open reads on


def test_what_was_not_used_for_longest_goes_and_a_day_beyond_the_budget_comes_in_memory(data_dir: Path) -> None:
    store = Store(data_dir)
    list(store.scan().days(["ts_recv"]))
    oldest = files(data_dir)
    size = sum(path.stat().st_size for path in oldest)
    days = list(store.scan(ids=[1]).days(["price"], budget_bytes=size + 100))
    assert sum(path.stat().st_size for path in files(data_dir)) <= size + 100 + 3 * 128
    assert len(set(oldest) - set(files(data_dir))) > 0
    assert (joined(days, "price") == joined(list(store.scan(ids=[1]).days(["price"])), "price")).all()
    assert not any(day.mapped for day in store.scan(kinds=[Kind.TRADE]).days(["price"], budget_bytes=10))


def test_where_nothing_can_be_written_the_columns_come_in_memory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / FOLDER).write_text("no folder")
    days = list(Store(data_dir).scan().days(["seq"]))
    assert joined(days, "seq").tolist() == TICKS["seq"].tolist()
    assert not any(day.mapped for day in days)
    (data_dir / FOLDER).unlink()
    monkeypatch.setattr(mapped_days, "ROOM_BYTES", 1 << 60)  # a full disk
    assert not any(day.mapped for day in Store(data_dir).scan().days(["seq"]))
    assert files(data_dir) == []


def test_damage_is_an_error_whatever_the_store_does_about_it(data_dir: Path) -> None:
    path = Store(data_dir).files("feed", Schema.TICK)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DamageError):
        list(Store(data_dir, on_damage=lambda _: None).scan().days(["price"]))
    assert all(b"part" not in path.name.encode() for path in (data_dir / FOLDER).rglob("*"))
