"""A chunk of one section, restored by one call: the same columns, records or damage as column by column."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from forged_chunks import mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.writer.format.codec import ChunkDecoder, encode_chunk
from tickplant.writer.format.columns import COLUMN_IDS

pytestmark = pytest.mark.kernels


class Watched(ChunkDecoder):
    """Knows whether a chunk was decoded by one call."""

    at_once = False

    def _together(self, *arguments: object) -> bool:
        self.at_once = super()._together(*arguments)
        return self.at_once


class Apart(ChunkDecoder):
    """Decodes column by column."""

    def _together(self, *_: object) -> bool:
        return False


def some_chunk(schema: Schema, random: Random) -> bytes:
    """Of a few rows of a few groups, some of them no market data, whose columns are constant, rising, or anything."""
    rows = random.choice([1, 2, 7, 40])
    records = np.zeros(rows, DTYPES[schema])
    for name in COLUMN_IDS[schema]:
        limit = 256 ** records.dtype[name].itemsize
        values = [random.choice([0, 1, 2, 3, 1000, random.randrange(limit)]) for _ in range(rows)]
        shape = random.choice([values, values, sorted(values), values[:1] * rows, [0] * rows, range(5, 5 + rows)])
        records[name] = np.array([value % limit for value in shape], np.uint64).astype(records.dtype[name])
    records["instrument"] = [random.choice([1, 2, 70_000]) for _ in range(rows)]
    if "kind" in (records.dtype.names or ()):
        kinds = [Kind.TRADE, Kind.LEVEL, random.choice([Kind.LEVEL, Kind.GAP]), random.choice([0, Kind.STATUS])]
        records["kind"] = [random.choice(kinds) for _ in range(rows)]
    return encode_chunk(records, schema, 0)


def outcome(decoder: ChunkDecoder, chunk: bytes, names: list[str] | None, how: str) -> object:
    """What comes of a chunk: an error's words, or types and bytes."""
    try:
        if how == "records":
            return decoder.decode(chunk, columns=names)[0].tobytes()
        given: dict[str, np.ndarray] = {}

        def into(name: str, rows: int) -> np.ndarray:
            schema = Schema(int.from_bytes(chunk[10:12], "little"))
            given[name] = np.empty(rows, DTYPES[schema][name])
            return given[name]

        found = decoder.columns(chunk, names=names, into=into if how == "into" else None)[0]
        assert how != "into" or all(column is given[name] for name, column in found.items())
        return [(name, column.dtype, column.tobytes()) for name, column in found.items()]
    except (DamageError, StoreError, ValueError) as error:
        return str(error)


@given(
    st.sampled_from([*Schema]),
    st.randoms(use_true_random=False),
    st.booleans(),
    st.sampled_from(["columns", "into", "records"]),
)
@settings(max_examples=200)
def test_at_once_is_column_by_column(schema: Schema, random: Random, whole: bool, how: str) -> None:
    chunk = some_chunk(schema, random)
    names = None if whole else random.sample([*COLUMN_IDS[schema]], random.randint(1, len(COLUMN_IDS[schema])))
    decoder = Watched()
    assert outcome(decoder, chunk, names, how) == outcome(Apart(), chunk, names, how)
    assert decoder.at_once
    forged = mutated(chunk, random)
    assert outcome(decoder, forged, names, how) == outcome(Apart(), forged, names, how)
