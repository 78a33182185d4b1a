"""What real market data takes on disk."""

from __future__ import annotations

import numpy as np
import pytest
from independent import recording

from tickplant.feeds.capture_lines import parse_line
from tickplant.feeds.contract import FeedContext
from tickplant.instruments import Instrument
from tickplant.records.layouts import Schema
from tickplant.records.merge import join_records
from tickplant.runtime.recorded_lines import Recording
from tickplant.venues import find_venue
from tickplant.writer.format.codec import decode_chunk, encode_chunk

CHUNK_RECORDS = 1 << 16


@pytest.mark.parametrize(
    ("venue", "name", "most_bytes"),
    [
        ("binance", "binance_spot_btcusdt_20240808.gz", 4.0),
        ("binance-usdm", "binance_usdm_btcusdt_20240808.gz", 3.1),
    ],
)
def test_a_recording_takes_few_bytes_a_record_and_comes_back_whole(venue: str, name: str, most_bytes: float) -> None:
    path = recording(name)
    adapter = find_venue(venue).make_adapter(
        FeedContext(
            symbols=None, channels=(), resolve=lambda symbol, *_, **__: Instrument(1, venue, symbol, 8, 8), live=False
        )
    )
    parts = []
    for block in Recording(path).blocks():
        for line in block:
            if (parsed := parse_line(line)) and parsed[1]:
                adapter.on_event(parsed[1], parsed[0])
        parts.append(adapter.take().ticks.copy())
    ticks = join_records(parts)
    ticks["seq"] = np.arange(len(ticks))
    assert len(ticks) > 100_000
    stored_bytes = 0
    for start in range(0, len(ticks), CHUNK_RECORDS):
        part = ticks[start : start + CHUNK_RECORDS]
        chunk = encode_chunk(part, Schema.TICK, 0)
        assert decode_chunk(chunk)[0].tobytes() == part.tobytes()
        stored_bytes += len(chunk)
    assert stored_bytes / len(ticks) <= most_bytes
