"""The adapter of Coinbase Advanced Trade: the specifics of this venue, in the hooks of kit.venue_adapter.

What is recorded where the venue leaves room:

* Messages are counted per connection, over all channels. A jump of the count means that something is missing, in an
  unknown stream: all books of the connection are given up and requested, and its quotes get a GAP. The ids of trades
  show which trades are missing. A message whose count is not above the last one is a repeat and dropped.
* The side of a trade on the wire is the maker's; the aggressor's is recorded.
* Past trades, which come after each subscription, are recorded with flag SNAPSHOT unless they are known.
* A product in USDC has the data of its twin in USD, under that name; they are recorded under the feed's symbol.
* Levels far from the market have odd times, so the message's time applies to all levels.
* Instrument data come in band, on the first link; the other subscriptions follow once they are there. They concern
  products requested by name: a product without an answer soon after its request is not listed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from tickplant.feeds.contract import Closed, Event, Fail, FeedContext, Frames, Opened
from tickplant.feeds.kit import shape_kernels
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.in_band_adapter import InBandAdapter
from tickplant.feeds.kit.in_band_books import InBandBook
from tickplant.feeds.kit.instrument_life import SymbolInfo, decimals
from tickplant.feeds.kit.level_rows import change_rows, whole_book
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import NONE
from tickplant.feeds.kit.subscriptions import Link, Stream, Subscriptions
from tickplant.feeds.venues.coinbase_advanced import messages, shapes
from tickplant.feeds.venues.coinbase_advanced import venue as facts
from tickplant.feeds.venues.coinbase_advanced.attribution import owner
from tickplant.feeds.venues.coinbase_advanced.streams import FIRST, HEARTBEATS, StreamCodec, label_of, links
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.batch import INSTRUMENT_MASK, PACKED, VENUE_SEQ, Rows
from tickplant.records.layouts import Flag, GapCause, Kind, Side

VENUE: Final = "coinbase-advanced"
STATUS_NS: Final = 10 * SECOND_NS
"""A product without instrument data this long after their request is not listed."""

_SHAPES: Final = Shapes(shapes.SHAPES)
_SIDES: Final = {"bid": Side.BID, "offer": Side.ASK}


class AdvancedAdapter(InBandAdapter):
    """One feed of products."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes`: False decodes everything with the reference decoder."""
        symbols = tuple(dict.fromkeys(context.symbols or ()))
        labels = {label_of(symbol): symbol for symbol in symbols if label_of(symbol) != symbol}
        self._twins = sorted(labels.keys() & set(symbols))  # whose data a feed cannot tell apart
        self._first_status = False  # the next instrument data are the first of their connection: those of all products
        self._expected: dict[str, int] = {}  # products that may be listed, and when the venue was asked
        self._counts: dict[str, int] = {}  # the newest count of each link except the one being read
        self._quoted: set[Listing] = set()  # instruments that have had a quote
        self._codec = StreamCodec(symbols)
        market = Market(context, _SHAPES, lambda _: InBandBook(), owner, quotes_count=False)
        market.listings.labels = labels
        self._reader = market.listings.reader  # counts the messages of the link being read
        super().__init__(
            VENUE,
            context,
            market,
            Subscriptions(
                links(context),
                self._codec,
                silent_s=context.silent_s,
                symbols_per_link=facts.SYMBOLS_PER_LINK,
                halves=True,
                each_link=(HEARTBEATS,),
            ),
            RequestBudget(1.0, 1),
            carried_by=lambda _: facts.STREAM_OF,
            use_shapes=use_shapes,
        )
        self.life.asks = True  # requests them by name

    # Events and links.

    def start(self, now_ns: int) -> None:
        """Begin the feed, or fail at once if two symbols have the same data."""
        if self._twins:
            names = ", ".join(self._twins)
            ending = facts.ALIAS[0]
            self.effects.append(
                Fail(f"{VENUE}: products that end with {ending} have the data of {names}: leave those out")
            )
        else:
            super().start(now_ns)

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract. Each connection counts its messages from 0."""
        if isinstance(event, Frames):
            if event.link != self.link:
                self._counts[self.link] = self._reader.counted
                self._reader.counted = self._counts.get(event.link, NONE)
        elif isinstance(event, Opened | Closed):
            self._counts.pop(event.link, None)
            if event.link == self.link:
                self._reader.counted = NONE
        super().on_event(event, now_ns)

    def opened(self, link: Link, now_ns: int) -> None:
        """Subscribe to heartbeats and instrument data first; the rest follows once those are known."""
        if link.spec.name == FIRST:
            self._first_status = True
            self._expected = dict.fromkeys(self._expected, now_ns)
        super().opened(link, now_ns)

    def due(self, link: Link, streams: Sequence[Stream]) -> Sequence[Stream]:
        """See VenueAdapter."""
        return [stream for stream in streams if self.life.ready or stream.symbol == FEED_SYMBOL]

    # Symbols that come and go.

    def why_not(self, symbol: str) -> str:
        """A product in USDC has the data of its twin in USD."""
        mine = {*self._codec.symbols, *self.market.listings.by_symbol}
        twin = self.market.listings.labels.get(symbol) or (mine & {label_of(symbol)} and label_of(symbol))
        return f"it has the same data as {twin}, which the feed records" if twin else ""

    def expect(self, symbol: str, now_ns: int) -> None:
        """Ask for the instrument data of a product."""
        self._codec.symbols.append(symbol)
        self._expected[symbol] = now_ns
        if (label := label_of(symbol)) != symbol:
            self.market.listings.labels[label] = symbol
        self._ask(symbol, now_ns)

    def _ask(self, symbol: str, now_ns: int, *, subscribe: bool = True) -> None:
        first = self.subscriptions.links.get(FIRST)
        if first is not None and first.sockets and self.live:
            status = [Stream(symbol, facts.STATUS)]
            self.effects += self.subscriptions.request(first, status, now_ns, subscribe=subscribe)

    def lists(self, symbol: str, answers: int, now_ns: int) -> bool | None:
        """Whether the instrument data list a symbol; the venue sends them soon if they exist."""
        del answers  # other answers concern other products
        listed = self.life.lists(symbol, self.life.answers)
        first = self.subscriptions.links.get(FIRST)
        if listed is None and self.live and self.life.ready and first is not None and first.sockets:
            listed = False if now_ns >= self._expected[symbol] + STATUS_NS else None
        return listed

    def follow(self, symbol: str, now_ns: int) -> None:
        """Stop waiting for the instrument data of a listed product."""
        self._expected.pop(symbol, None)

    def unfollow(self, symbol: str, now_ns: int) -> None:
        """End the request for a product's data and instrument data."""
        self._expected.pop(symbol, None)
        if symbol in self._codec.symbols:
            self._codec.symbols.remove(symbol)
            self._ask(symbol, now_ns, subscribe=False)
        self.market.listings.labels.pop(label_of(symbol), None)

    # The count of a connection.

    def _is_new(self, count: int | None, ts_recv: int) -> bool:
        """Whether a message of this count is unread; records what is missing before it."""
        if count is None:
            return True
        last = self._reader.counted
        if count <= last:
            self.market.duplicates += 1
            return False
        self._reader.counted = count
        if last != NONE and count > last + 1:
            self._on_loss(ts_recv)
        return True

    def _on_loss(self, ts_recv: int) -> None:
        known, link = self.market.listings.by_symbol, self.subscriptions.links.get(self.link)
        symbols = {stream.symbol for stream in link.streams} if link is not None and link.streams else known.keys()
        listings = [known[symbol] for symbol in known if symbol in symbols]
        for listing in listings:
            if listing in self._quoted:
                self.market.gap(listing.instrument, GapCause.SEQUENCE, 0, ts_recv, flags=Flag.ON_QUOTE)
        self.snapshots.suspect((one for one in listings if one.snapshots_asked), ts_recv)

    # Messages.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        try:
            message = messages.decode(frame)
        except RejectError:
            self._is_new(messages.number_of(frame), ts_recv)
            raise
        if isinstance(message, messages.Refusal):
            self._on_refusal(message, ts_recv)
        elif not self._is_new(message.sequence_num, ts_recv):
            return True
        match message:
            case messages.Trades():
                trades = [(one, event.type == "snapshot") for event in message.events for one in event.trades]
                trades.sort(key=lambda each: int(each[0].trade_id))
                return self.each(trades, lambda each: self._on_trade(*each, ts_recv))
            case messages.Books():
                return self.each(message.events, lambda book: self._on_book(book, message.timestamp, ts_recv))
            case messages.Tickers():
                tickers = [one for event in message.events for one in event.tickers]
                return self.each(tickers, lambda one: self._on_ticker(one, message.timestamp, ts_recv))
            case messages.Subscriptions():
                for event in message.events:
                    is_in = functools.partial(self._codec.is_in, state=event.subscriptions)
                    self.subscriptions.acknowledge_all(self.link, is_in, ts_recv)
            case messages.Products():
                for products in message.events:
                    is_whole = products.type == "snapshot" and self._first_status
                    self._first_status &= not is_whole
                    self._on_products(products.products, ts_recv, whole=is_whole)
            case messages.Heartbeat():
                count_name(self.counts.ignored_kinds, facts.HEARTBEATS)
            case messages.Ignored(kind):
                count_name(self.counts.ignored_kinds, kind)
        return False

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record what a shape has read."""
        count, ts_event = values
        if count != self._reader.counted + 1:
            rows = rows.copy()  # a GAP before them may overwrite the place where they lie
        if not self._is_new(count, ts_recv):
            return
        market = self.market
        if number == shapes.TRADES:
            if len(rows) > 1:
                rows = rows[np.argsort(rows[:, VENUE_SEQ], kind="stable")]
            market.on_trade_rows(rows, ts_recv)
        elif number == shapes.QUOTES:
            for word in rows[::2, PACKED].tolist():
                self._see_quote(market.listings.by_id[word & INSTRUMENT_MASK])
            market.batch.extend(rows, Kind.QUOTE)
        else:
            self._record_book(market.listings.by_slot[slot], rows, ts_event, ts_recv)

    def _on_trade(self, trade: messages.Trade, is_past: bool, ts_recv: int) -> bool:
        listing = self.market.listings.get(trade.product_id)
        if listing is None:
            return False
        ident, side = int(trade.trade_id), Side.BUY if trade.side == "SELL" else Side.SELL
        try:
            time_ns, flags = rfc3339_ns(trade.time), Flag.SNAPSHOT if is_past else 0
            event = VenueTrade(trade.product_id, ident, time_ns, trade.price, trade.size, side, flags=flags)
            self.market.on_trade(listing, event, ts_recv)
        except RejectError as rejected:
            if not rejected.accounted:
                self.market.rejects.add(rejected, listing, "trade", ts_recv, ident)
            raise
        return True

    def _on_ticker(self, ticker: messages.Ticker, timestamp: str, ts_recv: int) -> bool:
        listing = self.market.listings.get(ticker.product_id)
        if listing is None:
            return False
        try:
            bid = ticker.best_bid or "0", ticker.best_bid_quantity or "0"
            ask = ticker.best_ask or "0", ticker.best_ask_quantity or "0"
            self.market.on_quote(listing, 0, bid, ask, rfc3339_ns(timestamp), ts_recv)
        except RejectError as rejected:
            if not rejected.accounted:
                self.market.rejects.add(rejected, listing, "quote", ts_recv)
            raise
        self._see_quote(listing)
        return True

    def _see_quote(self, listing: Listing) -> None:
        self._quoted.add(listing)
        self.market.rejects.end(listing, "quote")

    def _on_book(self, book: messages.Book, timestamp: str, ts_recv: int) -> bool:
        listing = self.market.listings.get(book.product_id)
        if listing is None:
            return False
        flags = Flag.SNAPSHOT if book.type == "snapshot" else 0
        try:
            ts_event = rfc3339_ns(timestamp)
            changes = [(_SIDES[one.side], one.price_level, one.new_quantity) for one in book.updates]
            rows = change_rows(listing.instrument, changes, ts_event, ts_recv, flags)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "book", ts_recv)
            raise
        if flags:
            self._record_book(listing, rows, ts_event, ts_recv)
        else:
            self.snapshots.on_update(listing, rows)
        return True

    def _record_book(self, listing: Listing, levels: Rows, ts_event: int, ts_recv: int) -> None:
        rows = whole_book(listing.instrument, levels, ts_event, ts_recv)
        self.snapshots.on_snapshot(listing, cast("InBandBook", listing.book), rows, ts_event, ts_recv)

    # Instruments and answers.

    def _on_products(self, products: list[messages.Product], ts_recv: int, *, whole: bool) -> None:
        was_ready, labels = self.life.ready, self.market.listings.labels
        infos = [
            SymbolInfo(
                labels.get(each.id, each.id),
                each.status,
                trading=each.status == facts.ONLINE,
                closed=each.status in facts.CLOSED,
                price_scales=(decimals(each.quote_increment),),
                size_scales=(decimals(each.base_increment),),
            )
            for each in products
        ]
        self.life.take(infos, ts_recv, whole=whole)
        if self.life.ready and not was_ready:
            for link in self.subscriptions.links.values():
                if link.sockets:
                    streams = [stream for stream in link.streams if stream.symbol != FEED_SYMBOL]
                    self.effects += self.subscriptions.request(link, streams, ts_recv)
                    self.links.go_on(link, ts_recv)

    def _on_refusal(self, refusal: messages.Refusal, ts_recv: int) -> None:
        if "authenticat" in refusal.message.lower():
            # No other attempt would end differently.
            self.effects.append(Fail(f"{VENUE}: the venue refuses: {refusal.message[:200]}"))
        raise self.refused(None, refusal.message, ts_recv)


warm_up: Final = shape_kernels.warm_up
"""Compile or load all kernels of this venue."""
