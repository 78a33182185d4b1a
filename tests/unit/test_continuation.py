"""What a starting feed is told of the store: the newest ids of each of its streams, however many chunks back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_records import make_ticks

from tickplant.feeds.last_ids import STREAMS, LastIds, file_of, load
from tickplant.instruments import InstrumentTable
from tickplant.plant import continuation
from tickplant.plant.continuation import leave_last_ids
from tickplant.records.layouts import Kind, Schema
from tickplant.runtime.config import FeedConfig
from tickplant.writer.journal import Journal

TICKS = make_ticks(3000)
TICKS["instrument"][TICKS["instrument"] == 3] = 2
TICKS["instrument"][:600:6] = 3  # an instrument with trades only, and none for long


def fill(data_dir: Path) -> None:
    journal = Journal(data_dir, Schema.TICK, "feed", rotate_bytes=20_000)
    for start in range(0, len(TICKS), 300):
        journal.append(TICKS[start : start + 300])
        journal.flush()
    journal.close()


def newest(instrument: int, *kinds: Kind) -> tuple[int, int] | None:
    wanted = [tick for tick in TICKS if tick["instrument"] == instrument and tick["kind"] in kinds]
    return (int(wanted[-1]["venue_seq"]), int(wanted[-1]["ts_event"])) if wanted else None


def told(folder: Path) -> dict[int, LastIds]:
    leave_last_ids(folder, "feed", folder)
    found = load(file_of(folder, "feed"))
    return {id_: msgspec.structs.replace(ids, live=None, snapshot=False) for id_, ids in found.items()}


def test_the_newest_id_of_every_stream_is_told_however_old_it_is(tmp_path: Path) -> None:
    fill(tmp_path)
    assert told(tmp_path) == {
        instrument: LastIds(
            trade=newest(instrument, Kind.TRADE),
            quote=newest(instrument, Kind.QUOTE),
            book=newest(instrument, Kind.LEVEL, Kind.CLEAR),
        )
        for instrument in (1, 2, 3)
    }


def test_reading_back_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr(continuation, "TAIL_RECORDS", 500)
    assert set(told(tmp_path)) == {1, 2}


def test_damage_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path)
    last = max(tmp_path.rglob("*.tpj"))
    data = bytearray(last.read_bytes())
    data[-100] ^= 1
    last.write_bytes(data)
    ids = told(tmp_path)
    assert set(ids) == {1, 2, 3}
    assert ids[1] != LastIds(newest(1, Kind.TRADE), None, newest(1, Kind.QUOTE), newest(1, Kind.LEVEL, Kind.CLEAR))


def test_an_empty_store_tells_nothing(tmp_path: Path) -> None:
    assert told(tmp_path) == {}


def test_reading_back_ends_when_every_configured_stream_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("ONE", "TWO", "THREE"):  # the last one has been quiet for long
        table.register("venue", symbol, 8, 8)
    whole, read = told(tmp_path), []
    records = continuation.Store.records
    monkeypatch.setattr(continuation.Store, "records", lambda *words: read.append(1) or records(*words))

    def chunks_read(*symbols: str) -> int:
        read.clear()
        config = FeedConfig(venue="venue", symbols=symbols)
        leave_last_ids(tmp_path, "feed", tmp_path, continuation.every_stream(table, config))
        found = load(file_of(tmp_path, "feed"))
        ids = [row.id for row in table if row.symbol in symbols]
        for ident in ids:
            assert [getattr(found[ident], name) for name in STREAMS] == [
                getattr(whole[ident], name) for name in STREAMS
            ]
        return len(read)

    everything = chunks_read("ONE", "TWO", "THREE")
    assert chunks_read("ONE", "TWO") < everything
    assert chunks_read("ONE", "UNKNOWN") < everything
