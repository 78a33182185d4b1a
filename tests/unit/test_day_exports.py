"""Files that others read, made from a store: read here by csv and by Databento's own decoder, row by row."""

from __future__ import annotations

import csv
import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recorded_store
from made_dbn import orders, write
from made_past import fill, past_ticks
from recorded_store import stored

from tickplant.cli import run
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BAR, BBO, NO_PRICE, TICK, Flag, Kind, Schema, Side, TradeFlag
from tickplant.store import row_files
from tickplant.store.day_exports import export_days
from tickplant.store.dbn_files import DbnFiles
from tickplant.store.reader import Store
from tickplant.store.table_import import import_table
from tickplant.store.tardis_files import TardisFiles

DAY_NS = 86_400 * 10**9
T0_NS = 20_000 * DAY_NS
DATE = "2024-10-04"


def tick(at_ns: int, kind: Kind, price: int, size: int, side: int = 0, **fields: Any) -> np.ndarray:
    record = np.zeros(1, TICK)
    values = {"ts_event": at_ns - 5, "ts_recv": at_ns, "instrument": 1, "flags": Flag.LAST} | fields
    for name, value in {"kind": kind, "price": price, "size": size, "side": side, **values}.items():
        record[name] = value
    return record


def keep(folder: Path, *ticks: np.ndarray, scales: tuple[int, int] = (2, 3), symbol: str = "BTC/USD") -> Store:
    table = InstrumentTable.load(folder / "instruments.jsonl")
    table.register("kraken", symbol, *scales)
    records = np.concatenate(ticks)
    records["seq"] = np.arange(len(records))
    fill(folder, Schema.TICK, "feed", records)
    return Store(folder)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))


def test_trades_and_best_quotes_have_the_columns_of_tardis_and_every_digit(tmp_path: Path) -> None:
    store = keep(
        tmp_path / "data",
        tick(T0_NS + 1999, Kind.TRADE, 6183763, 1, Side.BUY, venue_seq=17),
        tick(T0_NS + 2000, Kind.TRADE, -5, 12345, Side.SELL, ts_event=0),
        tick(T0_NS + 2001, Kind.TRADE, 1, 1, flags=Flag.LAST | Flag.AGGREGATE),
        tick(T0_NS + 2002, Kind.TRADE, 1, 1, venue_seq=17, flags=Flag.LAST | TradeFlag.CANCELLED),
        tick(T0_NS + 3000, Kind.QUOTE, 100, 7, Side.BID),
        tick(T0_NS + 4000, Kind.QUOTE, 99, 7, Side.BID, flags=0),
        tick(T0_NS + 4000, Kind.QUOTE, 101, 8, Side.ASK),
    )
    best = np.zeros(2, BBO)
    best["ts_recv"], best["instrument"], best["flags"] = T0_NS + 9000, 1, (0, Flag.STALE)
    best["seq"] = range(2)
    best["bid_price"], best["bid_size"], best["ask_price"] = 100, 5, NO_PRICE
    fill(tmp_path / "data", Schema.BBO, "engine", best)
    form = TardisFiles()
    assert export_days(store, tmp_path / "out", form) == 2 + 2 + 1
    files = {path.name: rows_of(path) for path in (tmp_path / "out").glob("*.gz")}
    assert sorted(files) == [f"kraken_{sort}_{DATE}_BTC%2FUSD.csv.gz" for sort in ("book_ticker", "quotes", "trades")]
    start = T0_NS // 1000
    first = {"exchange": "kraken", "symbol": "BTC/USD"}
    assert files[f"kraken_trades_{DATE}_BTC%2FUSD.csv.gz"] == [
        first | dict(zip(("timestamp", "local_timestamp", "id", "side", "price", "amount"), row, strict=True))
        for row in (
            (str(start + 1), str(start + 1), "17", "buy", "61837.63", "0.001"),
            (str(start + 2), str(start + 2), "", "sell", "-0.05", "12.345"),
        )
    ]
    tops = files[f"kraken_book_ticker_{DATE}_BTC%2FUSD.csv.gz"]
    assert list(tops[0])[2:] == ["timestamp", "local_timestamp", "ask_amount", "ask_price", "bid_price", "bid_amount"]
    assert [list(row.values())[3:] for row in tops] == [
        [str(start + 3), "", "", "1.00", "0.007"],
        [str(start + 4), "0.008", "1.01", "0.99", "0.007"],
    ]
    (quote,) = files[f"kraken_quotes_{DATE}_BTC%2FUSD.csv.gz"]
    assert list(quote.values())[2:] == [str(start + 9)] * 2 + ["", "", "1.00", "0.005"]
    assert dict(form.left_out) == {"corrections of trades": 1, "best bids and offers of stale books": 1}


def test_aggregate_trades_stand_in_on_a_day_without_single_ones(tmp_path: Path) -> None:
    aggregate = tick(T0_NS, Kind.TRADE, 100, 1, Side.BUY, flags=Flag.LAST | Flag.AGGREGATE, venue_seq=5)
    store = keep(tmp_path / "data", aggregate)
    assert export_days(store, tmp_path, TardisFiles(), sorts=["trades"]) == 1


def test_the_changes_of_each_day_lead_to_the_book_by_the_rule_of_tardis(tmp_path: Path) -> None:
    ticks = past_ticks([1], 3000, start_ns=T0_NS + DAY_NS - 10**9, step_ns=10**6)
    ticks["instrument"] = 1
    store = keep(tmp_path / "data", ticks, scales=(8, 8), symbol="AAA")
    export_days(store, tmp_path / "out", TardisFiles(), sorts=["incremental_book_L2"])
    files = sorted((tmp_path / "out").glob("*.gz"))
    assert len(files) == 2
    compared = 0
    for path, day in zip(files, (20_000, 20_001), strict=True):
        book: dict[tuple[str, Decimal], Decimal] = {}
        was_snapshot = False
        for row in rows_of(path):
            snapshot = row["is_snapshot"] == "true"
            if snapshot and not was_snapshot:
                book.clear()
            was_snapshot = snapshot
            key = (row["side"], Decimal(row["price"]))
            book[key] = Decimal(row["amount"])
            if not book[key]:
                del book[key]
        at_end = store.book("kraken", "AAA", (day + 1) * DAY_NS - 1)
        if not at_end.stale:
            expected = {("bid", p): s for p, s in at_end.bids.tolist()} | {
                ("ask", p): s for p, s in at_end.asks.tolist()
            }
            assert {
                (side, int(price.scaleb(8))): int(size.scaleb(8)) for (side, price), size in book.items()
            } == expected
            compared += 1
    assert compared


def test_what_is_written_is_left_alone_and_what_has_grown_is_written_again(tmp_path: Path) -> None:
    trades = [tick(T0_NS + day * DAY_NS, Kind.TRADE, 100, 1, Side.BUY) for day in range(3)]
    store = keep(tmp_path / "data", *trades)
    assert export_days(store, tmp_path / "out", TardisFiles()) == 3
    assert export_days(store, tmp_path / "out", TardisFiles()) == 0
    more = tick(T0_NS + 2 * DAY_NS + 9, Kind.TRADE, 101, 1, Side.BUY)
    more["seq"] = 3
    fill(tmp_path / "data", Schema.TICK, "feed", more)
    assert export_days(Store(tmp_path / "data"), tmp_path / "out", TardisFiles()) in (2, 4)  # chunks may hold two days


def test_a_file_of_tardis_is_imported_with_a_mapping_of_its_columns(tmp_path: Path) -> None:
    store = keep(tmp_path / "data", tick(T0_NS + 1000, Kind.TRADE, 6183763, 1, Side.BUY, venue_seq=17))
    export_days(store, tmp_path, TardisFiles(), sorts=["trades"])
    (path,) = tmp_path.glob("*.csv.gz")
    columns = {"ts_event": "timestamp", "ts_recv": "local_timestamp", "venue_seq": "id", "side": "side"}
    columns |= {"price": "price", "size": "amount"}
    assert import_table(path, tmp_path / "other", "kraken", "B", columns, producer="p", time_unit="us") == 1
    table = Store(tmp_path / "other").trades("kraken", "B").arrow()
    assert table["price"].to_pylist() == [Decimal("61837.63")]
    assert table["side"].to_pylist() == ["buy"]
    assert table["ts_recv"].cast("int64").to_pylist() == [T0_NS + 1000]


# DBN


def decoded(path: Path) -> tuple[Any, list[Any]]:
    import dbn_oracle

    return dbn_oracle.decode(path)


def test_orders_that_came_from_dbn_go_back_to_it_record_by_record(tmp_path: Path) -> None:
    recorded_store.ingest(tmp_path / "data", write(tmp_path / "a.dbn", orders(3, 800)), "databento")
    export_days(Store(tmp_path / "data"), tmp_path / "out", DbnFiles(), sorts=["mbo"])
    (path,) = (tmp_path / "out").glob("*.dbn.zst")
    metadata, found = decoded(path)
    _, expected = decoded(tmp_path / "a.dbn")
    assert (metadata.dataset, str(metadata.schema), metadata.version, [*metadata.mappings]) == (
        "GLBX.MDP3",
        "mbo",
        3,
        ["TEST"],
    )
    names = ("ts_event", "ts_recv", "order_id", "price", "size", "action", "side", "flags", "sequence")
    assert [[getattr(row, name) for name in names] for row in found] == [
        [getattr(row, name) for name in names] for row in expected
    ]
    # And into a store again.
    recorded_store.ingest(tmp_path / "again", path, "databento")
    fields = [name for name in TICK.names or () if name not in ("seq", "instrument")]
    mine, again = (stored(tmp_path / name) for name in ("data", "again"))
    kinds = [Kind.ORDER_ADD, Kind.ORDER_CANCEL, Kind.TRADE, Kind.CLEAR]
    mine, again = (records[np.isin(records["kind"], kinds)][fields] for records in (mine, again))
    assert (mine == again).all()


def test_trades_quotes_and_bars_are_what_databento_decodes(tmp_path: Path) -> None:
    store = keep(
        tmp_path / "data",
        tick(T0_NS + 1, Kind.TRADE, 6183763, 7, Side.BUY, venue_seq=17),
        tick(T0_NS + 2, Kind.QUOTE, 100, 3, Side.BID, flags=0),
        tick(T0_NS + 2, Kind.QUOTE, 101, 4, Side.ASK),
        tick(T0_NS + 3, Kind.QUOTE, NO_PRICE, 0, Side.ASK),
        scales=(2, 0),
    )
    bars = np.zeros(2, BAR)
    bars["ts_open"], bars["ts_recv"], bars["instrument"], bars["interval_s"] = T0_NS, T0_NS, 1, (60, 1)
    bars["seq"] = range(2)
    bars["open"], bars["high"], bars["low"], bars["close"], bars["volume"] = 1, 4, 1, 2, 9
    fill(tmp_path / "data", Schema.BAR, "engine", bars)
    export_days(store, tmp_path / "out", DbnFiles())
    files = {path.name.split(".")[1]: decoded(path) for path in (tmp_path / "out").glob("*.dbn.zst")}
    assert sorted(files) == ["mbp-1", "ohlcv-1m", "ohlcv-1s", "trades"]
    metadata, (trade,) = files["trades"]
    assert (metadata.dataset, [*metadata.mappings]) == ("KRAKEN", ["BTC/USD"])
    assert (trade.price, trade.size, str(trade.side), trade.sequence, trade.ts_recv) == (
        61837_630_000_000,
        7,
        "B",
        17,
        T0_NS + 1,
    )
    _, (first, second) = files["mbp-1"]
    levels = [(row.levels[0].bid_px, row.levels[0].bid_sz, row.levels[0].ask_px) for row in (first, second)]
    assert levels == [(10**9, 3, 1_010_000_000), (10**9, 3, 2**63 - 1)]
    _, (bar,) = files["ohlcv-1m"]
    assert (bar.ts_event, bar.open, bar.high, bar.volume) == (T0_NS, 10_000_000, 40_000_000, 9)


@pytest.mark.parametrize(
    ("scales", "price", "size", "words"),
    [
        ((2, 3), 100, 1001, "kraken BTC/USD: has a size that DBN cannot hold: whole numbers"),
        ((10, 0), 11, 1, "has a price that DBN cannot hold: 9 decimals at the most"),
        ((2, 0), 2**62, 1, "has a price too large"),
        ((2, 0), 1, 2**32, "has a size too large"),
        ((2, 0), 1, -1, "has a negative size"),
    ],
)
def test_what_dbn_cannot_hold_exactly_is_refused_and_leaves_no_file(
    tmp_path: Path, scales: tuple[int, int], price: int, size: int, words: str
) -> None:
    store = keep(tmp_path / "data", tick(T0_NS, Kind.TRADE, price, size), scales=scales)
    with pytest.raises(StoreError, match=words):
        export_days(store, tmp_path / "out", DbnFiles(), sorts=["trades"])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_disk_that_is_full_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    store = keep(tmp_path / "data", tick(T0_NS, Kind.TRADE, 100, 1))

    def fails(path: Path) -> Any:
        raise OSError(28, "No space left on device", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_files.os, "fsync", fails)
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            export_days(store, tmp_path / "out", TardisFiles(), sorts=["trades"])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_the_command_says_which_types_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path / "data", tick(T0_NS, Kind.TRADE, 100, 1), tick(T0_NS, Kind.TRADE, 1, 1, flags=TradeFlag.CANCELLED))
    words = ["export", str(tmp_path / "out"), "--data", str(tmp_path / "data"), "--format", "tardis"]
    assert run([*words, "--type", "mbo"]) == 2
    assert "tardis has no type mbo; choose from trades, incremental_book_L2" in capsys.readouterr().err
    assert run([*words, "--type", "trades"]) == 0
    said = capsys.readouterr()
    assert "1 records written" in said.out
    assert "left out, because tardis cannot express them: 1 corrections of trades" in said.err
    assert run([*words[:-2], "--type", "trades"]) == 2
    assert "--type needs --format" in capsys.readouterr().err
