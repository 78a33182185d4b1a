"""The adapter of OKX: what is particular about its messages, in the hooks of the kit.

What is recorded where the venue leaves room:

* Fills of one taker at one price are one trade, with the id of the last: ids have holes by right, a repeat is dropped.
* Quotes have no ids. Changes of a book are chained by prevSeqId, where it is there, and checked where a checksum is.
* A snapshot comes with a subscription; a book whose chain or checksum breaks is subscribed to anew, alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from tickplant.books.checksums import ALGORITHMS
from tickplant.feeds.contract import WS, FeedContext, FeedCounters, LinkSpec, Request, Send
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.checked_books import CheckedBooks
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.in_band_books import InBandBooks
from tickplant.feeds.kit.instrument_life import InstrumentSource
from tickplant.feeds.kit.level_rows import without_checksum
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import epoch_ns, integer
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import BUSY, Link, Stream, Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.okx import messages, shapes
from tickplant.feeds.venues.okx import venue as facts
from tickplant.feeds.venues.okx.attribution import owner
from tickplant.instruments import Instrument
from tickplant.records.batch import SIZE, Rows
from tickplant.records.layouts import Side
from tickplant.venues import VENUES

VENUE: Final = "okx"
_SHAPES: Final = Shapes(shapes.SHAPES)


def _new_book(_: Instrument) -> CheckedBook:
    return CheckedBook(ALGORITHMS[VENUE])


def _instruments(_: int, at_ns: int) -> Request:
    return Request("instruments", facts.INSTRUMENTS_PATH, at_ns)


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.STREAMS_PER_REQUEST
    busy: Collection[str] = BUSY

    def name(self, stream: Stream) -> str:
        """Such as `trades BTC-USDT`."""
        return f"{self.group(stream)} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request is for one channel: its answers name the symbols."""
        return facts.CHANNEL_OF[stream.channel]

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"id":…,"op":"subscribe","args":[{"channel":…,"instId":…},…]}`."""
        args = [{"channel": self.group(stream), "instId": stream.symbol} for stream in streams]
        return msgspec.json.encode(
            {"id": str(request), "op": "subscribe" if subscribe else "unsubscribe", "args": args}
        )


class OkxAdapter(VenueAdapter):
    """One feed of spot pairs."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """Nothing happens yet. `use_shapes`: False decodes everything with the reference decoder."""
        url = (context.endpoints.get(WS) or VENUES[VENUE].endpoints[WS]).rstrip("/") + facts.WS_PATH
        # Nothing tells the quotes of two connections apart, and each has a snapshot of its own for every book.
        spec = LinkSpec(name="public", url=url, overlap=False, send_interval_s=facts.SEND_INTERVAL_S)
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in context.symbols or ()]
        links = [(spec, streams)] if streams else []  # of a recording, what a link of a name has carried is asked for
        market = Market(context, _SHAPES, _new_book, owner, quotes_count=False, trades_count=False, trades_unique=True)
        subscriptions = Subscriptions(
            links, StreamCodec(), silent_s=context.silent_s, request_bytes=facts.REQUEST_BYTES, halves=True
        )
        super().__init__(
            VENUE,
            context,
            market,
            subscriptions,
            RequestBudget(facts.REST_INTERVAL_S, 1),
            carried_by=lambda _: facts.CHANNEL_OF,
            instruments=InstrumentSource("instruments", _instruments, messages.instruments),
            use_shapes=use_shapes,
        )
        self._books = CheckedBooks(market, asks_first=True)
        self._snapshots = InBandBooks(market, subscriptions)
        self._seq: dict[str, int] = {}  # seqId of the last event of each book
        self._ping_ns = 0

    # Links and snapshots.

    def opened(self, link: Link, now_ns: int) -> None:
        """Each book comes with a snapshot."""
        self._snapshots.opened(stream.symbol for stream in link.streams)
        super().opened(link, now_ns)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """A snapshot comes with a new subscription."""
        self._snapshots.fetch(symbol, now_ns)
        self.effects += self._snapshots.renew(now_ns)

    def on_second(self, now_ns: int) -> None:
        """Keep the connections, subscribe anew where that had to wait."""
        super().on_second(now_ns)
        self._snapshots.on_second(now_ns)
        self.follow_up()
        self.effects += self._snapshots.renew(now_ns)
        if now_ns >= self._ping_ns:
            self._ping_ns = now_ns + facts.PING_S * SECOND_NS
            self.effects += [Send(one.spec.name, b"ping") for one in self.subscriptions.links.values() if one.sockets]

    # Messages.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame by the reference decoder. Raises RejectError."""
        message, rows = messages.decode(frame)
        request, symbol = (int(message.id) if message.id.isdecimal() else None), message.arg.inst_id
        match message.event or message.arg.channel:
            case "trades":
                return self.each(rows, lambda trade: self._on_trade(trade, ts_recv))
            case "tickers":
                return self.each(rows, lambda ticker: self._on_ticker(ticker, ts_recv))
            case "books":
                snapshot = message.action == "snapshot"
                return self.each(rows, lambda book: self._on_book(symbol, book, ts_recv, snapshot=snapshot))
            case "subscribe" | "unsubscribe":
                self.subscriptions.acknowledge(request, ts_recv, symbol=symbol)
            case "error":
                raise self.refused(request, f"{message.code} {message.msg}", ts_recv, symbol=symbol)
            case "":
                raise RejectError("unknown message", "neither event nor channel")
            case kind:
                count_name(self.counts.ignored_kinds, kind)
        return False

    def _on_trade(self, trade: messages.Trade, ts_recv: int) -> bool:
        listing = self.market.listings.get(trade.inst_id)
        if listing is not None:
            side, ts_event = Side.BUY if trade.side == "buy" else Side.SELL, epoch_ns(integer(trade.ts))
            ident = integer(trade.trade_id)
            self.market.on_trade(listing, VenueTrade(trade.inst_id, ident, ts_event, trade.px, trade.sz, side), ts_recv)
        return listing is not None

    def _on_ticker(self, ticker: messages.Ticker, ts_recv: int) -> bool:
        listing = self.market.listings.get(ticker.inst_id)
        if listing is not None:
            bid, ask = (ticker.bid_px or "0", ticker.bid_sz or "0"), (ticker.ask_px or "0", ticker.ask_sz or "0")
            self.market.on_quote(listing, 0, bid, ask, epoch_ns(integer(ticker.ts)), ts_recv)
        return listing is not None

    # Books.

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """A change of a book."""
        listing, (checksum, ts_event, prev, seq) = self.market.listings.by_slot[slot], values
        rows = rows.copy()  # a GAP may come to lie where they lay
        if self._continues(listing, prev, seq, ts_recv):
            rows[-1, SIZE] = -checksum if number == shapes.NEGATIVE else checksum
            self._books.on_update(listing, rows if checksum else without_checksum(rows), ts_event, ts_recv)

    def _on_book(self, symbol: str, book: messages.Book, ts_recv: int, *, snapshot: bool) -> bool:
        listing = self.market.listings.get(symbol)
        if listing is None:
            return False
        ts_event = epoch_ns(integer(book.ts))
        if snapshot:
            self._seq[symbol] = book.seq_id
        elif not self._continues(listing, book.prev_seq_id, book.seq_id, ts_recv):
            return True
        checksum = book.checksum or None  # 0 says nothing
        self._books.on_event(
            listing, book.bids, book.asks, checksum, ts_event, ts_recv, depth=facts.DEPTH, snapshot=snapshot
        )
        return True

    def _continues(self, listing: Listing, prev: int, seq: int, ts_recv: int) -> bool:
        """Whether a change is to be recorded: not a repeat. Where one is missing before it, the book is given up."""
        symbol = listing.instrument.symbol
        last, self._seq[symbol] = self._seq.get(symbol, facts.UNCHAINED), seq
        if listing.book.live and facts.UNCHAINED not in (prev, last) and prev != last:
            if seq == last:
                listing.book.duplicates += 1
                return False
            self._snapshots.suspect([listing], ts_recv)
        return True

    @property
    def counters(self) -> FeedCounters:
        """With the checksums of all books."""
        ok, failed = self._books.checksums()
        return msgspec.structs.replace(super().counters, checksums_ok=ok, checksums_failed=failed)
