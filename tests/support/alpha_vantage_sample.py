"""Alpha Vantage: what the conformance suite must know about it."""

from __future__ import annotations

import re
from typing import Final

from venue_sample import VenueSample

_SERIES_SYMBOL: Final = re.compile(rb'"2\. Symbol": ?"([^"]+)"')


def _alpha_vantage_owner(body: bytes) -> tuple[str, str] | None:
    found = _SERIES_SYMBOL.search(body)
    return None if found is None else (found[1].decode(), "venue_bar")


_ALPHA_VANTAGE_BODIES: Final = (
    (
        b'{"Meta Data":{"1. Information":"Intraday (1min)","2. Symbol":"IBM","3. Last Refreshed":"2026-09-01 08:00:00",'
        b'"4. Interval":"1min","5. Output Size":"Compact","6. Time Zone":"US/Eastern"},"Time Series (1min)":{'
        b'"2026-09-01 08:00:00":{"1. open":"86.4900","2. high":"86.5000","3. low":"86.4750","4. close":"86.5000",'
        b'"5. volume":"10494"},"2026-09-01 07:59:00":{"1. open":"86.4900","2. high":"86.5000","3. low":"86.4801",'
        b'"4. close":"86.5000","5. volume":"12682"}}}'
    ),
    (
        b'{"Meta Data":{"2. Symbol":"MSFT","5. Time Zone":"US/Eastern"},"Time Series (Daily)":{"2026-08-31":'
        b'{"1. open":"1.5","2. high":"2","3. low":"1","4. close":"1.75","5. volume":"7"}}}'
    ),
    b'{"Error Message":"Invalid API call. Please retry."}',
    b'{"Note":"Our standard API call frequency is 5 calls per minute"}',
    b'{"Information":"This is a premium endpoint."}',
    b'{"Meta Data":{"2. Symbol":"IBM","4. Interval":"1min","6. Time Zone":"Mars/Olympus"},"Time Series (1min)":{}}',
)


SAMPLES: Final = (
    VenueSample(
        venue="alpha-vantage",
        symbols=("IBM", "MSFT"),
        further="TSCO.LON",
        owner=_alpha_vantage_owner,
        channels=("venue_bar",),
        frames=_ALPHA_VANTAGE_BODIES,
        in_line=False,
        has_links=False,
        has_life=False,
        secrets={"key": "a-key-that-is-good", "requests_per_day": "5000"},
    ),
)
