"""Records of the channels without ids and state: statistics, bars of the venue, liquidations.

Nothing shows whether one is missing, so an interruption is a GAP (ON_OTHER) when the channel resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from tickplant.feeds.kit.emitter import Emitter
from tickplant.feeds.kit.numbers import price, size
from tickplant.feeds.kit.rejected import RejectError
from tickplant.instruments import parse_decimal
from tickplant.records.batch import Rows
from tickplant.records.layouts import Flag, GapCause, Kind, Side
from tickplant.records.statistics import StatisticCode
from tickplant.records.venue_bars import FIELD_BITS, BarField

if TYPE_CHECKING:
    from tickplant.feeds.kit.listings import Listing


def gap_flags(channel: str) -> Flag:
    """Flags of a GAP of such a channel. A partial book's GAP has PARTIAL, to be published where partial books are."""
    return Flag.ON_OTHER | Flag.PARTIAL if channel == "partial_book" else Flag.ON_OTHER


class Ohlc(msgspec.Struct, frozen=True):
    """A bar as the venue sends it, with numbers as text."""

    start_ns: int
    end_ns: int  # exclusive
    open: str
    high: str
    low: str
    close: str
    volume: str
    vwap: str = ""
    trades: int = 0
    closed: bool = True


class OtherStreams:
    """The channels without ids of all instruments of a feed."""

    def __init__(self, emit: Emitter, end_rejects: Callable[[Listing, str], object]) -> None:
        """`end_rejects` is called with each channel that has delivered a good message."""
        self._emit = emit
        self._end_rejects = end_rejects
        self._lost: dict[tuple[str, str], GapCause] = {}  # by symbol and channel: interrupted, with the GAP still due
        self._seen: set[tuple[str, str]] = set()
        self._fresh: set[tuple[str, str]] = set()

    def on_statistics(
        self,
        listing: Listing,
        numbers: Mapping[StatisticCode, str],
        ts_event: int,
        ts_recv: int,
        *,
        at_ns: int | Mapping[StatisticCode, int] = 0,
    ) -> None:
        """Record the numbers of one message; `at_ns`: the time all or some of them apply to. Raises RejectError."""
        times = at_ns if isinstance(at_ns, Mapping) else dict.fromkeys(numbers, at_ns)
        parsed = [(code, *_number(text)) for code, text in numbers.items()]
        _check_times(ts_event, *times.values())
        self._see(listing, "statistic", ts_recv)
        for index, (code, mantissa, decimals) in enumerate(parsed, 1):
            self._emit.batch.add(
                Kind.STATISTIC,
                listing.instrument.id,
                ts_event=ts_event,
                ts_recv=ts_recv,
                price=decimals,
                size=mantissa,
                venue_seq=times.get(code, 0),
                order_id=code,
                flags=Flag.LAST if index == len(parsed) else 0,
            )

    def on_bar(self, listing: Listing, bar: Ohlc, ts_recv: int) -> None:
        """Record a bar of the venue. Raises RejectError."""
        scale = listing.instrument.price_scale
        fields = [
            (BarField.OPEN, price(bar.open, scale)),
            (BarField.HIGH, price(bar.high, scale)),
            (BarField.LOW, price(bar.low, scale)),
            (BarField.CLOSE, price(bar.close, scale)),
        ]
        volume = size(bar.volume, listing.instrument.size_scale)
        # An end is often a start plus a length: each may fit into 63 bits while the sum does not.
        if not 0 <= bar.start_ns < bar.end_ns < 1 << 63 or not 0 <= bar.trades < 1 << 48:
            raise RejectError("value", f"a bar from {bar.start_ns} to {bar.end_ns} ns of {bar.trades} trades")
        if bar.vwap:
            fields.append((BarField.VWAP, price(bar.vwap, scale)))
        self._see(listing, "venue_bar", ts_recv)
        partial = 0 if bar.closed else Flag.PARTIAL
        for field, mantissa in fields:
            closes = field is BarField.CLOSE
            self._emit.batch.add(
                Kind.VENUE_BAR,
                listing.instrument.id,
                ts_event=bar.end_ns,
                ts_recv=ts_recv,
                price=mantissa,
                size=volume if closes else 0,
                venue_seq=bar.start_ns,
                order_id=field | (bar.trades << FIELD_BITS if closes else 0),
                flags=partial | (Flag.LAST if field is fields[-1][0] else 0),
            )

    def on_liquidation(
        self, listing: Listing, price_text: str, size_text: str, side: Side, ts_event: int, ts_recv: int
    ) -> None:
        """Record a forced order with its own side. Raises RejectError."""
        instrument = listing.instrument
        mantissas = price(price_text, instrument.price_scale), size(size_text, instrument.size_scale)
        _check_times(ts_event)
        self._see(listing, "liquidation", ts_recv)
        self._emit.batch.add(
            Kind.LIQUIDATION,
            instrument.id,
            ts_event=ts_event,
            ts_recv=ts_recv,
            price=mantissas[0],
            size=mantissas[1],
            side=side,
            flags=Flag.LAST,
        )

    def on_partial_book(self, listing: Listing, rows: Rows, ts_recv: int) -> None:
        """Record the best levels of a book as a whole: CLEAR and LEVEL rows with PARTIAL."""
        self._see(listing, "partial_book", ts_recv)
        self._emit.batch.extend(rows)

    # Interruptions.

    def interrupt(self, listing: Listing, channel: str) -> None:
        """Note that the channel was cut off."""
        key = listing.instrument.symbol, channel
        if key in self._seen:
            self._lost[key] = GapCause.DISCONNECT

    def take_delivered(self, symbol: str, channel: str) -> bool:
        """Whether anything has come since the last call."""
        fresh = (symbol, channel) in self._fresh
        self._fresh.discard((symbol, channel))
        return fresh

    def go_on(self, listing: Listing, channel: str, ts_ns: int) -> None:
        """Prepare a channel that is about to resume: the GAP of its interruption, if any, comes now."""
        if (cause := self._lost.pop((listing.instrument.symbol, channel), None)) is not None:
            self._emit.gap(listing.instrument, cause, 0, ts_ns, flags=gap_flags(channel))

    def _see(self, listing: Listing, channel: str, ts_recv: int) -> None:
        key = listing.instrument.symbol, channel
        self._seen.add(key)
        self._fresh.add(key)
        self._end_rejects(listing, channel)
        if self._lost:
            self.go_on(listing, channel, ts_recv)


def _check_times(*times_ns: int) -> None:
    for time_ns in times_ns:
        if not 0 <= time_ns < 1 << 63:
            raise RejectError("time", f"{time_ns} ns do not fit into 63 bits")


def _number(text: str) -> tuple[int, int]:
    try:
        mantissa, decimals = parse_decimal(text)
    except ValueError as error:
        raise RejectError("value", str(error)) from None
    if not -(2**63) < mantissa < 2**63:
        raise RejectError("scale", f"{text[:100]} has more than 18 digits")
    return mantissa, decimals
