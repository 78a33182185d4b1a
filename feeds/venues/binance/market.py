"""The instruments of a feed, and what happens to them: messages become ticks, ids are checked for holes and repeats.

Knows nothing of connections and requests.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from tickplant.feeds.contract import Resolver
from tickplant.feeds.kit import state_table as sc
from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.rejections import UNKNOWN_ID
from tickplant.feeds.venues.binance import messages, shapes
from tickplant.feeds.venues.binance.backfill import Hole
from tickplant.feeds.venues.binance.book_sync import BookSync, Diff, Gap, Output, Snapshot
from tickplant.feeds.venues.binance.levels import book_rows, diff_rows
from tickplant.feeds.venues.binance.messages import RejectError, price, size, to_ns
from tickplant.feeds.venues.binance.stream_rejects import CAUSE, CHANNEL, COLUMN, ON_COLUMN, StreamRejects, unrecorded
from tickplant.feeds.venues.binance.subscriptions import Stream
from tickplant.feeds.venues.binance.unnamed import UnnamedSnapshots
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.batch import TS_EVENT, TS_RECV, Rows, TickBatch
from tickplant.records.layouts import NO_PRICE, UNKNOWN, Flag, GapCause, Kind, Side, StatusCode

_SYMBOL: Final = re.compile(r"[^\s\x00-\x1f*]{1,64}\Z")
ALL_STREAMS: Final = Flag.ON_TRADE | Flag.ON_QUOTE | Flag.ON_BOOK

KEPT_RANGES: Final = 256
"""Ranges of trades of an instrument that did not fit its scales: new scales may let them in."""

DISCOVERED: Final = 16
"""Instruments to share the room for held diffs, where nobody said how many there will be."""

LEAST_HELD: Final = 4096
"""Records held back for one book at the least, however many books share."""


_SPOT: Final = Shapes(shapes.SPOT)
_USDM: Final = Shapes(shapes.USDM)

NAMES: Final = 64
"""Names of the venue's that are counted apart; more of them are one, so that a counter cannot grow without bound."""


def count_name(counts: dict[str, int], name: str) -> None:
    """Count a name that the venue chose."""
    name = name[:64] if name in counts or len(counts) < NAMES else "other"
    counts[name] = counts.get(name, 0) + 1


class Listing:
    """One instrument in this feed: its row in the state table and its book."""

    def __init__(self, instrument: Instrument, slot: int, sync: BookSync) -> None:
        self.instrument = instrument
        self.slot = slot
        self.sync = sync
        self.snapshots_asked = 0
        self.overflowed = False  # a value did not fit 63 bits at these scales
        self.unfit: deque[tuple[str, int, int]] = deque(maxlen=KEPT_RANGES)  # channel, first and last id of such trades


class Market:
    """All instruments of a feed."""

    def __init__(self, symbols: Sequence[str] | None, resolve: Resolver, *, futures: bool, held_records: int) -> None:
        self.batch = TickBatch()
        self.listings: dict[str, Listing] = {}
        self.stated_scales: dict[str, tuple[int | None, int | None]] = {}  # (price, size) in the instrument data
        self.snapshots_wanted: list[tuple[str, int]] = []  # symbols and since when; the adapter asks for them
        self.holes: list[tuple[Hole, int]] = []  # trades that can be fetched, and when that was seen; likewise
        self.gaps = 0
        self.resyncs = 0
        self.duplicates = 0
        self.off_book: dict[str, int] = {}  # trades left out, by where they were made
        self.unnamed: UnnamedSnapshots | None = None  # told of diffs; the adapter sets it
        self.overlapping = False  # two sockets bear the same streams at the moment
        self.rejects = StreamRejects(self)
        self.ts_recv = 0  # of what is being read
        self.last: dict[str, LastIds] = {}  # ids after which a symbol goes on that has not occurred yet
        self.state = np.zeros((8, sc.STATE_COLUMNS), np.int64)
        self._table = SymbolTable()
        self.reader = ShapeReader(_USDM if futures else _SPOT, self._table, self.state)
        self._symbols = None if symbols is None else frozenset(symbols)
        self._resolve = resolve
        self._futures = futures
        # A book that never gets its snapshot must not take the room of the others.
        self._held_limit = max(held_records // (len(symbols) if symbols else DISCOVERED), LEAST_HELD)
        self._by_slot: list[Listing] = []
        self._feed: Instrument | None = None
        self._before: Mapping[str, tuple[int, LastIds]] = {}  # see go_on

    # Instruments.

    def add(self, symbol: str) -> Listing:
        """Register an instrument, with the scales that the venue has stated."""
        instrument = self._resolve(symbol, *self.stated_scales.get(symbol, (None, None)))
        listing = Listing(instrument, len(self._by_slot), BookSync(futures=self._futures, held_limit=self._held_limit))
        if listing.slot == len(self.state):
            self.state = np.concatenate([self.state, np.zeros_like(self.state)])
            self.reader.use_state(self.state)
        self._show(listing)
        self.state[listing.slot, [sc.LAST_TRADE, sc.LAST_AGG, sc.LAST_QUOTE]] = sc.NONE
        self.listings[symbol] = listing
        self._by_slot.append(listing)
        self._table.add(symbol, listing.slot)
        self._resume(listing)
        if symbol in self._before:
            self._go_on(listing, *self._before[symbol])
        return listing

    def _show(self, listing: Listing) -> None:
        # To the kernel.
        instrument = listing.instrument
        self.state[listing.slot, [sc.INSTRUMENT, sc.PRICE_SCALE, sc.SIZE_SCALE]] = (
            instrument.id,
            instrument.price_scale,
            instrument.size_scale,
        )

    def rescale(self, listing: Listing, ts_ns: int) -> bool:
        """Take the scales that the venue states now, where they need another id; returns whether they did.

        An id holds as long as every value that the venue states fits: scales never shrink, since what has fewer
        decimals fits exactly, unless values have become too large for them. The new id goes on with the streams of
        the old one; the book of the old id ends stale, the new one begins with a snapshot.
        """
        old = listing.instrument
        scales = self.stated_scales.get(old.symbol, (None, None))
        if (old.covers(*scales) and not listing.overflowed) or None in scales:
            return False
        new = (
            self._resolve(old.symbol, *scales, exact=True) if listing.overflowed else self._resolve(old.symbol, *scales)
        )
        listing.overflowed = False
        if new.id == old.id:
            return False
        self.record(listing, listing.sync.hand_over(), 0, ts_ns)
        self.status(StatusCode.DISCONNECTED, ts_ns, old, flags=ALL_STREAMS)
        self.status(StatusCode.INSTRUMENT_CHANGED, ts_ns, old, flags=ALL_STREAMS, order_id=new.id)
        listing.instrument = new
        self._show(listing)
        self.status(StatusCode.INSTRUMENT_CHANGED, ts_ns, new, flags=ALL_STREAMS, order_id=old.id)
        self.rejects.rescaled(listing)
        self.holes += [(Hole(old.symbol, channel, first, last), ts_ns) for channel, first, last in listing.unfit]
        listing.unfit.clear()
        return True

    def listing(self, symbol: str) -> Listing | None:
        """The instrument of a symbol, registered if new; None where not recorded here. Raises RejectError."""
        listing = self.listings.get(symbol)
        if listing is None and (self._symbols is None or symbol in self._symbols):
            if _SYMBOL.match(symbol) is None:
                raise RejectError("value", f"{symbol[:100]!r} is not a symbol")
            listing = self.add(symbol)
        return listing

    def listing_of_stream(self, stream_symbol: str) -> Listing | None:
        """As `listing`, where the symbol's only name is the stream's, in lower case."""
        symbols = (symbol for symbol in self._symbols or self.listings if symbol.lower() == stream_symbol.lower())
        return self.listing(next(symbols, stream_symbol.upper()))

    # Feed-wide records and gaps.

    def status(
        self,
        code: StatusCode,
        ts_recv: int,
        instrument: Instrument | None = None,
        *,
        ts_event: int = 0,
        flags: int = 0,
        order_id: int = 0,
    ) -> None:
        """Record a STATUS, on the feed's pseudo instrument where no other is given."""
        ident = (instrument or self.feed_instrument()).id
        self.batch.add(
            Kind.STATUS,
            ident,
            ts_event=ts_event,
            ts_recv=ts_recv,
            price=code,
            order_id=order_id,
            flags=flags | Flag.LAST,
        )

    def gap(
        self,
        instrument: Instrument,
        cause: GapCause,
        ts_event: int,
        ts_recv: int,
        *,
        missing: int = UNKNOWN,
        last_id: int = 0,
        next_id: int = 0,
        flags: int = 0,
    ) -> None:
        """Record a GAP."""
        self.gaps += 1
        self.batch.add(
            Kind.GAP,
            instrument.id,
            ts_event=ts_event,
            ts_recv=ts_recv,
            price=cause,
            size=missing,
            order_id=max(last_id, 0),
            venue_seq=min(next_id, messages.MAX_ID),
            flags=flags | Flag.LAST,
        )

    def feed_instrument(self) -> Instrument:
        """The pseudo instrument for feed-wide records, registered when it is first needed."""
        if self._feed is None:
            self._feed = self._resolve(FEED_SYMBOL, 0, 0)
        return self._feed

    # The fast path.

    def scan(self, frames: Sequence[bytes], ts_recv: int, refer: Callable[[bytes, int], None]) -> None:
        """Record frames by their shapes, in order; each that fits none goes to `refer`."""
        self.reader.read(frames, ts_recv, self.batch, refer, self._on_scanned_diff)

    def _on_scanned_diff(self, _: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        first, last, previous, ts_event = values
        self._on_diff_rows(self._by_slot[slot], first, last, previous, rows, ts_event, ts_recv)

    @property
    def fallbacks(self) -> int:
        """Frames left to the reference decoder."""
        return sum(self.reader.fallbacks.values())

    # Messages of the reference decoder. Each returns False where this feed does not record the symbol.

    def on_trade(self, trade: messages.Trade, ts_recv: int) -> bool:
        """One TRADE, unless it was not made on the book. Raises RejectError."""
        listing = self.listing(trade.symbol)
        if listing is None:
            return False
        on_book = trade.origin == messages.MARKET
        new = self._on_trade(listing, sc.LAST_TRADE, trade, ts_recv, order_id=0, flags=Flag.LAST, on_book=on_book)
        if new and not on_book:
            count_name(self.off_book, trade.origin)
        return True

    def on_agg_trade(self, trade: messages.AggTrade, ts_recv: int) -> bool:
        """One TRADE with flag AGGREGATE. Raises RejectError."""
        listing = self.listing(trade.symbol)
        if listing is None:
            return False
        flags = Flag.LAST | Flag.AGGREGATE
        self._on_trade(listing, sc.LAST_AGG, trade, ts_recv, order_id=trade.first_trade, flags=flags, on_book=True)
        return True

    def _on_trade(
        self,
        listing: Listing,
        column: int,
        trade: messages.Trade | messages.AggTrade,
        ts_recv: int,
        *,
        order_id: int,
        flags: int,
        on_book: bool,
    ) -> bool:
        # Whether its id is new.
        instrument = listing.instrument
        mantissas = 0, 0
        try:
            ts_event = to_ns(trade.time)
            if self._is_duplicate(listing, column, trade.id, ts_event):
                return False
            if on_book:
                mantissas = price(trade.price, instrument.price_scale), size(trade.size, instrument.size_scale)
        except RejectError as rejected:
            self.rejects.add(rejected, listing, CHANNEL[column], ts_recv, trade.id)
            raise
        self._continue(listing, column, trade.id, ts_event, ts_recv)
        if on_book:
            self.batch.add(
                Kind.TRADE,
                instrument.id,
                ts_event=ts_event,
                ts_recv=ts_recv,
                price=mantissas[0],
                size=mantissas[1],
                venue_seq=trade.id,
                order_id=order_id,
                side=Side.SELL if trade.buyer_is_maker else Side.BUY,
                flags=flags,
            )
        return True

    def on_past_trade(self, trade: messages.Trade | messages.AggTrade, ts_recv: int) -> None:
        """One TRADE with flag BACKFILL; the ids in line are left as they are. Raises RejectError."""
        listing = self.listings[trade.symbol]
        instrument = listing.instrument
        aggregate = isinstance(trade, messages.AggTrade)
        self.batch.add(
            Kind.TRADE,
            instrument.id,
            ts_event=to_ns(trade.time),
            ts_recv=ts_recv,
            price=price(trade.price, instrument.price_scale),
            size=size(trade.size, instrument.size_scale),
            venue_seq=trade.id,
            order_id=trade.first_trade if isinstance(trade, messages.AggTrade) else 0,
            side=Side.SELL if trade.buyer_is_maker else Side.BUY,
            flags=Flag.LAST | Flag.BACKFILL | (Flag.AGGREGATE if aggregate else 0),
        )

    def on_quote(self, quote: messages.BookTicker, ts_recv: int) -> bool:
        """Two QUOTE records. An empty side, which the venue sends as zeros, has NO_PRICE. Raises RejectError."""
        listing = self.listing(quote.symbol)
        if listing is None:
            return False
        instrument = listing.instrument
        try:
            ts_event = to_ns(quote.time)
            if self._is_duplicate(listing, sc.LAST_QUOTE, quote.id, ts_event):
                return True
            sides = []
            for side, price_text, size_text in (
                (Side.BID, quote.bid_price, quote.bid_size),
                (Side.ASK, quote.ask_price, quote.ask_size),
            ):
                mantissa = price(price_text, instrument.price_scale)
                amount = size(size_text, instrument.size_scale)
                sides.append((side, NO_PRICE if mantissa == 0 and amount == 0 else mantissa, amount))
        except RejectError as rejected:
            self.rejects.add(rejected, listing, "quote", ts_recv, quote.id)
            raise
        self._continue(listing, sc.LAST_QUOTE, quote.id, ts_event, ts_recv)
        self.state[listing.slot, sc.SEEN_QUOTE] = 1
        for side, mantissa, amount in sides:
            self.batch.add(
                Kind.QUOTE,
                instrument.id,
                ts_event=ts_event,
                ts_recv=ts_recv,
                price=mantissa,
                size=amount,
                venue_seq=quote.id,
                side=side,
                flags=Flag.LAST if side == Side.ASK else 0,
            )
        return True

    def on_diff(self, diff: messages.Diff, ts_recv: int) -> bool:
        """The LEVELs of a diff, now or when its snapshot has come. Raises RejectError."""
        listing = self.listing(diff.symbol)
        if listing is None:
            return False
        try:
            ts_event = to_ns(diff.time)
            rows = diff_rows(listing.instrument, diff.bids, diff.asks, ts_event, ts_recv, diff.last)
        except RejectError as rejected:
            self.rejects.add(rejected, listing, "book", ts_recv, diff.last, first=diff.first)
            raise
        previous = sc.NONE if diff.previous is None else diff.previous
        self._on_diff_rows(listing, diff.first, diff.last, previous, rows, ts_event, ts_recv)
        return True

    def on_partial(self, book: messages.PartialDepth, ts_recv: int) -> bool:
        """CLEAR and LEVELs that do not touch the book. Raises RejectError."""
        listing = self.listing_of_stream(book.stream_symbol)
        if listing is None:
            return False
        flags = Flag.SNAPSHOT | Flag.PARTIAL
        try:
            rows = book_rows(listing.instrument, book.bids, book.asks, to_ns(book.time), ts_recv, book.id, flags)
        except RejectError as rejected:
            self.rejects.add(rejected, listing, "partial", ts_recv, book.id)
            raise
        self.rejects.end(listing, "partial")
        self.batch.extend(rows)
        return True

    def on_snapshot(self, listing: Listing, ident: int, rows: Rows) -> bool:
        """A REST snapshot: recorded where it fits the diffs held back; False where the book needs none."""
        self.rejects.end(listing, "snapshot")
        if listing.sync.live:
            return False
        outputs = listing.sync.on_snapshot(Snapshot(ident, rows))
        self.record(listing, outputs, int(rows[0, TS_EVENT]), int(rows[0, TS_RECV]))
        return True

    def _on_diff_rows(
        self, listing: Listing, first: int, last: int, previous: int, rows: Rows, ts_event: int, ts_recv: int
    ) -> None:
        self.state[listing.slot, sc.SEEN_BOOK] = 1
        sync = listing.sync
        self.rejects.end(listing, "book")
        if sync.advance(first, last, previous, overlapping=self.overlapping):
            self.batch.extend(rows, Kind.LEVEL)
        else:
            outputs = sync.on_diff(
                Diff(first, last, previous, rows.copy(), max(len(rows), 1)), overlapping=self.overlapping
            )
            self.record(listing, outputs, ts_event, ts_recv)
        if self.unnamed is not None and self.unnamed.pending:
            self.unnamed.settle(ts_recv)

    def record(self, listing: Listing, outputs: Sequence[Output], ts_event: int, ts_recv: int) -> None:
        """What a book has to record."""
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
                    flags=Flag.ON_BOOK,
                )
            else:
                self.batch.extend(output.content)
        if listing.sync.wants_snapshot:
            self._want_snapshot(listing, ts_recv)

    def on_rejected_snapshot(self, listing: Listing, rejected: RejectError, ts_recv: int) -> None:
        """A snapshot could not be recorded; where it is needed, another one is asked for."""
        rejected.accounted = True
        if not listing.sync.live:
            self.rejects.add(rejected, listing, "snapshot", ts_recv)
        self.retry_snapshot(listing, ts_recv)

    def retry_snapshot(self, listing: Listing, ts_ns: int) -> None:
        """A snapshot could not be had: ask for another one, if there are still changes waiting for it."""
        if listing.sync.waiting:
            self._want_snapshot(listing, ts_ns)

    def release(self, listing: Listing) -> None:
        """Record the changes that were held back, and what was rejected last: nothing will come any more."""
        self.record(listing, listing.sync.release(), 0, self.ts_recv)
        self.rejects.close(listing)

    def _want_snapshot(self, listing: Listing, ts_ns: int) -> None:
        listing.sync.wants_snapshot = False
        self.snapshots_wanted.append((listing.instrument.symbol, ts_ns))
        if listing.snapshots_asked:
            self.resyncs += 1
            self.status(StatusCode.RESYNC, ts_ns, listing.instrument, flags=Flag.ON_BOOK)
        listing.snapshots_asked += 1

    # Ids in line.

    def last_trade(self, stream: Stream) -> int | None:
        """Id of the newest trade, or aggregate, that a stream has brought; None where there was none yet."""
        listing = self.listings.get(stream.symbol)
        if listing is None:
            return None
        last = int(self.state[listing.slot, sc.LAST_TRADE if stream.channel == "trade" else sc.LAST_AGG])
        return None if last == sc.NONE else last

    def _is_duplicate(self, listing: Listing, column: int, ident: int, ts_event: int) -> bool:
        last, last_ns, cause = self.state[listing.slot, column : column + 3].tolist()
        if last == sc.NONE or ident > last:
            return False
        if column == sc.LAST_QUOTE:
            # Quotes of spot have no time. After an interruption an older id is taken for a new count.
            reset = ident < last and cause in (GapCause.DISCONNECT, GapCause.RESTART)
        else:
            reset = ts_event > last_ns + sc.ID_RESET_NS
        if not reset:
            self.duplicates += 1
            self.state[listing.slot, sc.SEEN_QUOTE] |= column == sc.LAST_QUOTE
        return not reset

    def _continue(self, listing: Listing, column: int, ident: int, ts_event: int, ts_recv: int) -> None:
        # The next id of a stream: a GAP first where something is missing before it.
        row = self.state[listing.slot]
        last, _, cause = row[column : column + 3].tolist()
        symbol, channel = listing.instrument.symbol, CHANNEL[column]
        run = self.rejects.end(listing, channel)
        counted = column != sc.LAST_QUOTE and ident > last
        missing = ident - last - 1 if counted else UNKNOWN
        if run is not None and column == sc.LAST_QUOTE:
            missing = run.frames
        if cause == GapCause.REJECTED and run is not None and run.first_id == UNKNOWN_ID and counted:
            cause = GapCause.SEQUENCE  # whether it was of these ids, nobody knows
        if run is not None and run.cause == "scale" and not (run.unread or run.rescaled) and channel != "quote":
            listing.unfit.append((channel, run.first_id, run.last_id))
        if counted and missing > 0 and last != sc.NONE:
            for first, end in unrecorded(last + 1, ident - 1, run if cause == GapCause.REJECTED else None):
                self.holes.append((Hole(symbol, channel, first, end), ts_recv))
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
        """An earlier process has recorded up to these ids, by symbol."""
        self.last = dict(last)
        for listing in self.listings.values():
            self._resume(listing)

    def _resume(self, listing: Listing) -> None:
        ids, row = self.last.pop(listing.instrument.symbol, LastIds()), self.state[listing.slot]
        for column, last in ((sc.LAST_TRADE, ids.trade), (sc.LAST_AGG, ids.agg_trade), (sc.LAST_QUOTE, ids.quote)):
            if last is not None:
                row[column : column + 3] = (*last, GapCause.RESTART)
        if ids.book is not None:
            listing.sync.resume(ids.book[0], GapCause.RESTART)

    def go_on(self, before: Mapping[str, tuple[int, LastIds]]) -> None:
        """Each of these symbols has been recorded without interruption up to these ids, as that instrument."""
        self._before = before

    def _go_on(self, listing: Listing, instrument: int, ids: LastIds) -> None:
        row = self.state[listing.slot]
        for column, last in ((sc.LAST_TRADE, ids.trade), (sc.LAST_AGG, ids.agg_trade), (sc.LAST_QUOTE, ids.quote)):
            if last is not None:
                row[column : column + 2] = last
        if ids.book is not None:
            # The levels of an instrument with other scales are those of another book.
            live = bool(ids.live) and instrument == listing.instrument.id
            listing.sync.go_on(ids.book[0], live=live, after_snapshot=ids.snapshot)
            listing.snapshots_asked = 1

    def doubt(self, listing: Listing, channel: str) -> None:
        """A stream was silent for too long. Trades and books show by their ids what was lost; quotes cannot."""
        row = self.state[listing.slot]
        if channel == "quote" and row[sc.LAST_QUOTE] != sc.NONE and not row[sc.CAUSE_QUOTE]:
            row[sc.CAUSE_QUOTE] = GapCause.SEQUENCE

    def interrupt(self, listing: Listing, channel: str, ts_ns: int) -> None:
        """A channel of an instrument was cut off.

        Its next record, or its next snapshot, comes after a GAP. What was held back is recorded now.
        """
        if channel != "book":
            column = COLUMN[channel]
            if self.state[listing.slot, column] != sc.NONE:
                self.state[listing.slot, column + CAUSE] = GapCause.DISCONNECT
        else:
            self.record(listing, listing.sync.give_up(GapCause.DISCONNECT), 0, ts_ns)
