"""Chunks that earlier versions wrote are still read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_records import make_records

from tickplant.records.layouts import Schema
from tickplant.writer.format.chunk_layout import VERSION, producer_id
from tickplant.writer.format.codec import decode_chunk

GOLDEN = Path(__file__).parents[1] / "golden"

# What `tests/golden/make_chunks.py` put in.
ROWS = 300
FIRST_SEQ = 4_000_000
EPOCH = 1_700_000_000_123_456_789


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_every_format_version_ever_written_is_still_read(version: int) -> None:
    data = (GOLDEN / f"chunks-v{version}.tpj").read_bytes()
    offset = 0
    for schema in (Schema.TICK, Schema.BBO, Schema.BAR):
        records, header, offset = decode_chunk(data, offset)
        expected = make_records(schema, ROWS, first_seq=FIRST_SEQ)
        for name in expected.dtype.names or ():
            assert np.array_equal(records[name], expected[name]), (schema, name)
        assert (header.version, header.schema, header.rows) == (version, schema, ROWS)
        assert (header.first_seq, header.last_seq) == (FIRST_SEQ, FIRST_SEQ + ROWS - 1)
        assert (header.epoch, header.producer) == (EPOCH, producer_id("golden"))
    records, _, offset = decode_chunk(data, offset)
    assert records.tobytes() == make_records(Schema.TICK, 1).tobytes()
    assert offset == len(data)
