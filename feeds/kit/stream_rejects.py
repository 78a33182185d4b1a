"""What is recorded about rejected frames: the rule of feeds/rejections.py, for the streams of a market. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tickplant.feeds.kit import state_table as sc
from tickplant.feeds.kit.other_streams import gap_flags
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.rejections import UNKNOWN_ID, Pacer, Run, Runs
from tickplant.records.channels import ON_CHANNEL, OTHER_CHANNELS
from tickplant.records.layouts import UNKNOWN, Flag, GapCause

if TYPE_CHECKING:
    from tickplant.feeds.kit.listings import Listing
    from tickplant.feeds.kit.market_streams import Market

CHANNEL: Final = {sc.LAST_TRADE: "trade", sc.LAST_AGG: "agg_trade", sc.LAST_QUOTE: "quote"}
COLUMN: Final = {channel: column for column, channel in CHANNEL.items()}
ON_COLUMN: Final = {
    sc.LAST_TRADE: Flag.ON_TRADE,
    sc.LAST_AGG: Flag.ON_TRADE | Flag.AGGREGATE,
    sc.LAST_QUOTE: Flag.ON_QUOTE,
}
SEEN: Final = {sc.LAST_TRADE: sc.SEEN_TRADE, sc.LAST_AGG: sc.SEEN_TRADE, sc.LAST_QUOTE: sc.SEEN_QUOTE}
"""The column that says whether anything has come, for streams whose ids do not show it."""

CAUSE: Final = 2
"""The cause of the next gap is this many columns after LAST_TRADE, LAST_AGG, LAST_QUOTE."""


Owner = Callable[[bytes], tuple[str, str] | None]
"""The owner of an unreadable frame: symbol and channel; None if neither can be determined."""


class StreamRejects:
    """The rejects of a market. A rejected snapshot is not a loss, since another is requested, but may mean trouble."""

    def __init__(self, market: Market, owner: Owner) -> None:
        self._market = market
        self._owner = owner
        self._runs = Runs()
        self.unread = Pacer()

    # By stream.

    def add(
        self,
        rejected: RejectError,
        listing: Listing,
        channel: str,
        ts_recv: int,
        ident: int = UNKNOWN_ID,
        *,
        first: int = UNKNOWN_ID,
    ) -> None:
        """Add a rejected frame of this stream, with its id and, for a diff, its first id, where these can be read."""
        rejected.accounted = True
        listing.overflowed |= rejected.cause == "scale" and "63 bits" in rejected.detail
        key = listing.instrument.symbol, channel
        if not self._is_open(key):
            self._runs.end(key)
        run = self._runs.add(key, rejected.cause, rejected.detail, ident)
        begins = run.frames == 1
        market, instrument = self._market, listing.instrument
        next_id = 0 if ident == UNKNOWN_ID else ident + 1
        if channel == market.book_channel:
            # A snapshot may have made the book whole again without a good diff that would end the run.
            if begins or listing.book.whole:
                market.record(listing, listing.book.reject(first, ident, GapCause.REJECTED), 0, ts_recv)
        elif (column := COLUMN.get(channel)) is not None:
            row = market.listings.state[listing.slot]
            if ident != UNKNOWN_ID:
                # The kernel leaves the next record of a stream with a cause to the market, which ends the run.
                row[column] = ident - 1 if row[column] == sc.NONE else row[column]
                row[column + CAUSE] = row[column + CAUSE] or GapCause.REJECTED
            if begins and column in market.uncounted:
                row[SEEN[column]] = sc.OLD_NEWS if row[SEEN[column]] else 0
            if begins:
                run.mark = int(row[column])
                last_id, flags = max(int(row[column]), 0), ON_COLUMN[column]
                market.gap(instrument, GapCause.REJECTED, 0, ts_recv, last_id=last_id, next_id=next_id, flags=flags)
        elif begins and channel in ON_CHANNEL:
            flags = gap_flags(channel) if channel in OTHER_CHANNELS else ON_CHANNEL[channel]
            market.gap(instrument, GapCause.REJECTED, 0, ts_recv, flags=flags)

    @property
    def any_run(self) -> bool:
        """Whether messages of some stream are currently rejected."""
        return bool(self._runs.open)

    def end(self, listing: Listing, channel: str) -> Run | None:
        """End the run of rejects of a stream after a good message; returns that run, if any."""
        return self._runs.end((listing.instrument.symbol, channel)) if self._runs.open else None

    def seen(self, listing: Listing, channel: str, news: int) -> None:
        """Take in the news column of a stream, which is about to be cleared."""
        if news == sc.NEWS and COLUMN.get(channel) in self._market.uncounted:
            self.end(listing, channel)

    def rescaled(self, listing: Listing) -> None:
        """Note that the scales of an instrument have changed."""
        for key in self._runs.of(listing.instrument.symbol):
            self._runs.open[key].rescaled = True

    def close(self, listing: Listing) -> None:
        """Record exactly what was rejected last: no good message of these streams will follow."""
        market = self._market
        for key in self._runs.of(listing.instrument.symbol):
            is_open, channel = self._is_open(key), key[1]
            run = self._runs.end(key)
            if run is None or run.last_id == UNKNOWN_ID or not is_open:
                continue
            if channel == market.book_channel:
                last_id, missing, flags = listing.book.seen_id or 0, UNKNOWN, ON_CHANNEL[channel]
                if listing.book.counts_ids and last_id:
                    missing = run.last_id - last_id
            elif (column := COLUMN.get(channel)) is not None:
                last_id, flags = max(int(market.listings.state[listing.slot, column]), 0), ON_COLUMN[column]
                missing = run.frames if channel == "quote" else run.last_id - last_id
            else:
                continue
            if run.last_id > last_id:
                market.gap(
                    listing.instrument,
                    GapCause.REJECTED,
                    0,
                    market.ts_recv,
                    missing=missing,
                    last_id=last_id,
                    next_id=run.last_id + 1,
                    flags=flags,
                )

    def trouble(self) -> str:
        """A sentence if all messages of a stream are being rejected, else empty."""
        for key in [key for key in self._runs.open if not self._is_open(key)]:
            self._runs.end(key)
        return self._runs.trouble()

    def _is_open(self, key: tuple[str, str]) -> bool:
        # Without a readable id, only the kernel's own last id shows whether a good message has come since.
        run, listing = self._runs.open.get(key), self._market.listings.by_symbol.get(key[0])
        if run is None or listing is None:
            return False
        column, row = COLUMN.get(key[1]), self._market.listings.state[listing.slot]
        if column is None or run.last_id != UNKNOWN_ID:
            return True
        if column in self._market.uncounted:
            return bool(row[SEEN[column]] != sc.NEWS)
        return int(row[column]) == run.mark

    # Unreadable frames.

    def add_unread(self, rejected: RejectError, body: bytes, ts_recv: int) -> bool:
        """Add an unreadable frame, on the stream that it names, else on `*`. Returns whether it named one."""
        market, owner = self._market, self._owner(body)
        if owner is not None:
            symbol, channel = owner
            known = market.listings.by_symbol
            listing = known.get(symbol) or known.get(symbol.upper())
            if listing is not None:
                self.add(rejected, listing, channel, ts_recv)
                return True
        self._tell_unread(self.unread.add(ts_recv), ts_recv)
        return False

    def tell_unread(self, ts_ns: int) -> None:
        """Record rejected frames that belong to no stream, once that is due."""
        if self.unread.waiting:
            self._tell_unread(self.unread.due(ts_ns), ts_ns)

    def release_unread(self) -> None:
        """Record all rejected frames that belong to no stream."""
        self._tell_unread(self.unread.rest(), self._market.ts_recv)

    def _tell_unread(self, frames: int, ts_recv: int) -> None:
        if frames:
            market = self._market
            market.gap(None, GapCause.REJECTED, 0, ts_recv, missing=frames if frames > 1 else UNKNOWN)


def unrecorded(first: int, last: int, rejected: Run | None) -> list[tuple[int, int]]:
    """Ranges of missing ids to ask the venue for, without rejected ids unless the scales have changed since."""
    if rejected is None or rejected.unread or rejected.rescaled:
        return [(first, last)]
    ranges = [(first, rejected.first_id - 1), (rejected.last_id + 1, last)]
    return [(low, high) for low, high in ranges if low <= high]
