"""DBN files into a store: repeated, killed, overlapping, following each other, older, damaged (docs/design.md)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import databento_dbn as db
import numpy as np
import pytest
import recorded_store
from made_dbn import DATASET, DAY_NS, T0_NS, orders, write
from recorded_store import said, stored

from tickplant.errors import FeedError
from tickplant.feeds import importers
from tickplant.feeds.venues.databento import dbn_file
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Flag, GapCause, Kind, OrderFlag
from tickplant.store.reconcile import Reconciliation

RECORDS = orders(1, 3000)
OF_ORDERS = (Kind.ORDER_ADD, Kind.ORDER_CANCEL, Kind.TRADE)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbn_file, "PIECE_RECORDS", 100)


def ingest(data_dir: Path, file: Path, **options: Any) -> dict[str, Any]:
    return recorded_store.ingest(data_dir, file, "databento", **options)


def rows(data_dir: Path) -> list[tuple[Any, ...]]:
    """Orders and trades: symbol, times, price, size, sequence, order, kind."""
    return [row[:8] for row in said(data_dir) if row[7] in OF_ORDERS]


def gaps(data_dir: Path) -> list[tuple[int, int]]:
    """Cause and ON_ flags."""
    records = stored(data_dir)
    found = records[records["kind"] == Kind.GAP]
    return [(int(gap["price"]), int(gap["flags"]) & ~Flag.LAST) for gap in found]


def whole(tmp_path: Path, records: list[bytes] = RECORDS) -> list[tuple[Any, ...]]:
    ingest(tmp_path / "whole", write(tmp_path / "whole.dbn", records))
    return rows(tmp_path / "whole")


def check_sums(data_dir: Path) -> None:
    reconciliation = Reconciliation("feed")
    assert list(reconciliation.add(stored(data_dir))) == []


def test_the_same_content_again_adds_nothing_whatever_its_compression(tmp_path: Path) -> None:
    ingest(tmp_path / "data", write(tmp_path / "a.dbn", RECORDS))
    first = stored(tmp_path / "data")
    assert len(rows(tmp_path / "data")) == len(RECORDS) - 1  # one is the clear
    for file in (tmp_path / "a.dbn", write(tmp_path / "b.dbn.zst", RECORDS, zstd=True)):
        counters = ingest(tmp_path / "data", file)
        assert (counters["added"], counters["repeated"], counters["late"]) == (0, len(first), 0)
    assert (stored(tmp_path / "data") == first).all()
    check_sums(tmp_path / "data")


@pytest.mark.parametrize("kill_at", [1, 700, 1700])
def test_a_killed_ingest_goes_on_where_it_ended(tmp_path: Path, kill_at: int) -> None:
    file = write(tmp_path / "a.dbn", RECORDS)
    ingest(tmp_path / "data", file, kill_at=kill_at, capacity=1024)
    assert 0 < len(stored(tmp_path / "data")) < len(RECORDS)
    ingest(tmp_path / "data", file)
    assert rows(tmp_path / "data") == whole(tmp_path)
    assert gaps(tmp_path / "data") == []
    ingest(tmp_path / "undisturbed", file)
    assert (stored(tmp_path / "data") == stored(tmp_path / "undisturbed")).all()
    check_sums(tmp_path / "data")


@pytest.mark.parametrize("seed", range(4))
def test_files_that_overlap_are_stored_like_one(tmp_path: Path, seed: int) -> None:
    # Files begin and end between two receive times; a cut one may end anywhere.
    rng = random.Random(seed)
    times = [int.from_bytes(record[40:48], "little") for record in RECORDS]
    starts = [place for place in range(1, len(times)) if times[place] > times[place - 1]]
    begin = rng.choice([place for place in starts if 500 < place < 1500])
    cut = rng.randrange(begin + 1, 2500)
    ingest(tmp_path / "data", write(tmp_path / "a.dbn", RECORDS[:cut]))
    counters = ingest(tmp_path / "data", write(tmp_path / "b.dbn", RECORDS[begin:], start_ns=times[begin]))
    assert counters["late"] == 0
    assert rows(tmp_path / "data") == whole(tmp_path)
    assert gaps(tmp_path / "data") == []
    check_sums(tmp_path / "data")


def test_a_file_that_begins_behind_the_store_follows_a_gap_and_begins_its_book_anew(tmp_path: Path) -> None:
    next_day = orders(2, 500, start_ns=T0_NS + DAY_NS)[1:]
    ingest(tmp_path / "data", write(tmp_path / "a.dbn", RECORDS))
    ingest(tmp_path / "data", write(tmp_path / "b.dbn", next_day, start_ns=T0_NS + DAY_NS, end_ns=T0_NS + 2 * DAY_NS))
    assert sorted(gaps(tmp_path / "data")) == [(GapCause.RESTART, Flag.ON_TRADE), (GapCause.RESTART, Flag.ON_ORDERS)]
    records = stored(tmp_path / "data")
    clears = records[records["kind"] == Kind.CLEAR]
    assert (clears["flags"][-1] & (Flag.ON_ORDERS | OrderFlag.DOUBTFUL)) == Flag.ON_ORDERS | OrderFlag.DOUBTFUL
    # … right behind its gap, and before the first order.
    kinds = records["kind"].tolist()
    place = len(kinds) - 1 - kinds[::-1].index(Kind.CLEAR)
    assert kinds[place - 1] == Kind.GAP
    assert len(rows(tmp_path / "data")) == len(RECORDS) - 1 + len(next_day)
    check_sums(tmp_path / "data")


def test_other_instruments_are_added_whatever_their_times(tmp_path: Path) -> None:
    other = {"OTHER": [("2020-01-01", "2030-01-01", 8)]}
    ingest(tmp_path / "data", write(tmp_path / "a.dbn", RECORDS))
    counters = ingest(tmp_path / "data", write(tmp_path / "b.dbn", orders(3, 400, ident=8), symbols=other))
    assert (counters["late"], counters["repeated"]) == (0, 0)
    assert gaps(tmp_path / "data") == []
    symbols = [row[0] for row in rows(tmp_path / "data")]
    assert symbols.count(f"{DATASET}/OTHER") == 399


def test_what_is_older_and_not_stored_is_counted_and_left_out(tmp_path: Path) -> None:
    times = [int.from_bytes(record[40:48], "little") for record in RECORDS]
    middle = next(place for place in range(1500, 3000) if times[place] > times[place - 1])
    ingest(tmp_path / "data", write(tmp_path / "b.dbn", RECORDS[middle:], start_ns=times[middle]))
    before = len(rows(tmp_path / "data"))
    counters = ingest(tmp_path / "data", write(tmp_path / "a.dbn", RECORDS))
    assert counters["late"] == middle
    assert len(rows(tmp_path / "data")) == before
    check_sums(tmp_path / "data")


def test_a_day_between_two_stored_days_is_not_taken_for_stored(tmp_path: Path) -> None:
    days = [orders(seed, 200, start_ns=T0_NS + seed * DAY_NS) for seed in range(3)]
    files = [
        write(tmp_path / f"{day}.dbn", records, start_ns=T0_NS + day * DAY_NS, end_ns=T0_NS + (day + 1) * DAY_NS)
        for day, records in enumerate(days)
    ]
    for day, late in ((0, 0), (2, 0), (1, 200)):
        assert ingest(tmp_path / "data", files[day])["late"] == late
    assert len(rows(tmp_path / "data")) == 398


@pytest.mark.parametrize("hole", [False, True])
def test_the_files_of_a_folder_follow_each_other(tmp_path: Path, hole: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    times = [int.from_bytes(record[40:48], "little") for record in RECORDS]
    middle = next(place for place in range(1500, 3000) if times[place] > times[place - 1])
    until = times[middle]
    write(folder / "z.dbn", RECORDS[:middle], end_ns=until)
    write(folder / "a.dbn.zst", RECORDS[middle:], zstd=True, start_ns=until + hole)
    ingest(tmp_path / "data", folder)
    assert rows(tmp_path / "data") == whole(tmp_path)
    assert gaps(tmp_path / "data") == ([(GapCause.SEQUENCE, Flag.ON_TRADE | Flag.ON_ORDERS)] if hole else [])


def test_instrument_ids_are_those_of_the_day_and_of_the_publisher(tmp_path: Path) -> None:
    day_ns = T0_NS // DAY_NS * DAY_NS + DAY_NS  # midnight
    first, second = (str(np.datetime64((T0_NS // DAY_NS + 1 + more), "D")) for more in (0, 1))
    symbols = {"A": [("2020-01-01", first, 7), (first, second, 8)], "B": [("2020-01-01", first, 8), (first, second, 7)]}
    records = [
        *orders(1, 20, start_ns=day_ns - 10**9, ident=7),
        *orders(2, 20, start_ns=day_ns - 5 * 10**8, ident=8),
        *orders(3, 20, start_ns=day_ns, ident=7),
        *orders(4, 20, start_ns=day_ns + 5 * 10**8, ident=9),
    ]
    records += [record[:2] + b"\x27\x00" + record[4:] for record in orders(5, 20, start_ns=day_ns + 10**9, ident=8)]
    ingest(tmp_path / "data", write(tmp_path / "a.dbn", records, symbols=symbols))
    names = [row[0] for row in rows(tmp_path / "data")]
    found = {name.removeprefix(f"{DATASET}/"): names.count(name) for name in dict.fromkeys(names)}
    assert found == {"A": 19, "B": 38, "id:9": 19, "A#39": 19}
    table = InstrumentTable.load(tmp_path / "data" / "instruments.jsonl")
    assert {(row.price_scale, row.size_scale) for row in table if row.symbol != "*"} == {(9, 0)}


def refused(file: Path) -> str:
    assert importers.find(file) == "databento"
    with pytest.raises(FeedError) as error:
        importers.open_import("databento", file)
    assert str(file) in str(error.value)
    return str(error.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    data = write(tmp_path / "good.dbn", RECORDS).read_bytes()
    bad = tmp_path / "bad.dbn"
    bad.write_bytes(data[:3] + b"\x04" + data[4:])
    assert "DBN version 4: versions 1 to 3 can be read" in refused(bad)
    bad.write_bytes(data[:24] + b"\x63\x00" + data[26:])
    assert "DBN schema 99 is not known" in refused(bad)
    bad.write_bytes(data[:60])
    assert "in the middle of its metadata: it was cut" in refused(bad)
    bad.write_bytes(data[:4] + b"\xff\xff\xff\xff" + data[8:])
    assert "the DBN metadata are damaged" in refused(bad)
    bad.write_bytes(data[:112] + b"\xff\xff\xff\x7f" + data[116:])
    assert "the DBN metadata are damaged" in refused(bad)
    bad.write_bytes(b"".join(RECORDS))
    assert "a fragment" in refused(bad)


def test_what_precedes_damage_is_stored(tmp_path: Path) -> None:
    data = write(tmp_path / "good.dbn", RECORDS).read_bytes()
    squeezed = write(tmp_path / "good.dbn.zst", RECORDS, zstd=True).read_bytes()
    head = len(data) - 56 * len(RECORDS)
    cases = {
        "cut": (data[: head + 56 * 1000 + 17], "17 bytes into a record: it was cut", 999),
        "length": (data[: head + 56 * 1000] + b"\x00" + data[head + 56 * 1000 + 1 :], "would have 0 bytes", 999),
        "size": (data[: head + 56 * 1000] + b"\x0f" + data[head + 56 * 1000 + 1 :], "cannot be 60 bytes long", 999),
        "zstd": (squeezed[:-1000], "ends in the middle of a compressed block", None),
    }
    for name, (content, why, count) in cases.items():
        file = tmp_path / f"{name}.dbn"
        file.write_bytes(content)
        counters = ingest(tmp_path / name, file)
        assert str(file) in counters["damage"]
        assert why in counters["damage"]
        found = rows(tmp_path / name)
        assert count is None or len(found) == count
        assert found == whole(tmp_path)[: len(found)]


def test_a_schema_that_has_no_kind_is_counted_by_name(tmp_path: Path) -> None:
    record = bytes((28, 0x14)) + b"\x01\x00\x07\x00\x00\x00" + T0_NS.to_bytes(8, "little") * 2 + bytes(88)
    counters = ingest(tmp_path / "data", write(tmp_path / "a.dbn", [record] * 3, schema=db.Schema.IMBALANCE))
    assert (counters["frames"], counters["ignored"], counters["ignored_kinds"]) == (3, 3, {"imbalance": 3})
