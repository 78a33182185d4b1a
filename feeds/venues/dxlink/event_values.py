"""Interprets the values of an event. Numbers become text, empty if absent; times become ns. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.dxlink import venue as facts
from tickplant.records.layouts import Flag, Side, TradeFlag
from tickplant.records.statistics import StatisticCode

MS_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS
_MAX: Final = 2**63 - 1

Row = Mapping[str, Any]

_ABSENT: Final = frozenset({"NaN", "Infinity", "-Infinity", ""})
_SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL, "UNDEFINED": Side.NONE, "": Side.NONE}
_TYPES: Final = {"NEW": 0, "": 0, "CORRECTION": TradeFlag.CORRECTION, "CANCEL": TradeFlag.CANCELLED}

_BARS: Final = re.compile(r"(.+)\{=(\d{0,6})([smhdw])(?:,[^{}]*)?\}\Z")
_UNIT_NS: Final = {
    unit: seconds * SECOND_NS for unit, seconds in (("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800))
}
_STATISTICS: Final[dict[str, dict[str, StatisticCode]]] = {
    facts.GREEKS: {
        "price": StatisticCode.OPTION_PRICE,
        "volatility": StatisticCode.VOLATILITY,
        "delta": StatisticCode.DELTA,
        "gamma": StatisticCode.GAMMA,
        "theta": StatisticCode.THETA,
        "rho": StatisticCode.RHO,
        "vega": StatisticCode.VEGA,
    },
    facts.SUMMARY: {
        "dayOpenPrice": StatisticCode.DAY_OPEN,
        "dayHighPrice": StatisticCode.DAY_HIGH,
        "dayLowPrice": StatisticCode.DAY_LOW,
        "dayClosePrice": StatisticCode.DAY_CLOSE,
        "prevDayClosePrice": StatisticCode.PREVIOUS_CLOSE,
        "prevDayVolume": StatisticCode.PREVIOUS_VOLUME,
        "openInterest": StatisticCode.OPEN_INTEREST,
    },
}


def symbol_of(kind: str, row: Row) -> tuple[str, int]:
    """Symbol of an event and, for a candle, its length in ns. Raises RejectError."""
    symbol = row.get("eventSymbol")
    if not isinstance(symbol, str):
        raise RejectError("schema", "an event without eventSymbol")
    if kind != facts.CANDLE:
        return symbol, 0
    match = _BARS.match(symbol)
    length_ns = int(match[2] or 1) * _UNIT_NS[match[3]] if match else 0
    if match is None or length_ns == 0:
        raise RejectError("value", f"{symbol[:100]!r} says of no time how long its candles are")
    return match[1], length_ns


def is_removed(row: Row) -> bool:
    """Whether an event removes the one of its index. Raises RejectError."""
    return bool(_integer(row, "eventFlags") & facts.REMOVE)


def quote_of(row: Row) -> tuple[int, tuple[str, str], tuple[str, str], int]:
    """Sequence, bid and ask as (price, size), and the later of their times. Raises RejectError.

    A side without a price is ("0", "0"), the kit's form of an empty side.
    """
    time_ns = max(_time(row, "bidTime"), _time(row, "askTime"))
    return _integer(row, "sequence"), _side(row, "bid"), _side(row, "ask"), time_ns


def _side(row: Row, side: str) -> tuple[str, str]:
    price, size = _number(row, side + "Price"), _number(row, side + "Size")
    return (price, size or "0") if price else ("0", "0")


def sale_of(symbol: str, row: Row) -> VenueTrade | None:
    """The trade of a TimeAndSale; None if it has no price and cancels nothing. Raises RejectError."""
    price, size = _number(row, "price"), _number(row, "size")
    side, kind = _word(row, "aggressorSide", _SIDES), _word(row, "type", _TYPES)
    if not price and kind != TradeFlag.CANCELLED:
        return None
    irregular = row.get("validTick") is False or row.get("spreadLeg") is True
    flags = kind | (TradeFlag.IRREGULAR if irregular else 0)
    if "index" not in row:
        raise RejectError("schema", "a TimeAndSale without index")
    time = _time(row, "time", "timeNanoPart")
    return VenueTrade(symbol, _integer(row, "index"), time, price or "0", size or "0", Side(side), flags=flags)


def last_trade_of(symbol: str, row: Row) -> VenueTrade | None:
    """The newest trade of a Trade; None before the first. Raises RejectError."""
    price, size = _number(row, "price"), _number(row, "size")
    if not price:
        return None
    time, flags = _time(row, "time", "timeNanoPart"), Flag.AGGREGATE | TradeFlag.CONFLATED
    return VenueTrade(symbol, _integer(row, "sequence"), time, price, size or "0", Side.NONE, flags=flags)


def statistics_of(kind: str, row: Row) -> tuple[dict[StatisticCode, str], int, int]:
    """Numbers of Greeks or a Summary, their time, and the day that they apply to. Raises RejectError."""
    numbers = {code: text for name, code in _STATISTICS[kind].items() if (text := _number(row, name))}
    day_ns = _integer(row, "dayId") * DAY_NS
    if day_ns > _MAX:
        raise RejectError("time", f"the day {row['dayId']}")
    return numbers, _time(row, "time"), day_ns


def bar_of(row: Row, length_ns: int, ts_recv: int) -> Ohlc | None:
    """The bar of a Candle; None if nothing was traded. Raises RejectError."""
    first, high, low, last = (_number(row, name) for name in ("open", "high", "low", "close"))
    if not (first and high and low and last):
        return None
    start_ns, count = _time(row, "time"), _number(row, "count")
    end_ns = start_ns + length_ns
    if end_ns > _MAX or (count and not count.isdigit()):
        raise RejectError("value", f"a candle from {start_ns} ns of {count[:40]} trades")
    volume = _number(row, "volume") or "0"
    return Ohlc(start_ns, end_ns, first, high, low, last, volume, trades=int(count or 0), closed=end_ns <= ts_recv)


def _number(row: Row, name: str) -> str:
    """A number as text; empty if it is absent or not a number (NaN)."""
    value = row.get(name)
    if type(value) is str:
        return "" if value in _ABSENT else value
    if type(value) is int:
        return str(value)
    if name not in row:
        return ""
    raise RejectError("schema", f"{name} is no number")


def _integer(row: Row, name: str) -> int:
    """An integer of 0 to 2**63 - 1; 0 if absent."""
    value = row.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _MAX:
        raise RejectError("schema" if type(value) is not int else "value", f"{name} is no integer of 63 bits")
    return value


def _time(row: Row, name: str, nanos: str = "") -> int:
    """A time in ns, including its part below the ms. Its unit, normally ms, follows from its size."""
    time_ns, nano_part = epoch_ns(_integer(row, name)), _integer(row, nanos) if nanos else 0
    if time_ns + nano_part > _MAX or nano_part >= MS_NS:
        raise RejectError("time", f"{row.get(name)} ms and {nano_part} ns")
    return time_ns + nano_part


def _word(row: Row, name: str, words: Mapping[str, int]) -> int:
    value = row.get(name)
    if value is None:
        return words[""]
    if not isinstance(value, str) or value not in words:
        raise RejectError("schema", f"{name} is {str(value)[:40]!r}")
    return words[value]
