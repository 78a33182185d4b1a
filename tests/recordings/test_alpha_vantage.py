"""Published answers of Alpha Vantage against an independent reading of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from venue_desk import SECOND, VenueDesk

from tickplant.feeds.venues.alpha_vantage.adapter import AlphaVantageAdapter
from tickplant.records.venue_bars import venue_bars

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "alphavantage"
LATER = 2_000_000_000 * SECOND


def test_every_bar_of_a_published_answer_is_recorded_exactly() -> None:
    path = FOLDER / "mock_time_series"
    if not path.exists():
        pytest.skip("the recordings are not beside the project")
    body = path.read_bytes()
    rows = json.loads(body)["Time Series (1min)"]
    desk = VenueDesk("alpha-vantage", AlphaVantageAdapter, None, scale=4)
    desk.frames("recorded", [body], LATER)
    bars = venue_bars(desk.take_ticks())
    assert len(bars) == len(rows) == 100
    for bar, text in zip(bars, sorted(rows), strict=True):
        start = datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(hours=5)  # December: UTC is 5 hours ahead
        assert int(bar["ts_open"]) == int(start.timestamp()) * SECOND
        assert int(bar["interval_s"]) == 60
        for name, key in (("open", "1. open"), ("high", "2. high"), ("low", "3. low"), ("close", "4. close")):
            assert Decimal(int(bar[name])).scaleb(-4) == Decimal(rows[text][key])
        assert Decimal(int(bar["volume"])).scaleb(-4) == Decimal(rows[text]["5. volume"])


@pytest.mark.parametrize("name", ["global_quote", "mock_sector", "mock_foreign_exchange", "symbol_search"])
def test_answers_of_other_functions_are_rejected_by_name(name: str) -> None:
    path = FOLDER / name
    if not path.exists():
        pytest.skip("the recordings are not beside the project")
    desk = VenueDesk("alpha-vantage", AlphaVantageAdapter, None, scale=4)
    desk.frames("recorded", [path.read_bytes()], LATER)
    assert [reject.cause for reject in desk.rejects] in (["unknown message"], ["schema"])
