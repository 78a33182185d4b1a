"""All DBN files: the records are what Databento's own decoder reads, field by field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dbn_oracle import Said, expected
from independent import recording

from tickplant.errors import FeedError
from tickplant.feeds import importers
from tickplant.feeds.contract import FeedContext
from tickplant.feeds.venues.databento.adapter import DatabentoAdapter
from tickplant.feeds.venues.databento.stream_reader import StreamReader
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK, Kind, Side

FILES = [
    "dbn/CLX5_mbo.dbn",
    "databento_esh4_20231224.mbo.dbn.zst",
    *(f"dbn/definition-{name}.dbn.zst" for name in ("glbx-es-fut", "glbx-es-futspread", "glbx-es-opt", "opra")),
    "dbn/historical_bars_catalog__futures_definition.dbn.zst",
    "dbn/historical_bars_catalog__futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst",
    "dbn/historical_bars_catalog__futures_ohlcv-1m_2024-07-01T23-40_2024-07-02T00-10.dbn.zst",
    "dbn/historical_bars_catalog__futures_trades_2024-07-01T23-58_2024-07-02T00-02.dbn.zst",
]
SCHEMAS = [
    *("bbo-1m", "bbo-1s", "cbbo-1s", "cmbp-1", "definition", "imbalance", "mbo", "mbp-1", "mbp-10"),
    *("ohlcv-1d", "ohlcv-1h", "ohlcv-1m", "ohlcv-1s", "statistics", "status", "tbbo", "trades"),
]
NO_RECORDS = ("imbalance", "ohlcv-1d", "definition")


def samples(schema: str) -> list[Path]:
    folder = recording("dbn/databento-dbn")
    return [
        path
        for path in sorted(folder.glob(f"test_data.{schema}.*"))
        if "frag" not in path.name and path.suffix != ".dbz"
    ]


def imported(path: Path) -> list[Said]:
    """What the importer and the adapter make of a file."""
    rows: dict[str, Instrument] = {}

    def resolve(symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False) -> Instrument:
        assert (price_scale, size_scale, exact) == (9, 0, False)
        return rows.setdefault(symbol, Instrument(len(rows) + 1, "databento", symbol, 9, 0))

    assert importers.find(path) == "databento"
    adapter = DatabentoAdapter(FeedContext(symbols=None, channels=(), resolve=resolve, live=False))
    source = importers.open_import("databento", path)
    found = [np.zeros(0, TICK)]
    for ts_ns, frames in source.pieces():
        adapter.on_event(frames, ts_ns)
        output = adapter.take()
        assert not output.effects
        assert not output.rejects
        found.append(output.ticks.copy())
    counters = adapter.counters
    assert not source.damage
    assert counters.frames == counters.parsed + counters.ignored
    assert counters.ticks == sum(counters.kinds.values())
    symbols = {row.id: row.symbol for row in rows.values()}
    return [
        Said(
            symbols[int(tick["instrument"])],
            Kind(tick["kind"]),
            Side(tick["side"]),
            *(int(tick[name]) for name in Said._fields[3:]),
        )
        for tick in np.concatenate(found)
    ]


def check(path: Path) -> int:
    found, wanted = imported(path), [*expected(path)]
    for place, (ours, theirs) in enumerate(zip(found, wanted, strict=False)):
        assert ours == theirs, f"{path.name}, record {place}"
    assert len(found) == len(wanted)
    return len(found)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_by_the_official_decoder(name: str) -> None:
    assert check(recording(name)) or "futspread" in name or "opra" in name


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_is_read_in_every_version(schema: str) -> None:
    files = samples(schema)
    assert len(files) > 2
    assert {bool(check(path)) for path in files} == {schema not in NO_RECORDS}


def test_how_a_stream_is_cut_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    path = recording("dbn/CLX5_mbo.dbn")
    whole = imported(path)
    original = StreamReader.read

    def in_pieces(self: StreamReader, data: bytes, ts_recv: int, *, own_times: bool = False) -> None:
        step = 7919
        for start in range(0, len(data), step):
            original(self, data[start : start + step], ts_recv, own_times=own_times)

    monkeypatch.setattr(StreamReader, "read", in_pieces)
    assert imported(path) == whole


@pytest.mark.parametrize("name", ["test_data.*.dbz", "*.frag", "*.frag.zst"])
def test_what_cannot_be_imported_is_named(name: str) -> None:
    files = sorted(recording("dbn/databento-dbn").glob(name))
    assert files
    for path in files:
        assert importers.find(path) == "databento"
        with pytest.raises(
            FeedError, match="DBZ file.*convert it" if ".dbz" in name else "a fragment.*whole file"
        ) as error:
            importers.open_import("databento", path)
        assert str(path) in str(error.value)
