"""The adapter of OKX: the specifics of its messages, in the hooks of the kit.

* Fills of one taker at one price from one source are one message: an aggregate trade, with the id of its last fill.
  Fills of two sources may be mixed, so ids do not show what is missing. A repeat is dropped.
* Quotes have no ids. Changes of a book are chained by prevSeqId, if present, and checked by checksum, if present.
* A snapshot comes with a subscription; a book whose chain or checksum breaks is subscribed to again, by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from tickplant.books.checksums import ALGORITHMS
from tickplant.feeds.contract import WS, FeedContext, LinkSpec, Request, Send
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.checked_books import CheckedBooks
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.in_band_adapter import InBandAdapter
from tickplant.feeds.kit.instrument_life import InstrumentSource
from tickplant.feeds.kit.level_rows import without_checksum
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import epoch_ns, integer
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import BUSY, Stream, Subscriptions
from tickplant.feeds.venues.okx import messages, shapes
from tickplant.feeds.venues.okx import venue as facts
from tickplant.feeds.venues.okx.attribution import owner
from tickplant.records.batch import ORDER_ID, SIZE, Rows
from tickplant.records.layouts import Flag, Kind, Side
from tickplant.venues import VENUES

VENUE: Final = "okx"
_SHAPES: Final = Shapes(shapes.SHAPES)


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.STREAMS_PER_REQUEST
    busy: Collection[str] = BUSY

    def name(self, stream: Stream) -> str:
        """Such as `trades BTC-USDT`."""
        return f"{self.group(stream)} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request covers one channel: its answers name the symbols."""
        return facts.CHANNEL_OF[stream.channel]

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"id":…,"op":"subscribe","args":[{"channel":…,"instId":…},…]}`."""
        args = [{"channel": self.group(stream), "instId": stream.symbol} for stream in streams]
        op = "subscribe" if subscribe else "unsubscribe"
        return msgspec.json.encode({"id": str(request), "op": op, "args": args})


class OkxAdapter(InBandAdapter):
    """One feed of spot pairs."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes`: False decodes everything with the reference decoder."""
        url = (context.endpoints.get(WS) or VENUES[VENUE].endpoints[WS]).rstrip("/") + facts.WS_PATH
        # The quotes of two connections could not be told apart, and each has its own snapshot for every book.
        spec = LinkSpec(name="public", url=url, overlap=False, send_interval_s=facts.SEND_INTERVAL_S)
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in context.symbols or ()]
        super().__init__(
            VENUE,
            context,
            Market(
                context,
                _SHAPES,
                lambda _: CheckedBook(ALGORITHMS[VENUE]),
                owner,
                quotes_count=False,
                trades_count=False,
                trades_unique=True,
            ),
            Subscriptions(
                [(spec, streams)] if streams else [],  # a recording asks what a link of this name carried
                StreamCodec(),
                silent_s=context.silent_s,
                request_bytes=facts.REQUEST_BYTES,
                halves=True,
            ),
            RequestBudget(facts.REST_INTERVAL_S, 1),
            carried_by=lambda _: facts.CHANNEL_OF,
            instruments=InstrumentSource(
                "instruments",
                lambda _, at_ns: Request("instruments", facts.INSTRUMENTS_PATH, at_ns),
                messages.instruments,
            ),
            use_shapes=use_shapes,
        )
        self._books = CheckedBooks(self.market, asks_first=True)
        self._seq: dict[Listing, int] = {}  # seqId of the last event of each book
        self._ping_ns = 0

    def on_second(self, now_ns: int) -> None:
        """Keep the connections alive."""
        super().on_second(now_ns)
        if now_ns >= self._ping_ns:
            self._ping_ns = now_ns + facts.PING_S * SECOND_NS
            self.effects += [Send(one.spec.name, b"ping") for one in self.subscriptions.links.values() if one.sockets]

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        message, rows = messages.decode(frame)
        symbol, ident = message.arg.inst_id, message.id
        request = int(ident) if ident.isdecimal() and len(ident) < facts.MOST_DIGITS else None
        match message.event or message.arg.channel:
            case "trades" | "tickers" | "books":
                listing, snapshot = self.market.listings.get(symbol), message.action == "snapshot"
                return listing is not None and self.each(
                    rows, lambda row: self._record(listing, row, ts_recv, snapshot=snapshot)
                )
            case "subscribe" | "unsubscribe":
                self.subscriptions.acknowledge(request, ts_recv, symbol=symbol)
            case "error":
                raise self.refused(request, f"{message.code} {message.msg}", ts_recv, symbol=symbol)
            case "":
                raise RejectError("unknown message", "neither event nor channel")
            case kind:
                count_name(self.counts.ignored_kinds, kind)
        return False

    def _record(self, listing: Listing, row: messages.Row, ts_recv: int, *, snapshot: bool) -> bool:
        ts_event, symbol = epoch_ns(integer(row.ts)), listing.instrument.symbol
        match row:
            case messages.Trade():
                side, last = Side.BUY if row.side == "buy" else Side.SELL, integer(row.trade_id)
                first = messages.first_fill(last, integer(row.count))
                trade = VenueTrade(symbol, last, ts_event, row.px, row.sz, side, first, Flag.AGGREGATE)
                self.market.on_trade(listing, trade, ts_recv)
            case messages.Ticker():
                bid, ask = (row.bid_px or "0", row.bid_sz or "0"), (row.ask_px or "0", row.ask_sz or "0")
                self.market.on_quote(listing, 0, bid, ask, ts_event, ts_recv)
            case messages.Book():
                if snapshot:
                    self._seq[listing] = row.seq_id
                elif not self._continues(listing, row.prev_seq_id, row.seq_id, ts_recv):
                    return True
                checksum = row.checksum or None  # 0 is not a checksum
                self._books.on_event(
                    listing, row.bids, row.asks, checksum, ts_event, ts_recv, depth=facts.DEPTH, snapshot=snapshot
                )
        return True

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record a trade of several fills, or a change of a book."""
        if number == shapes.FILLS:
            rows[0, ORDER_ID] = messages.first_fill(*values)
            self.market.batch.extend(rows, Kind.TRADE)
            return
        listing, (checksum, ts_event, prev, seq) = self.market.listings.by_slot[slot], values
        rows = rows.copy()  # a GAP may overwrite the place where they lie
        if self._continues(listing, prev, seq, ts_recv):
            rows[-1, SIZE] = -checksum if number == shapes.NEGATIVE else checksum
            self._books.on_update(listing, rows if checksum else without_checksum(rows), ts_event, ts_recv)

    def _continues(self, listing: Listing, prev: int, seq: int, ts_recv: int) -> bool:
        """Whether to record a change: False for a repeat. If a change is missing before it, the book is given up."""
        last, self._seq[listing] = self._seq.get(listing, facts.UNCHAINED), seq
        if listing.book.live and facts.UNCHAINED not in (prev, last) and prev != last:
            if seq == last:
                listing.book.duplicates += 1
                return False
            self.snapshots.suspect([listing], ts_recv)
        return True
