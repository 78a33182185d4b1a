"""What happens to the instruments of a feed: events become ticks, ids are checked for holes and repeats.

This module knows nothing of messages, connections and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tickplant.feeds.contract import FeedContext
from tickplant.feeds.kit import state_table as sc
from tickplant.feeds.kit.book_tracker import BookTracker, Gap, Output
from tickplant.feeds.kit.emitter import Emitter
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.listings import Listing, Listings
from tickplant.feeds.kit.numbers import price, size
from tickplant.feeds.kit.other_streams import OtherStreams
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.stream_rejects import CAUSE, CHANNEL, COLUMN, ON_COLUMN, Owner, StreamRejects, unrecorded
from tickplant.feeds.kit.subscriptions import Stream
from tickplant.feeds.kit.trade_backfill import IdRange
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.rejections import UNKNOWN_ID
from tickplant.instruments import Instrument
from tickplant.records.batch import INSTRUMENT_MASK, PACKED, TS_EVENT, VENUE_SEQ, Rows
from tickplant.records.channels import ALL_STREAMS, ON_CHANNEL, OTHER_CHANNELS
from tickplant.records.layouts import NO_PRICE, UNKNOWN, Flag, GapCause, Kind, Side, StatusCode, TradeFlag

_RESTATES: Final = TradeFlag.CORRECTION | TradeFlag.CANCELLED

_AGGREGATE: Final = int(Flag.AGGREGATE)
_LAST: Final = int(Flag.LAST)
"""As integers: arithmetic on flag members costs a microsecond."""


class Market:
    """All instruments of a feed."""

    def __init__(
        self,
        context: FeedContext,
        shapes: Shapes,
        new_book: Callable[[Instrument], BookTracker],
        owner: Owner,
        *,
        quotes_count: bool = True,
        trades_count: bool = True,
        trades_unique: bool = False,
    ) -> None:
        """No market data so far.

        Args:
            context: of the feed.
            shapes: of the venue's messages.
            new_book: makes the tracker of an instrument's book.
            owner: says which stream an unreadable frame belongs to.
            quotes_count: quotes have ids that grow.
            trades_count: trades have ids without holes. Without such ids nothing shows what is missing: every trade is
                recorded, and an interruption is a GAP when the stream continues.
            trades_unique: ids with holes still identify a trade, together with its time: a repeat of one of the last
                few (state_table.RECENT_PAIRS) is dropped. Shapes declare this with Fresh.
        """
        self.emit = Emitter(context.resolve)
        self.batch = self.emit.batch
        self.status, self.gap = self.emit.status, self.emit.gap
        self.book_channel = "orders" if "orders" in context.channels else "book"  # the channel that its books follow
        self.listings = Listings(context, shapes, new_book)
        self.rejects = StreamRejects(self, owner)
        self.others = OtherStreams(self.emit, self.rejects.end)
        self.snapshots_wanted: list[tuple[str, int]] = []  # symbols, and since when; the adapter requests them
        self.holes: list[tuple[IdRange, int]] = []  # trades that can be fetched, and when the hole was seen; likewise
        self.resyncs = 0
        self.duplicates = 0
        uncounted = ([] if quotes_count else [sc.LAST_QUOTE]) + ([] if trades_count else [sc.LAST_TRADE, sc.LAST_AGG])
        self._trades_unique = trades_unique
        self.uncounted = frozenset(uncounted)  # columns of the streams whose ids do not show what is missing

    @property
    def streams(self) -> int:
        """Flags of every stream that an instrument may have here: its book is by level or of orders, not both."""
        return ALL_STREAMS & ~(Flag.ON_BOOK if self.book_channel == "orders" else Flag.ON_ORDERS)

    @property
    def ts_recv(self) -> int:
        """Receive time of the frame being read, ns."""
        return self.emit.ts_recv

    @ts_recv.setter
    def ts_recv(self, ts_recv: int) -> None:
        self.emit.ts_recv = ts_recv

    def use_shapes(self, shapes: Shapes) -> None:
        """Read frames by these shapes from now on: this venue announces the form of its messages at run time."""
        self.listings.reader.use_shapes(shapes)

    # Instruments.

    def rescale(self, listing: Listing, ts_ns: int) -> bool:
        """Apply the scales that the venue now states, if they need another id; returns whether that was so.

        An id stays valid while every value that the venue states fits. Scales never shrink, since values with fewer
        decimals fit exactly; the exception is values that have become too large. The streams of the old id continue
        under the new one; the book of the old id ends stale, and the new book begins with a snapshot.
        """
        old, listings = listing.instrument, self.listings
        scales = listings.stated_scales.get(old.symbol, (None, None))
        if (old.covers(*scales) and not listing.overflowed) or None in scales:
            return False
        new = listings.resolve(old.symbol, exact=listing.overflowed)
        listing.overflowed = False
        if new.id == old.id:
            return False
        self._write(listing, listing.book.hand_over(), 0, ts_ns)
        self.status(StatusCode.DISCONNECTED, ts_ns, old, flags=self.streams)
        self.status(StatusCode.INSTRUMENT_CHANGED, ts_ns, old, flags=ALL_STREAMS, order_id=new.id)
        listing.instrument = new
        listings.show(listing)
        self.status(StatusCode.INSTRUMENT_CHANGED, ts_ns, new, flags=ALL_STREAMS, order_id=old.id)
        self.rejects.rescaled(listing)
        self.holes += [(IdRange(old.symbol, channel, first, last), ts_ns) for channel, first, last in listing.unfit]
        listing.unfit.clear()
        self.record(listing, (), 0, ts_ns)
        return True

    # Events of the reference decoder, with numbers as text.

    def on_trade(self, listing: Listing, trade: VenueTrade, ts_recv: int, *, on_book: bool = True) -> bool:
        """Record one TRADE, unless it was made off the book; returns whether its id is new. Raises RejectError."""
        instrument = listing.instrument
        column = sc.LAST_AGG if trade.flags & _AGGREGATE else sc.LAST_TRADE
        counted = column not in self.uncounted
        if counted and self._is_duplicate(listing, column, trade.id, trade.ts_event):
            return False
        if not counted and self._is_repeat(listing, trade):
            return False
        mantissas = 0, 0
        try:
            if on_book:
                mantissas = price(trade.price, instrument.price_scale), size(trade.size, instrument.size_scale)
        except RejectError as rejected:
            self.rejects.add(rejected, listing, CHANNEL[column], ts_recv, trade.id if counted else UNKNOWN_ID)
            raise
        if counted:
            self._continue(listing, column, trade.id, trade.ts_event, ts_recv)
        else:
            self.rejects.end(listing, CHANNEL[column])
            self._remember(listing, trade)
        if on_book:
            self._add_trade(listing, trade, *mantissas, ts_recv, _LAST)
        return True

    def on_trade_rows(self, rows: Rows, ts_recv: int) -> None:
        """Record TRADE rows that a shape has read, by rising id, as `on_trade` does for each."""
        if not len(rows):
            return
        column, ids = sc.LAST_TRADE, rows[:, VENUE_SEQ].tolist()
        listings = [self.listings.by_id[word & INSTRUMENT_MASK] for word in rows[:, PACKED].tolist()]
        state = self.listings.state[listings[0].slot]
        last, _, cause = state[column : column + 3].tolist()
        if not cause and ids == [*range(last + 1, last + 1 + len(ids))] and listings.count(listings[0]) == len(ids):
            # The usual case: no hole, no repeat, one instrument.
            state[column : column + 2] = ids[-1], rows[-1, TS_EVENT]
            self.batch.extend(rows, Kind.TRADE)
            return
        rows = rows.copy()  # a GAP may overwrite the place where they lie
        for number, (listing, ident, time) in enumerate(zip(listings, ids, rows[:, TS_EVENT].tolist(), strict=True)):
            if not self._is_duplicate(listing, column, ident, time):
                self._continue(listing, column, ident, time, ts_recv)
                self.batch.extend(rows[number : number + 1], Kind.TRADE)

    def on_past_trade(self, trade: VenueTrade, ts_recv: int) -> None:
        """Record one TRADE with flag BACKFILL; the last ids stay as they are. Raises RejectError."""
        listing = self.listings.by_symbol[trade.symbol]
        instrument = listing.instrument
        mantissas = price(trade.price, instrument.price_scale), size(trade.size, instrument.size_scale)
        self._add_trade(listing, trade, *mantissas, ts_recv, Flag.LAST | Flag.BACKFILL)

    def _add_trade(
        self, listing: Listing, trade: VenueTrade, mantissa: int, amount: int, ts_recv: int, flags: int
    ) -> None:
        self.batch.add(
            Kind.TRADE,
            listing.instrument.id,
            ts_event=trade.ts_event,
            ts_recv=ts_recv,
            price=mantissa,
            size=amount,
            venue_seq=trade.id,
            order_id=trade.order_id,
            side=trade.side,
            flags=flags | trade.flags,
        )

    def on_quote(
        self, listing: Listing, ident: int, bid: tuple[str, str], ask: tuple[str, str], ts_event: int, ts_recv: int
    ) -> None:
        """Record two QUOTEs of (price, size). An empty side, sent as zeros, gets NO_PRICE. Raises RejectError."""
        instrument = listing.instrument
        counted = sc.LAST_QUOTE not in self.uncounted
        if counted and self._is_duplicate(listing, sc.LAST_QUOTE, ident, ts_event):
            return
        sides = []
        try:
            for side, price_text, size_text in ((Side.BID, *bid), (Side.ASK, *ask)):
                mantissa = price(price_text, instrument.price_scale)
                amount = size(size_text, instrument.size_scale)
                sides.append((side, NO_PRICE if mantissa == 0 and amount == 0 else mantissa, amount))
        except RejectError as rejected:
            self.rejects.add(rejected, listing, "quote", ts_recv, ident if counted else UNKNOWN_ID)
            raise
        if counted:
            self._continue(listing, sc.LAST_QUOTE, ident, ts_event, ts_recv)
        else:
            self.rejects.end(listing, "quote")
        self.listings.state[listing.slot, sc.SEEN_QUOTE] = 1
        for side, mantissa, amount in sides:
            self.batch.add(
                Kind.QUOTE,
                instrument.id,
                ts_event=ts_event,
                ts_recv=ts_recv,
                price=mantissa,
                size=amount,
                venue_seq=ident,
                side=side,
                flags=_LAST if side == Side.ASK else 0,
            )

    # Books.

    def record(self, listing: Listing, outputs: Sequence[Output], ts_event: int, ts_recv: int) -> None:
        """Record the outputs of a book, and request a snapshot if the book wants one."""
        self._write(listing, outputs, ts_event, ts_recv)
        if listing.book.wants_snapshot:
            self.want_snapshot(listing, ts_recv)

    def _write(self, listing: Listing, outputs: Sequence[Output], ts_event: int, ts_recv: int) -> None:
        for output in outputs:
            if isinstance(output, Gap):
                self.gap(
                    listing.instrument,
                    output.cause or GapCause.SEQUENCE,
                    ts_event,
                    ts_recv,
                    missing=output.missing,
                    last_id=output.last_id,
                    next_id=output.next_id,
                    flags=ON_CHANNEL[self.book_channel],
                )
            else:
                self.batch.extend(output.content)

    def want_snapshot(self, listing: Listing, ts_ns: int) -> None:
        """Have the adapter fetch the book."""
        listing.book.wants_snapshot = False
        self.snapshots_wanted.append((listing.instrument.symbol, ts_ns))
        if listing.snapshots_asked:
            self.resyncs += 1
            self.status(StatusCode.RESYNC, ts_ns, listing.instrument, flags=ON_CHANNEL[self.book_channel])
        listing.snapshots_asked += 1

    def release(self, listing: Listing) -> None:
        """Record the changes that were held back and the last rejects: nothing more will come."""
        self.record(listing, listing.book.release(), 0, self.ts_recv)
        self.rejects.close(listing)

    # Consecutive ids.

    def last_trade(self, stream: Stream) -> int | None:
        """Id of the newest trade or aggregate that a stream has brought; None before the first."""
        listing = self.listings.by_symbol.get(stream.symbol)
        if listing is None:
            return None
        last = int(self.listings.state[listing.slot, COLUMN[stream.channel]])
        return None if last == sc.NONE else last

    def _is_duplicate(self, listing: Listing, column: int, ident: int, ts_event: int) -> bool:
        state = self.listings.state
        last, last_ns, cause = state[listing.slot, column : column + 3].tolist()
        if last == sc.NONE or ident > last:
            return False
        if column == sc.LAST_QUOTE:
            # Spot quotes have no time. After an interruption, an older id is taken for a restarted count.
            reset = ident < last and cause in (GapCause.DISCONNECT, GapCause.RESTART)
        else:
            reset = ts_event > last_ns + sc.ID_RESET_NS
        if not reset:
            self.duplicates += 1
            state[listing.slot, sc.SEEN_QUOTE] |= column == sc.LAST_QUOTE
        return not reset

    def _is_repeat(self, listing: Listing, trade: VenueTrade) -> bool:
        # Whether this repeats one of the last trades, where ids have holes. A correction has the id that it restates.
        if not (self._trades_unique and trade.id) or trade.flags & _RESTATES:
            return False
        row, at = self.listings.state[listing.slot], sc.RECENT + 2 * (trade.id % sc.RECENT_PAIRS)
        repeats: bool = row[at : at + 2].tolist() == [trade.id, trade.ts_event]
        self.duplicates += repeats
        row[sc.SEEN_TRADE] |= repeats
        return repeats

    def _remember(self, listing: Listing, trade: VenueTrade) -> None:
        row, at = self.listings.state[listing.slot], sc.RECENT + 2 * (trade.id % sc.RECENT_PAIRS)
        row[sc.SEEN_TRADE] = 1
        if self._trades_unique and trade.id:
            row[at : at + 2] = trade.id, trade.ts_event

    def _continue(self, listing: Listing, column: int, ident: int, ts_event: int, ts_recv: int) -> None:
        # Advance a stream to its next id, with a GAP first if something is missing before it.
        row = self.listings.state[listing.slot]
        last, _, cause = row[column : column + 3].tolist()
        if not cause and (ident == last + 1 or column == sc.LAST_QUOTE) and not self.rejects.any_run:
            row[column] = ident
            row[column + 1] = ts_event
            return
        symbol, channel = listing.instrument.symbol, CHANNEL[column]
        run = self.rejects.end(listing, channel)
        counted = column != sc.LAST_QUOTE and ident > last
        missing = ident - last - 1 if counted else UNKNOWN
        if run is not None and column == sc.LAST_QUOTE:
            missing = run.frames
        if cause == GapCause.REJECTED and run is not None and run.first_id == UNKNOWN_ID and counted:
            cause = GapCause.SEQUENCE  # the rejected frame had no readable id, so it may not be the missing one
        if run is not None and run.cause == "scale" and not (run.unread or run.rescaled) and channel != "quote":
            listing.unfit.append((channel, run.first_id, run.last_id))
        if counted and missing > 0 and last != sc.NONE:
            for first, end in unrecorded(last + 1, ident - 1, run if cause == GapCause.REJECTED else None):
                self.holes.append((IdRange(symbol, channel, first, end), ts_recv))
        if last != sc.NONE and missing != 0 and (cause or column != sc.LAST_QUOTE):
            self.gap(
                listing.instrument,
                GapCause(cause or GapCause.SEQUENCE),
                ts_event,
                ts_recv,
                missing=missing,
                last_id=last,
                next_id=ident,
                flags=ON_COLUMN[column],
            )
        row[column : column + 3] = (ident, ts_event, 0)

    # Interruptions.

    def resume(self, last: Mapping[str, LastIds]) -> None:
        """Continue after an earlier process, which recorded up to these ids, by symbol."""
        self.listings.resume(last)

    def go_on(self, listing: Listing, channel: str, ts_ns: int) -> None:
        """Prepare a channel that is about to resume: its GAP comes now, unless ids will show the interruption."""
        if channel in OTHER_CHANNELS:
            self.others.go_on(listing, channel, ts_ns)
        elif (column := COLUMN.get(channel)) in self.uncounted:
            row = self.listings.state[listing.slot]
            if cause := int(row[column + CAUSE]):
                self.gap(listing.instrument, GapCause(cause), 0, ts_ns, flags=ON_COLUMN[column])
                row[column + CAUSE] = 0

    def doubt(self, listing: Listing, channel: str) -> None:
        """Note that a stream was silent for too long. Ids of trades and books show a loss; those of quotes do not."""
        row = self.listings.state[listing.slot]
        if channel == "quote" and row[sc.LAST_QUOTE] != sc.NONE and not row[sc.CAUSE_QUOTE]:
            row[sc.CAUSE_QUOTE] = GapCause.SEQUENCE

    def interrupt(self, listing: Listing, channel: str, ts_ns: int) -> None:
        """Note that a channel of an instrument was cut off.

        A GAP precedes its next record or snapshot. What was held back is recorded now.
        """
        if channel in OTHER_CHANNELS:
            self.others.interrupt(listing, channel)
        elif channel in COLUMN:
            column = COLUMN[channel]
            if column in self.uncounted or self.listings.state[listing.slot, column] != sc.NONE:
                self.listings.state[listing.slot, column + CAUSE] = GapCause.DISCONNECT
        elif channel == self.book_channel:
            self.record(listing, listing.book.give_up(GapCause.DISCONNECT), 0, ts_ns)
