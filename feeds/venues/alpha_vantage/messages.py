"""The reference decoder of Alpha Vantage: from the body of an answer to bars, or to the venue's refusal.

Errors come with HTTP 200. A body with neither a time series nor one of the venue's words for an error is rejected.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError

LIMIT: Final = "limit"
BAD_KEY: Final = "bad key"
REFUSED: Final = "refused"

_LIMITED: Final = re.compile(
    r"rate limit|call frequency|requests? per (?:day|minute|second)|api call volume|too many", re.IGNORECASE
)
_BAD_KEY: Final = re.compile(r"apikey is invalid|invalid or missing|demo\W* api key", re.IGNORECASE)
_INTERVAL: Final = re.compile(r"(\d{1,2})min\Z", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?\Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Meta(msgspec.Struct, frozen=True):
    symbol: str = msgspec.field(name="2. Symbol")
    interval: str = msgspec.field(name="4. Interval", default="")
    zone: str = msgspec.field(name="6. Time Zone", default="")
    zone_of_days: str = msgspec.field(name="5. Time Zone", default="")


class _Bar(msgspec.Struct, frozen=True):
    open: str = msgspec.field(name="1. open")
    high: str = msgspec.field(name="2. high")
    low: str = msgspec.field(name="3. low")
    close: str = msgspec.field(name="4. close")
    volume: str = msgspec.field(name="5. volume")


class _Body(msgspec.Struct, frozen=True):
    meta: _Meta | None = msgspec.field(name="Meta Data", default=None)
    error: str = msgspec.field(name="Error Message", default="")
    note: str = msgspec.field(name="Note", default="")
    information: str = msgspec.field(name="Information", default="")
    daily: dict[str, _Bar] | None = msgspec.field(name="Time Series (Daily)", default=None)
    min1: dict[str, _Bar] | None = msgspec.field(name="Time Series (1min)", default=None)
    min5: dict[str, _Bar] | None = msgspec.field(name="Time Series (5min)", default=None)
    min15: dict[str, _Bar] | None = msgspec.field(name="Time Series (15min)", default=None)
    min30: dict[str, _Bar] | None = msgspec.field(name="Time Series (30min)", default=None)
    min60: dict[str, _Bar] | None = msgspec.field(name="Time Series (60min)", default=None)


class Bars(msgspec.Struct, frozen=True):
    """The bars of one symbol, oldest first. Bars that end after the time of receipt are not closed."""

    symbol: str
    series: str  # "daily" or "intraday"
    bars: list[Ohlc]


class Refusal(msgspec.Struct, frozen=True):
    """The venue's message in place of data."""

    kind: str  # LIMIT, BAD_KEY or REFUSED
    text: str


_BODY: Final = msgspec.json.Decoder(_Body)


def decode(body: bytes, ts_recv: int) -> Bars | Refusal:
    """Decode an answer. Raises RejectError."""
    try:
        decoded = _BODY.decode(body)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
    if text := decoded.error or decoded.note or decoded.information:
        return Refusal(LIMIT if _LIMITED.search(text) else BAD_KEY if _BAD_KEY.search(text) else REFUSED, text)
    if decoded.meta is None:
        raise RejectError("unknown message", "neither a time series nor an error")
    if decoded.daily is not None:
        zone = _zone(decoded.meta.zone_of_days)
        return Bars(decoded.meta.symbol, "daily", _bars(decoded.daily, zone, None, ts_recv))
    minutes = _INTERVAL.match(decoded.meta.interval)
    rows: dict[str, _Bar] | None = getattr(decoded, f"min{minutes[1]}", None) if minutes else None
    if minutes is None or rows is None:
        raise RejectError("unknown message", f"no time series of the interval {decoded.meta.interval[:20]!r}")
    bars = _bars(rows, _zone(decoded.meta.zone), timedelta(minutes=int(minutes[1])), ts_recv)
    return Bars(decoded.meta.symbol, "intraday", bars)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RejectError("time", f"{name[:40]!r} is no time zone") from None


def _bars(rows: dict[str, _Bar], zone: ZoneInfo, length: timedelta | None, ts_recv: int) -> list[Ohlc]:
    bars = []
    for text, bar in sorted(rows.items()):
        start = _local(text)
        # A day ends where the next one begins: it has 23 or 25 hours when the clocks change.
        end_ns = _ns(start + timedelta(days=1), zone) if length is None else _ns(start, zone) + _duration_ns(length)
        numbers = bar.open, bar.high, bar.low, bar.close, bar.volume
        bars.append(Ohlc(_ns(start, zone), end_ns, *numbers, closed=end_ns <= ts_recv))
    return bars


def _local(text: str) -> datetime:
    try:
        if _TIME.match(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise RejectError("time", f"{text[:40]!r} is no time of a bar")


def _ns(local: datetime, zone: ZoneInfo) -> int:
    """Nanoseconds of a local time. An hour that occurs twice is outside trading hours; the first one is meant."""
    try:
        return _duration_ns(local.replace(tzinfo=zone).astimezone(UTC) - _EPOCH)
    except OverflowError:
        raise RejectError("time", f"{local} is out of range") from None


def _duration_ns(length: timedelta) -> int:
    return (length.days * 86_400 + length.seconds) * 1_000_000_000
