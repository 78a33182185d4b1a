"""Commands on a full or read-only disk, beside another writer, in a store of a newer version, under a clock that steps
back: a sentence that names the path, exit code 1, and a store as sound as before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from made_past import fill as fill_journal
from made_records import make_ticks
from plant_process import tickplant
from recorded_store import market, write
from small_disk import fill, mount, small_disk

from tickplant.cli import run
from tickplant.instruments import InstrumentTable
from tickplant.plant.lock_file import Holder, locked
from tickplant.records.layouts import Schema
from tickplant.store.mapped_days import FOLDER
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.format import chunk_layout, codec
from tickplant.writer.format.chunk_layout import VERSION

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

DISK_BYTES = 160 << 20  # a compaction wants 64 MiB to spare
RECORDS = 20_000
Capture = pytest.CaptureFixture[str]


def make(folder: Path) -> Path:
    """A store of two symbols."""
    folder.mkdir()
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    fill_journal(folder, Schema.TICK, "feed", make_ticks(RECORDS, instruments=2))
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk with a store in `data`."""
    folder = tmp_path / "disk"
    with small_disk(folder, DISK_BYTES):
        make(folder / "data")
        yield folder


@contextlib.contextmanager
def full(folder: Path) -> Iterator[str]:
    ballast = fill(folder)
    try:
        yield "No space left on device"
    finally:
        ballast.unlink()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[str]:
    mount("-o", "remount,ro", folder)
    try:
        yield "Read-only file system"
    finally:
        mount("-o", "remount,rw", folder)


CASES: dict[str, Callable[[Path, Path], list[str | Path]]] = {
    "export": lambda disk, _: ["export", disk / "out", "--data", disk / "data"],
    "export to tardis": lambda disk, _: ["export", disk / "out", "--data", disk / "data", "--format", "tardis"],
    "query": lambda disk, _: ["query", "venue", "AAA", "--data", disk / "data", "-o", disk / "out.parquet"],
    "import": lambda disk, made: ["import", made / "set", "--data", disk / "new"],
}


@pytest.mark.parametrize("trouble", [full, read_only])
@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_written_is_said_and_is_done_the_next_time(
    disk: Path,
    tmp_path: Path,
    capfd: Capture,
    case: str,
    trouble: Callable[[Path], contextlib.AbstractContextManager[str]],
) -> None:
    assert run(["export", str(tmp_path / "set"), "--data", str(disk / "data")]) == 0
    words = [str(word) for word in CASES[case](disk, tmp_path)]
    capfd.readouterr()
    with trouble(disk) as reason:
        assert run(words) == 1
        said = capfd.readouterr().err
        assert reason in said and str(disk) in said
        assert "Traceback" not in said
        assert verify(disk / "data").ok
    assert not list(disk.rglob("*.part"))
    assert run(words) == 0
    assert verify(disk / "data").ok
    if case == "import":
        assert verify(disk / "new").ok
        assert sum(map(len, Store(disk / "new").scan())) == RECORDS


@pytest.mark.parametrize("trouble", [full, read_only])
def test_reading_goes_on_without_mapped_files_and_compaction_leaves_all_as_it_was(
    disk: Path, capfd: Capture, trouble: Callable[[Path], contextlib.AbstractContextManager[str]]
) -> None:
    with trouble(disk) as reason:
        days = list(Store(disk / "data").scan().days(["price"]))
        assert sum(day.rows for day in days) == RECORDS
        assert not any(day.mapped for day in days)
        code = run(["compact", "--data", str(disk / "data")])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        assert code == 1 and (reason in said.err or "too little room" in said.err + said.out)
        assert sum(map(len, Store(disk / "data").scan())) == RECORDS
    assert run(["compact", "--data", str(disk / "data")]) == 0
    assert verify(disk / "data").ok
    assert sum(map(len, Store(disk / "data").scan())) == RECORDS
    assert not list((disk / "data" / FOLDER).rglob("*.npy"))


@pytest.mark.parametrize("trouble", [full, read_only])
def test_an_ingest_onto_such_a_disk_ends_with_a_sentence_and_is_continued(
    disk: Path, tmp_path: Path, trouble: Callable[[Path], contextlib.AbstractContextManager[str]]
) -> None:
    recording = write(tmp_path / "hour.rec", market(1, 3000))
    words = ["ingest", recording, "--venue", "binance-usdm", "--data", disk / "ingested"]
    (disk / "ingested").mkdir()
    with trouble(disk) as reason:
        done = tickplant(*words, timeout_s=600)
        assert done.returncode == 1, done.stdout
        assert reason in done.stderr and str(disk) in done.stderr
        assert "Traceback" not in done.stderr
    done = tickplant(*words, timeout_s=600)
    assert done.returncode == 0, done.stderr
    assert verify(disk / "ingested").ok


def test_a_second_writer_is_refused_and_named(tmp_path: Path, capfd: Capture) -> None:
    data_dir = make(tmp_path / "data")
    (tmp_path / "t.csv").write_text("timestamp,price,amount\n1700000000000000,1,1\n")
    maps = [word for pair in ("price=price", "size=amount", "ts_event=timestamp") for word in ("--map", pair)]
    one = ["import", str(tmp_path / "t.csv"), "--data", str(data_dir), "--venue", "v", "--symbol", "S", *maps]
    with locked(data_dir) as lock:
        lock.say(Holder(4711, "/run"))
        assert run([*one, "--time-unit", "us"]) == 1
        assert run(["verify", "--repair", "--data", str(data_dir)]) == 1
        said = capfd.readouterr().err
        assert said.count("a plant already writes here, pid 4711; stop it") == 2
    assert run([*one, "--time-unit", "us"]) == 0


def test_a_store_of_a_newer_version_is_named_as_such_and_left_as_it_is(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = make(tmp_path / "data")
    with monkeypatch.context() as newer:
        for module in (codec, chunk_layout):
            newer.setattr(module, "VERSION", VERSION + 1)
        more = make_ticks(10, first_seq=RECORDS, instruments=2)
        fill_journal(data_dir, Schema.TICK, "feed", more)
    before = {each: each.read_bytes() for each in data_dir.rglob("*.tpj")}
    for words in (
        ["verify"],
        ["query", "venue", "AAA"],
        ["export", str(tmp_path / "out")],
        ["compact"],
        ["verify", "--repair"],
    ):
        assert run([*words, "--data", str(data_dir)]) == 1, words
        said = capfd.readouterr()
        assert f"has format {VERSION + 1}" in said.err + said.out, words
        assert "Traceback" not in said.err
    assert {each: each.read_bytes() for each in data_dir.rglob("*.tpj")} == before


def test_a_clock_that_steps_back_while_ingesting_is_stored_in_order_of_arrival(tmp_path: Path, capfd: Capture) -> None:
    lines = market(2, 400)
    back = [b"%d %b" % (int(line.split(b" ", 1)[0]) - 3600 * 10**9, line.split(b" ", 1)[1]) for line in lines[200:]]
    done = tickplant(
        "ingest",
        write(tmp_path / "r", [*lines[:200], *back]),
        "--venue",
        "binance-usdm",
        "--data",
        tmp_path / "data",
        timeout_s=600,
    )
    assert done.returncode == 0, done.stderr
    records = np.concatenate([*Store(tmp_path / "data").read("binance-usdm", Schema.TICK, Selection())])
    assert (np.diff(records["ts_recv"]) < -1000 * 10**9).sum() >= 1
    assert run(["compact", "--open-days", "--data", str(tmp_path / "data")]) == 0
    assert verify(tmp_path / "data").ok
    capfd.readouterr()
