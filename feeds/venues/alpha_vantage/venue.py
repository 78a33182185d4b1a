"""Alpha Vantage: limits and words. Data only. Source: the venue's API documentation."""

from __future__ import annotations

from typing import Final

import msgspec

VENUE: Final = "alpha-vantage"
CHANNEL: Final = "venue_bar"
PATH: Final = "/query"
ZONE: Final = "US/Eastern"

KEY: Final = "key"
"""Names in the credential: the API key, and the number of requests a day that the plan of its owner allows."""
REQUESTS_PER_DAY: Final = "requests_per_day"
FREE_REQUESTS_PER_DAY: Final = 25

BURST: Final = 5
"""Requests that may follow each other at the start, SPACING_S apart."""
SPACING_S: Final = 15.0

COMPACT_BARS: Final = 100
"""Number of bars in a compact answer, the newest ones. A full answer has 30 days of minutes, or 20 years of days."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of bars that the venue serves."""

    name: str  # in keys of requests
    function: str
    query: str
    period_s: int  # least time between two requests for a symbol
    compact_s: int  # a compact answer connects if the newest bar is no older than this


INTRADAY: Final = Series(
    name="intraday",
    function="TIME_SERIES_INTRADAY",
    query="&interval=1min&extended_hours=true&adjusted=false",
    period_s=60,
    compact_s=90 * 60,
)
LONGEST_INTRADAY_S: Final = 3600
DAILY: Final = Series(name="daily", function="TIME_SERIES_DAILY", query="", period_s=86_400, compact_s=90 * 86_400)
SERIES: Final = (DAILY, INTRADAY)

RETRY_S: Final = 60
LONGEST_RETRY_S: Final = 3600
"""Pause after a failure, or after an answer that there were too many requests; the pause doubles."""

FIRST_ANSWER_S: Final = 60
"""How long to wait for the first answer about an added symbol before the symbol counts as accepted."""

REFUSED_S: Final = 86_400
"""Pause before a refused symbol or function is requested again."""
