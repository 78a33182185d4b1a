"""Bars of one length and values of one series, where each chunk has what came in a second: few of them are decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoding_watch import watch_decoding
from made_records import START_NS

from tickplant.derive.series import SeriesTable
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BAR, VALUE, Schema
from tickplant.store.pages import Question
from tickplant.store.reader import Store
from tickplant.store.where import WhereError
from tickplant.writer.format.chunk_bounds import LAYOUT_OF, SLOTS
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import ENTRY, index_path, sealed
from tickplant.writer.journal import Journal

MINUTES = 10


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Bars of a second and of a minute, a flush each second."""
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    ids = [table.register("venue", symbol, 2, 3).id for symbol in ("AAA", "BBB")]
    journal = Journal(tmp_path, Schema.BAR, "engine", rotate_bytes=20_000)
    for second in range(60 * MINUTES):
        lengths = [1, 60] if second % 60 == 59 else [1]
        bars = np.zeros(len(ids) * len(lengths), BAR)
        bars["instrument"], bars["interval_s"] = np.repeat(ids, len(lengths)), np.tile(lengths, len(ids))
        bars["ts_event"] = bars["ts_recv"] = START_NS + (second + 1) * 10**9
        bars["ts_open"] = bars["ts_event"] - bars["interval_s"].astype(np.int64) * 10**9
        bars["close"], bars["volume"] = 100 + second, 1 + second
        bars["seq"] = journal.next_seq + np.arange(len(bars))
        journal.append(bars)
        journal.flush()
    journal.close()
    return Store(tmp_path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First seqs of the chunks that are decoded from now on."""
    return watch_decoding(monkeypatch, "decode")


def closes(store: Store, where: str, limit: int) -> list[int]:
    page = Question(store, "bars", "venue", "AAA", where=where).newest(limit)
    return [close for block in page.blocks for close in block["close"].tolist()]


def test_chunks_without_a_bar_of_the_length_are_not_decoded(store: Store, decoded: list[int]) -> None:
    assert closes(store, "interval_s = 60", 7) == [100 + 60 * minute + 59 for minute in range(3, MINUTES)]
    assert 7 <= len(decoded) <= MINUTES


def test_an_index_of_before_leaves_nothing_out_and_says_nothing_wrong(store: Store, decoded: list[int]) -> None:
    for path in store.files("engine", Schema.BAR):
        entries = np.fromfile(index_path(path), ENTRY)
        assert (entries["slots"] == LAYOUT_OF[Schema.BAR]).all()
        entries["slots"], entries["bounds"][:, :, 5] = SLOTS, 0  # of bought volume, as it was
        index_path(path).write_bytes(sealed(entries).tobytes())
    assert closes(Store(store.data_dir), "interval_s = 60", 7) == [100 + 60 * at + 59 for at in range(3, MINUTES)]
    assert len(decoded) > 60 * (MINUTES - 4)


def test_what_is_stored_meanwhile_changes_the_fingerprint_and_nothing_else_does(store: Store) -> None:
    question = Question(store, "bars", "venue", "AAA")
    before = question.fingerprint()
    assert Question(Store(store.data_dir), "bars", "venue", "AAA").fingerprint() == before
    assert question.fingerprint({"engine": 700}) != before
    journal = Journal(store.data_dir, Schema.BAR, "engine")
    bars = np.zeros(1, BAR)
    bars["instrument"], bars["interval_s"], bars["seq"] = 1, 1, journal.next_seq
    journal.append(bars)
    journal.flush()
    journal.close()
    assert question.fingerprint() != before


@pytest.mark.parametrize("others", [0, 62, 63])
def test_chunks_without_a_value_of_the_series_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    names = ["rsi-14.1s", *(f"ema-{number}.1h" for number in range(2, 2 + others)), "rsi-14.1m"]
    rare = SeriesTable(tmp_path).numbers(names, add=True)["rsi-14.1m"]
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "AAA", 2, 3)
    journal = Journal(tmp_path, Schema.VALUE, "engine", rotate_bytes=20_000)
    for second in range(60 * MINUTES):
        numbers = [1, rare] if second % 60 == 59 else [1]
        values = np.zeros(len(numbers), VALUE)
        values["instrument"], values["series"], values["value_1"] = 1, numbers, second
        values["ts_event"] = values["ts_recv"] = START_NS + (second + 1) * 10**9
        values["seq"] = journal.next_seq + np.arange(len(values))
        journal.append(values)
        journal.flush()
    journal.close()
    store, decode, seen = Store(tmp_path), ChunkDecoder.columns, []

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(1)
        return decode(*arguments, **options)

    monkeypatch.setattr(ChunkDecoder, "columns", watched)
    expected = [float(second) for second in range(60 * MINUTES) if second % 60 == 59]
    assert store.values(where="series = rsi-14.1m").numpy()["value_1"].tolist() == expected
    assert len(seen) == (MINUTES if others != 63 else 60 * MINUTES)  # numbers that are 64 apart share a bit
    with pytest.raises(WhereError, match=r"no series 'rsi-14\.1h'; it has rsi-14\.1[sm], rsi-14\.1[sm]"):
        store.values(where="series in (rsi-14.1m, rsi-14.1h)")
    both = store.values(where="series != rsi-14.1m or value_1 < 100").numpy()
    assert len(both["value_1"]) == 60 * MINUTES + 1
    for path in store.files("engine", Schema.VALUE):  # an index of before says nothing of series
        entries = np.fromfile(index_path(path), ENTRY)
        entries["slots"], entries["bounds"] = SLOTS, 0
        index_path(path).write_bytes(sealed(entries).tobytes())
    assert Store(tmp_path).values(where="series = rsi-14.1m").numpy()["value_1"].tolist() == expected
