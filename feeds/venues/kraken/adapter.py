"""The Kraken adapter (WebSocket v2): the specifics of this venue's messages, in the hooks of kit.venue_adapter.

What is recorded where the venue leaves room:

* Instrument data come in band, on the first link; the other subscriptions follow once they are there.
* Past trades, which come after each subscription, are recorded with flag SNAPSHOT unless they are known. So trades
  missed while a link was down show as a GAP only beyond the last 50.
* Trades of one instant may come with their ids out of order: a late one fills the GAP before it, with flag BACKFILL.
  Trades that have not come after 2 s are requested over REST.
* Quotes and books have no ids. An interruption is a GAP on each; within a connection the checksum verifies a book.
* A book is checked and cut as the venue prints it: with as many decimals as its snapshot shows.
* Books of orders need a token, from the credential or requested with its key; they come over links of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from tickplant.books.checksums import ALGORITHMS
from tickplant.feeds.contract import Answer, Fail, FeedContext, Notice
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.checked_books import CheckedBooks
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import Link, Stream, Subscriptions
from tickplant.feeds.kit.unnumbered_book import UnnumberedBook
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.kraken import messages, shapes
from tickplant.feeds.venues.kraken import venue as facts
from tickplant.feeds.venues.kraken.attribution import owner
from tickplant.feeds.venues.kraken.bars_in_line import BarsInLine
from tickplant.feeds.venues.kraken.checked_orders import CheckedOrders, OrderEvent
from tickplant.feeds.venues.kraken.kraken_rest import PastTrades
from tickplant.feeds.venues.kraken.late_trades import TradeLine
from tickplant.feeds.venues.kraken.order_token import OrderToken
from tickplant.feeds.venues.kraken.pair_data import symbol_info
from tickplant.feeds.venues.kraken.pair_streams import (
    INSTRUMENTS,
    ORDERS,
    StreamCodec,
    channels_of,
    links,
    order_depth,
)
from tickplant.instruments import Instrument
from tickplant.records.batch import Rows
from tickplant.records.layouts import Flag, Side, StatusCode
from tickplant.venues import VENUES

VENUE: Final = "kraken"
ONLINE: Final = "online"
_SHAPES: Final = Shapes(shapes.SHAPES)


class KrakenAdapter(VenueAdapter):
    """One feed of spot pairs."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes`: False decodes everything with the reference decoder."""
        self._depth = context.depth or VENUES[VENUE].depths[0]
        self._depths: dict[str, int] = {}  # in a recording: by symbol, as acknowledged by the venue
        self._throttle = SnapshotThrottle(RequestBudget(0.0, 1))
        self._renewals: dict[str, int] = {}  # books to subscribe to again, and when
        self._online = True
        self._decided = context.live  # whether the channel of the books is known
        self._codec = StreamCodec(self._depth)
        market = Market(context, _SHAPES, self._new_book, owner, quotes_count=False)
        budget = RequestBudget(facts.REST_INTERVAL_S, 1)
        plan, history = links(context), PastTrades()
        secret = [spec.name for spec, _ in plan if spec.name.startswith(ORDERS)]  # with a token in each request
        super().__init__(
            VENUE,
            context,
            market,
            Subscriptions(
                plan,
                self._codec,
                silent_s=context.silent_s,
                secret=secret,
                symbols_per_link=facts.SYMBOLS_PER_LINK,
            ),
            budget,
            carried_by=self._carried_by,
            history=history,
            use_shapes=use_shapes,
        )
        self._books = CheckedBooks(market)
        self._bars = BarsInLine(market)
        self._trades = TradeLine(market, history)
        self._token = OrderToken(context.secrets, budget)

    def _new_book(self, _: Instrument) -> UnnumberedBook:
        return CheckedOrders() if self.market.book_channel == ORDERS else CheckedBook(ALGORITHMS[VENUE])

    def _carried_by(self, link: str) -> list[str]:
        channels = channels_of(link)
        if ORDERS in channels:
            self.market.book_channel = ORDERS
        return channels

    # Links.

    def start(self, now_ns: int) -> None:
        """See VenueAdapter. Orders need a token."""
        if self.market.book_channel == ORDERS and (missing := self._token.missing()):
            self.effects.append(Fail(f"kraken: {missing}"))
        super().start(now_ns)

    def opened(self, link: Link, now_ns: int) -> None:
        """Subscribe to instrument data first, the rest once they are known, orders with a token."""
        for stream in link.streams:
            self._renewals.pop(stream.symbol, None)
        if link.spec.name.startswith(ORDERS):
            self.effects += self._token.renew(now_ns)
        super().opened(link, now_ns)

    def due(self, link: Link, streams: Sequence[Stream]) -> Sequence[Stream]:
        """See VenueAdapter."""
        if not self.life.ready:
            return [each for each in streams if each == INSTRUMENTS]
        self._codec.token = self._token.value
        return [each for each in streams if each.channel != ORDERS or self._token.value]

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Take in the answer to a request for a token."""
        if self.live and self._token.knows(answer.request):
            self.effects += self._token.on_answer(answer, now_ns)
            if self._token.value:
                self._codec.token = self._token.value
                for link in self.subscriptions.links.values():
                    if link.sockets and link.spec.name.startswith(ORDERS) and not (link.pending or link.watched):
                        self.effects += self.subscriptions.request(link, self.due(link, link.streams), now_ns)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Schedule a new subscription, which brings a snapshot."""
        self._renewals[symbol] = self._throttle.next_ns(symbol, now_ns)
        self._renew(now_ns)

    def on_second(self, now_ns: int) -> None:
        """Subscribe again where that had to wait; ask for trades that did not come."""
        super().on_second(now_ns)
        self._renew(now_ns)
        self.market.holes += self._trades.overdue(now_ns)
        self.follow_up()

    def _renew(self, now_ns: int) -> None:
        for symbol in [symbol for symbol, at_ns in self._renewals.items() if at_ns <= now_ns]:
            del self._renewals[symbol]
            self.effects += self.subscriptions.renew(symbol, self.market.book_channel, now_ns)

    # Messages.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        message = messages.decode(frame)
        match message:
            case messages.Trades():
                flags = Flag.SNAPSHOT if message.snapshot else 0
                return self.each(message.trades, lambda trade: self._on_trade(trade, ts_recv, flags))
            case messages.Quotes():
                return self.each(message.quotes, lambda quote: self._on_quote(quote, ts_recv))
            case messages.Books():
                return self.each(message.books, lambda book: self._on_book(book, ts_recv))
            case messages.OrderBooks():
                return self.each(message.books, lambda book: self._on_orders(book, ts_recv))
            case messages.Bars():
                return self.each(message.bars.values(), lambda bars: self._on_bars(bars, ts_recv, message.snapshot))
            case messages.Pairs():
                self._on_pairs(message, ts_recv)
            case messages.Answer():
                self._on_answer_in_band(message, ts_recv)
            case messages.Status():
                self._on_status(message, ts_recv)
            case messages.Ignored():
                count_name(self.counts.ignored_kinds, message.kind)
        return False

    def _on_trade(self, trade: messages.Trade, ts_recv: int, flags: int) -> bool:
        listing = self.market.listings.get(trade.symbol)
        if listing is None:
            return False
        side = Side.BUY if trade.side == "buy" else Side.SELL
        event = VenueTrade(trade.symbol, trade.id, trade.time, trade.price, trade.size, side, flags=flags)
        self.counts.backfilled += self._trades.record(listing, event, ts_recv)
        return True

    def _on_quote(self, quote: messages.Quote, ts_recv: int) -> bool:
        listing = self.market.listings.get(quote.symbol)
        if listing is not None:
            self.market.on_quote(listing, 0, quote.bid, quote.ask, quote.time, ts_recv)
        return listing is not None

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record a book event."""
        del number
        _, ts_event = values
        listing = self.market.listings.by_slot[slot]
        if self._takes("book"):
            self._books.on_update(listing, rows.copy(), ts_event, ts_recv)

    def _on_book(self, book: messages.Book, ts_recv: int) -> bool:
        listing = self.market.listings.get(book.symbol)
        if listing is None or not self._takes("book"):
            return False
        depth = self._depths.get(book.symbol, self._depth)
        if not self.live and book.symbol not in self._depths:
            most = max(len(book.bids), len(book.asks))
            depth = next((each for each in VENUES[VENUE].depths if each >= most), most)
        self._books.on_event(
            listing, book.bids, book.asks, book.checksum, book.time, ts_recv, depth=depth, snapshot=book.snapshot
        )
        return True

    def _on_orders(self, book: messages.OrderBook, ts_recv: int) -> bool:
        listing = self.market.listings.get(book.symbol)
        if listing is None or not self._takes(ORDERS):
            return False
        try:
            event = OrderEvent(listing.instrument, book, ts_recv)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, ORDERS, ts_recv)
            raise
        depth = order_depth(self._depths.get(book.symbol, self._depth))
        outputs = cast("CheckedOrders", listing.book).on_event(event, depth)
        self._books.record(listing, outputs, event.time, ts_recv, snapshot=book.snapshot)
        return True

    def _takes(self, channel: str) -> bool:
        """Whether a channel's book events are recorded: in a recording, those of the channel that comes first."""
        market = self.market
        if not self._decided:
            self._decided = True
            if channel != market.book_channel:
                market.book_channel = channel
                for listing in market.listings.by_slot:
                    listing.book = self._new_book(listing.instrument)
        return channel == market.book_channel

    def _on_bars(self, bars: Sequence[messages.Bar], ts_recv: int, snapshot: bool) -> bool:
        listing = self.market.listings.get(bars[0].symbol)
        if listing is not None:
            self._bars.record(listing, bars, ts_recv, snapshot=snapshot)
        return listing is not None

    # Instruments, answers, status.

    def _on_pairs(self, message: messages.Pairs, ts_recv: int) -> None:
        was_ready = self.life.ready
        infos = [symbol_info(pair) for pair in message.pairs if pair.status not in facts.HIDDEN]
        self.life.take(infos, ts_recv, whole=message.snapshot)
        if self.life.ready and not was_ready:
            for link in self.subscriptions.links.values():
                if link.sockets:
                    streams = [each for each in self.due(link, link.streams) if each != INSTRUMENTS]
                    self.effects += self.subscriptions.request(link, streams, ts_recv)
                    self.links.go_on(link, ts_recv)

    def _on_answer_in_band(self, answer: messages.Answer, ts_recv: int) -> None:
        if not answer.success:
            if self.link.startswith(ORDERS):
                self.effects += self._token.renew(ts_recv)
            rejected = self.refused(answer.request, answer.error, ts_recv, symbol=answer.symbol)
            if facts.ALREADY in answer.error.lower():
                self._end_refused(ts_recv)
            raise rejected
        self.subscriptions.acknowledge(answer.request, ts_recv, symbol=answer.symbol)
        if not self.live and answer.channel in ("book", "level3") and answer.depth:
            self._depths[answer.symbol] = answer.depth

    def _end_refused(self, now_ns: int) -> None:
        """Unsubscribe from the streams just refused: the venue has them already, so a retry would bring no snapshot."""
        link = self.subscriptions.links.get(self.link)
        if link is not None and link.refused:
            self.effects += self.subscriptions.request(link, link.refused[-1][0], now_ns, subscribe=False)

    def _on_status(self, status: messages.Status, ts_recv: int) -> None:
        if (status.system == ONLINE) == self._online:
            return
        self._online = status.system == ONLINE
        self.market.status(StatusCode.TRADING if self._online else StatusCode.HALTED, ts_recv)
        self.effects.append(Notice("venue status", {"status": status.system[:64]}))
