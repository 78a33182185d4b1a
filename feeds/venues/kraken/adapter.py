"""The Kraken adapter (WebSocket v2): what is particular about this venue's messages, in the hooks of kit.venue_adapter.

What is recorded where the venue leaves room:

* Instrument data comes in band, on the first link; the other subscriptions follow when it is there.
* Past trades, which come after each subscription, are recorded with flag SNAPSHOT unless they are known. So what was
  missed while a link was down shows as a GAP only beyond the last 50 trades.
* Trades of one instant may come with their ids out of order: a late one fills the GAP before it, with flag BACKFILL.
* Quotes and books have no ids. An interruption is a GAP on each; inside a connection a book is held by its checksum.
* A book is checked and cut as the venue prints it: with as many decimals as its snapshot has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, cast

import msgspec

from tickplant.books import checksums
from tickplant.books.checksums import ALGORITHMS, Digits
from tickplant.feeds.contract import WS, FeedContext, FeedCounters, LinkSpec, Notice
from tickplant.feeds.kit import shape_kernels, state_table
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.instrument_life import SymbolInfo
from tickplant.feeds.kit.instrument_life import decimals as step_decimals
from tickplant.feeds.kit.level_rows import checked_rows
from tickplant.feeds.kit.link_groups import NO_SYMBOL
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import decimals, wire_decimal
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import BUSY, Link, Stream, Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.kraken import messages, shapes
from tickplant.feeds.venues.kraken import venue as facts
from tickplant.feeds.venues.kraken.attribution import owner
from tickplant.records.batch import Rows
from tickplant.records.layouts import Flag, Side, StatusCode
from tickplant.venues import VENUES

VENUE: Final = "kraken"
ONLINE: Final = "online"
_SHAPES: Final = Shapes(shapes.SHAPES)
_INSTRUMENTS: Final = Stream(NO_SYMBOL, facts.INSTRUMENT)


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.SYMBOLS_PER_REQUEST
    busy: Collection[str] = BUSY

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def name(self, stream: Stream) -> str:
        """Such as `book BTC/USD`."""
        return f"{stream.channel} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request is for one channel."""
        return stream.channel

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"method":"subscribe","params":{"channel":…,"symbol":[…],…},"req_id":…}`."""
        channel = facts.STREAM_OF.get(streams[0].channel, streams[0].channel)
        params: dict[str, object] = {"channel": channel, "snapshot": True}
        if streams[0] != _INSTRUMENTS:
            params["symbol"] = [stream.symbol for stream in streams]
        if channel == "book":
            params["depth"] = self.depth
        elif channel == "ticker":
            params["event_trigger"] = "bbo"
        method = "subscribe" if subscribe else "unsubscribe"
        return msgspec.json.encode({"method": method, "params": params, "req_id": request})


class KrakenAdapter(VenueAdapter):
    """One feed of spot pairs."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """Nothing happens yet. `use_shapes`: False decodes everything with the reference decoder."""
        self._depth = context.depth or VENUES[VENUE].depths[0]
        self._depths: dict[str, int] = {}  # of a recording, by symbol, as the venue has acknowledged them
        self._throttle = SnapshotThrottle(RequestBudget(0.0, 1))
        self._renewals: dict[str, int] = {}  # books to subscribe to anew, and when
        self._late: dict[str, set[int]] = {}  # missing trades that may still come, by symbol
        self._online = True
        market = Market(context, _SHAPES, lambda _: CheckedBook(ALGORITHMS[VENUE]), owner, quotes_count=False)
        symbols = tuple(dict.fromkeys(context.symbols or ()))
        url = (context.endpoints.get(WS) or VENUES[VENUE].endpoints[WS]).rstrip("/") + facts.WS_PATH
        plan: list[tuple[LinkSpec, list[Stream]]] = []
        for number, start in enumerate(range(0, len(symbols), facts.SYMBOLS_PER_LINK), 1):
            name = "public" if number == 1 else f"public-{number}"
            # No overlap: nothing would tell the quotes and book events of one socket from those of the other.
            spec = LinkSpec(name=name, url=url, overlap=False, send_interval_s=facts.SEND_INTERVAL_S)
            part = symbols[start : start + facts.SYMBOLS_PER_LINK]
            streams = [Stream(symbol, channel) for channel in context.channels for symbol in part]
            plan.append((spec, [_INSTRUMENTS, *streams] if number == 1 else streams))
        super().__init__(
            VENUE,
            context,
            market,
            Subscriptions(
                plan,
                StreamCodec(self._depth),
                silent_s=context.silent_s,
                symbols_per_link=facts.SYMBOLS_PER_LINK,
            ),
            RequestBudget(1.0, 1),
            carried_by=lambda _: facts.STREAM_OF,
            use_shapes=use_shapes,
        )

    # Links.

    def opened(self, link: Link, now_ns: int) -> None:
        """Instrument data first; the rest when it is known. Each book comes with a snapshot."""
        for stream in link.streams:
            self._renewals.pop(stream.symbol, None)
        streams = link.streams if self.life.ready else [each for each in link.streams if each == _INSTRUMENTS]
        self.effects += self.subscriptions.subscribe(link, now_ns, streams)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """A snapshot comes with a new subscription."""
        self._renewals[symbol] = self._throttle.next_ns(symbol, now_ns)
        self._renew(now_ns)

    def on_second(self, now_ns: int) -> None:
        """Subscribe anew where that had to wait."""
        super().on_second(now_ns)
        self._renew(now_ns)

    def _renew(self, now_ns: int) -> None:
        for symbol in [symbol for symbol, at_ns in self._renewals.items() if at_ns <= now_ns]:
            del self._renewals[symbol]
            self.effects += self.subscriptions.renew(symbol, "book", now_ns)

    # Messages.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame by the reference decoder. Raises RejectError."""
        message = messages.decode(frame)
        match message:
            case messages.Trades():
                flags = Flag.SNAPSHOT if message.snapshot else 0
                return self.each(message.trades, lambda trade: self._on_trade(trade, ts_recv, flags))
            case messages.Quotes():
                return self.each(message.quotes, lambda quote: self._on_quote(quote, ts_recv))
            case messages.Books():
                return self.each(message.books, lambda book: self._on_book(book, ts_recv))
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
        late = self._late.get(trade.symbol)
        if late and trade.id in late:
            self.market.on_past_trade(event, ts_recv)
            self.counts.backfilled += 1
            late.remove(trade.id)
        else:
            self.market.on_trade(listing, event, ts_recv)
            self._expect_late()
        return True

    def _expect_late(self) -> None:
        for missing, _ in self.market.holes:
            ids = range(missing.first, missing.last + 1)[-facts.LATE_TRADES :]
            self._late[missing.symbol] = set(ids)
        self.market.holes.clear()

    def _on_quote(self, quote: messages.Quote, ts_recv: int) -> bool:
        listing = self.market.listings.get(quote.symbol)
        if listing is not None:
            self.market.on_quote(listing, 0, quote.bid, quote.ask, quote.time, ts_recv)
        return listing is not None

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """A book event."""
        del number
        _, ts_event = values
        self._on_update(self.market.listings.by_slot[slot], rows.copy(), ts_event, ts_recv)

    def _on_book(self, book: messages.Book, ts_recv: int) -> bool:
        listing = self.market.listings.get(book.symbol)
        if listing is None:
            return False
        instrument = listing.instrument
        try:
            rows = checked_rows(
                instrument, book.bids, book.asks, book.time, ts_recv, book.checksum, snapshot=book.snapshot
            )
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "book", ts_recv)
            raise
        if not book.snapshot:
            self._on_update(listing, rows, book.time, ts_recv)
            return True
        levels = [*book.bids, *book.asks]
        digits = Digits(
            instrument.price_scale,
            instrument.size_scale,
            max((decimals(level.price) for level in levels), default=0),
            max((decimals(level.size) for level in levels), default=0),
        )
        depth = self._depths.get(book.symbol, self._depth)
        if not self.live and book.symbol not in self._depths:
            most = max(len(book.bids), len(book.asks))
            depth = next((each for each in VENUES[VENUE].depths if each >= most), most)
        self.market.rejects.end(listing, "book")
        listing.snapshots_asked = listing.snapshots_asked or 1  # the first one came with the subscription
        outputs = cast("CheckedBook", listing.book).on_snapshot(rows, digits, depth)
        self.market.record(listing, outputs, book.time, ts_recv)
        return True

    def _on_update(self, listing: Listing, rows: Rows, ts_event: int, ts_recv: int) -> None:
        market, book = self.market, cast("CheckedBook", listing.book)
        market.listings.state[listing.slot, state_table.SEEN_BOOK] = 1
        market.rejects.end(listing, "book")
        market.record(listing, book.on_update(rows), ts_event, ts_recv)

    # Instruments, answers, status.

    def _on_pairs(self, message: messages.Pairs, ts_recv: int) -> None:
        was_ready = self.life.ready
        infos = [_symbol_info(pair) for pair in message.pairs if pair.status not in facts.HIDDEN]
        self.life.take(infos, ts_recv, whole=message.snapshot)
        if self.life.ready and not was_ready:
            for link in self.subscriptions.links.values():
                if link.sockets:
                    streams = [stream for stream in link.streams if stream != _INSTRUMENTS]
                    self.effects += self.subscriptions.request(link, streams, ts_recv)
                    self.links.go_on(link, ts_recv)

    def _on_answer_in_band(self, answer: messages.Answer, ts_recv: int) -> None:
        if not answer.success:
            raise self.refused(answer.request, answer.error, ts_recv, symbol=answer.symbol)
        self.subscriptions.acknowledge(answer.request, ts_recv, symbol=answer.symbol)
        if not self.live and answer.channel == "book" and answer.depth:
            self._depths[answer.symbol] = answer.depth

    def _on_status(self, status: messages.Status, ts_recv: int) -> None:
        if (status.system == ONLINE) == self._online:
            return
        self._online = status.system == ONLINE
        self.market.status(StatusCode.TRADING if self._online else StatusCode.HALTED, ts_recv)
        self.effects.append(Notice("venue status", {"status": status.system[:64]}))

    @property
    def counters(self) -> FeedCounters:
        """With the checksums of all books."""
        books = [cast("CheckedBook", listing.book) for listing in self.market.listings.by_slot]
        return msgspec.structs.replace(
            super().counters,
            checksums_ok=sum(book.agreed for book in books),
            checksums_failed=sum(book.failed for book in books),
        )


def _symbol_info(pair: messages.Pair) -> SymbolInfo:
    return SymbolInfo(
        pair.symbol,
        pair.status,
        trading=pair.status in facts.TRADING,
        closed=pair.status in facts.CLOSED,
        price_scales=(pair.price_precision, step_decimals(wire_decimal(pair.price_increment))),
        size_scales=(pair.qty_precision, step_decimals(wire_decimal(pair.qty_increment))),
    )


def warm_up() -> None:
    """Compile, or load, all kernels of this venue."""
    shape_kernels.warm_up()
    checksums.prepare_kernels()
