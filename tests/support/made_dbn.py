"""DBN files made for tests, by Databento's own encoder."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn as db
import zstandard

T0_NS = 1_760_000_000 * 10**9
DAY_NS = 86_400 * 10**9
DATASET = "GLBX.MDP3"
Intervals = Sequence[tuple[str, str, int]]
"""First day, end (exclusive) and instrument id."""

ALWAYS = ("2020-01-01", "2030-01-01")


def metadata(
    schema: db.Schema, symbols: Mapping[str, Intervals], start_ns: int, end_ns: int, *, dataset: str = DATASET
) -> bytes:
    """Metadata of the newest version."""
    day = dt.date.fromisoformat
    mappings: Any = [
        SimpleNamespace(
            raw_symbol=symbol,
            intervals=[
                SimpleNamespace(start_date=day(first), end_date=day(end), symbol=str(ident))
                for first, end, ident in intervals
            ],
        )
        for symbol, intervals in symbols.items()
    ]
    made = db.Metadata(
        dataset=dataset,
        start=start_ns,
        end=end_ns,
        stype_in=db.SType.RAW_SYMBOL,
        stype_out=db.SType.INSTRUMENT_ID,
        schema=schema,
        symbols=[*symbols],
        partial=[],
        not_found=[],
        mappings=mappings,
    )
    return bytes(made.encode())


def mbo(ts_ns: int, action: str, order: int = 0, price: int = 0, size: int = 0, **fields: Any) -> bytes:
    """A record of a book of orders, with F_LAST unless `flags` are given."""
    values: dict[str, Any] = {
        "publisher_id": 1,
        "instrument_id": 7,
        "ts_event": ts_ns - 1000,
        "side": "B",
        "flags": db.F_LAST,
        "channel_id": 0,
        "ts_in_delta": 0,
        "sequence": 1,
    } | fields
    values["side"], kind = db.Side.from_str(values["side"]), db.Action.from_str(action)
    return bytes(db.MBOMsg(order_id=order, price=price, size=size, action=kind, ts_recv=ts_ns, **values))


def orders(seed: int, count: int, *, start_ns: int = T0_NS, ident: int = 7, step_ns: int = 10**6) -> list[bytes]:
    """A session of one instrument. It begins with a clear, and every cancel is of an existing order.

    Some records share their receive time.
    """
    rng = random.Random(seed)
    records = [mbo(start_ns, "R", price=db.UNDEF_PRICE, side="N", instrument_id=ident)]
    standing: list[tuple[int, int, str]] = []
    ts_ns = start_ns
    for number in range(1, count):
        ts_ns += step_ns * (rng.random() < 0.7)
        fields: dict[str, Any] = {"instrument_id": ident, "sequence": number}
        if standing and rng.random() < 0.4:
            order, price, side = standing.pop(rng.randrange(len(standing)))
            records.append(mbo(ts_ns, "C", order, price, 5, side=side, **fields))
        elif rng.random() < 0.1:
            records.append(mbo(ts_ns, "T", 0, 100 * 10**9, 1, side="A", **fields))
        else:
            side = rng.choice("AB")
            price = (100 + (1 if side == "A" else -1) * rng.randint(1, 9)) * 10**9
            standing.append((number, price, side))
            records.append(mbo(ts_ns, "A", number, price, 5, side=side, **fields))
    return records


def write(path: Path, records: Sequence[bytes], *, zstd: bool = False, **options: Any) -> Path:
    """Write a file of these records; without `symbols`, they are of one instrument, 7, called TEST."""
    symbols = options.pop("symbols", {"TEST": [(*ALWAYS, 7)]})
    start_ns, end_ns = options.pop("start_ns", T0_NS), options.pop("end_ns", T0_NS + DAY_NS)
    schema = options.pop("schema", db.Schema.MBO)
    data = metadata(schema, symbols, start_ns, end_ns, **options) + b"".join(records)
    path.write_bytes(zstandard.ZstdCompressor().compress(data) if zstd else data)
    return path
