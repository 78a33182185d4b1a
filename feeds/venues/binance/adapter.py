"""The Binance adapter: frames and REST answers in; ticks, requests and actions out. No I/O, no clock.

In its package, messages.py (reference decoder) and shapes.py (what the kernel reads) are the messages, market.py makes
ticks of them, book_sync.py has the book's rules, subscriptions.py the connections.

What is recorded where the venue leaves room:

* A diff without levels moves the book's id and leaves no record. Completeness of a book does not rest on the ids in
  the store (they are not consecutive), but on every hole being a GAP.
* Diffs held back for a snapshot keep their own ts_recv, so within one instrument ts_recv may step back there.
* A diff that arrives after the snapshot which contains it is dropped and counted as a duplicate.
* Partial books (depth5, 10, 20) become CLEAR and LEVELs with flag PARTIAL. Without the stream's name, so on a raw
  connection, a futures partial book cannot be told from a diff, and one of spot not from a small snapshot (see
  unnamed.py); this adapter subscribes to neither.
* Fills that were not made on the book (futures, `X` other than MARKET) use up their ids, and are counted by origin.
* A rejected frame is a GAP (REJECTED) at once, on its stream where that is known, else on `*` (feeds/rejections.py).
* What the venue changes about its instruments while the feed runs is told and followed (life.py).
* CONNECTED, DISCONNECTED and HANDOVER carry the ON_ flags of the channels concerned. DISCONNECTED is on each instrument
  that the connection carried, since it makes books stale; what is on `*` is to be known, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, assert_never
from urllib.parse import quote

import msgspec

from tickplant.feeds.contract import (
    ON_CHANNEL,
    WS,
    Answer,
    Closed,
    Continued,
    Effect,
    Ended,
    Event,
    FeedContext,
    FeedCounters,
    Frames,
    Open,
    Opened,
    Output,
    Reject,
    Request,
    Resubscribe,
    Resumed,
    Resync,
    Second,
)
from tickplant.feeds.kit import shape_kernels, state_table
from tickplant.feeds.rejections import TROUBLE_FRAMES
from tickplant.feeds.venues.binance import life, messages
from tickplant.feeds.venues.binance.levels import snapshot_rows
from tickplant.feeds.venues.binance.market import Listing, Market, count_name
from tickplant.feeds.venues.binance.messages import RejectError, decode, to_ns
from tickplant.feeds.venues.binance.past_trades import PastTradeDesk
from tickplant.feeds.venues.binance.probe import SYMBOL_REFUSED
from tickplant.feeds.venues.binance.snapshots import SECOND_NS, RequestBudget, SnapshotThrottle
from tickplant.feeds.venues.binance.subscriptions import Link, Stream, Subscriptions
from tickplant.feeds.venues.binance.unnamed import Book, Unnamed, UnnamedSnapshots
from tickplant.feeds.venues.binance.venue import SPOT, USDM, Rules
from tickplant.records.layouts import Kind, StatusCode

DEPTH_KEY: Final = "depth "
REJECT_BYTES: Final = 1 << 20
"""More of a rejected frame is not kept."""

_SEEN: Final = {"quote": state_table.SEEN_QUOTE, "book": state_table.SEEN_BOOK}


class BinanceAdapter:
    """One feed of spot or USD-M futures; implements `tickplant.feeds.contract.Adapter`."""

    def __init__(
        self,
        rules: Rules,
        context: FeedContext,
        *,
        held_records: int = 1 << 20,
        use_scanner: bool = True,
    ) -> None:
        """Nothing happens yet.

        Args:
            rules: which venue.
            context: what every adapter is made of. Its endpoint `ws` is a base address that carries all streams.
            held_records: levels held back for snapshots, of all books together (64 bytes each); each has its share.
            use_scanner: False decodes everything with the reference decoder.
        """
        symbols = context.symbols
        self.venue = rules.venue
        self._rules = rules
        self._live = context.live
        self._market = Market(symbols, context.resolve, futures=rules.futures, held_records=held_records)
        self._unnamed = UnnamedSnapshots(self._market.listings, self._on_owner, futures=rules.futures)
        self._market.unnamed = self._unnamed
        self._subscriptions = Subscriptions(
            rules, symbols or (), context.channels, ws_url=context.endpoints.get(WS, ""), silent_s=context.silent_s
        )
        self._counters = FeedCounters()
        self._budget = RequestBudget(rules.snapshot_interval_s, rules.snapshot_burst)
        self._throttle = SnapshotThrottle(self._budget)
        self._life = life.InstrumentLife(
            rules,
            symbols,
            self._market,
            self._subscriptions,
            self._budget,
            poll_s=context.instrument_poll_s,
            known=context.known,
        )
        self._trades = PastTradeDesk(rules, self._budget, self._market, self._counters, self._reject)
        self._marks: dict[Stream, int | None] = {}  # newest trade of a stream when it was last looked at
        self._use_scanner = use_scanner
        self._connection = ""  # the frame being read came over it
        self._linked = False  # the links were asked for
        self._effects: list[Effect] = []
        self._rejects: list[Reject] = []
        self._rejects_kept = context.rejects_kept
        self._rejects_of: dict[str, int] = {}
        self._unread_in_row = 0  # frames of no stream, rejected since one was parsed
        self._parsed_then = 0  # frames parsed when the last of them came

    @property
    def counters(self) -> FeedCounters:
        """What was seen so far; read it again for newer numbers."""
        market, counters = self._market, self._counters
        reader = market.reader
        kinds = {Kind(kind): number for kind, number in enumerate(market.batch.kinds) if number}
        for kind, number in reader.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + number
        books = sum(listing.sync.duplicates for listing in market.listings.values())
        return msgspec.structs.replace(
            counters,
            parsed=counters.parsed + reader.parsed,
            kinds={kind.name.lower(): number for kind, number in sorted(kinds.items()) if number},
            duplicates=market.duplicates + reader.duplicates + books,
            gaps=market.gaps,
            resyncs=market.resyncs,
            fallbacks=market.fallbacks,
            ignored_kinds=dict(counters.ignored_kinds),
            off_book=dict(market.off_book),
        )

    @property
    def trouble(self) -> str:
        """A sentence where every frame of a subscribed stream is being rejected, else empty."""
        if self._unread_in_row >= TROUBLE_FRAMES and self._parsed_then == self._parsed:
            return "no message can be read: all are rejected"
        return self._market.rejects.trouble()

    @property
    def _parsed(self) -> int:
        return self._counters.parsed + self._market.reader.parsed

    # Lifecycle.

    def start(self, now_ns: int) -> None:
        """Ask for the instrument data; the links follow from the answer."""
        self._market.ts_recv = now_ns  # whatever is recorded before the first frame has a time
        self._life.start()

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        match event:
            case Frames(link, frames):
                self._on_frames(link, frames, now_ns)
            case Second():
                self._on_second(now_ns)
            case Answer():
                self._on_answer(event, now_ns)
            case Opened(link):
                self._on_open(link, now_ns)
            case Closed(link):
                self._on_close(link, now_ns)
            case Resync(symbol):
                for name, listing in self._market.listings.items():
                    if symbol in ("", name):
                        listing.sync.refresh()
            case Resumed(last):
                self._market.ts_recv = now_ns
                self._market.resume(last)
            case Continued(before):
                self._market.go_on(before)
            case Ended():
                self._unnamed.finish()
                for listing in self._market.listings.values():
                    self._market.release(listing)
                self._market.rejects.release_unread()
            case _:
                assert_never(event)

    def take(self) -> Output:
        """See the contract."""
        ticks = self._market.batch.take()
        self._counters.ticks += len(ticks)
        if not (self._effects or self._life.effects or self._rejects):
            return Output(ticks)
        effects, self._effects = self._effects + self._life.effects, []
        self._life.effects = []
        rejects, self._rejects = self._rejects, []
        return Output(ticks, effects, rejects)

    def _link(self, name: str) -> Link | None:
        link = self._subscriptions.links.get(name)
        return self._subscriptions.recorded(name) if link is None and not self._live else link

    def _on_open(self, connection: str, ts_ns: int) -> None:
        link = self._link(connection)
        if link is None:
            return
        link.sockets += 1
        link.replacing = False
        self._update_overlap()
        self._clear_seen(link)
        self._effects += self._subscriptions.subscribe(link, ts_ns)
        self._market.status(StatusCode.CONNECTED, ts_ns, flags=_flags(link))

    def _on_close(self, connection: str, ts_ns: int) -> None:
        link = self._link(connection)
        if link is None or (link.sockets == 0 and self._live):
            return
        link.sockets = max(link.sockets - 1, 0)  # a capture may begin while it is open
        self._update_overlap()
        if link.sockets:
            self._clear_seen(link)
            self._subscriptions.restart_watch(link, ts_ns)
            self._market.status(StatusCode.HANDOVER, ts_ns, flags=_flags(link))
            return
        link.replacing = False
        lost: dict[Listing, int] = {}
        symbols = self._market.listings if not self._live else ()
        everything = [Stream(symbol, channel) for symbol in symbols for channel in sorted(link.channels)]
        for stream in link.streams or everything:
            if (listing := self._market.listings.get(stream.symbol)) is not None:
                self._market.interrupt(listing, stream.channel, ts_ns)
                lost[listing] = lost.get(listing, 0) | ON_CHANNEL[stream.channel]
        for listing, flags in lost.items():
            self._market.status(StatusCode.DISCONNECTED, ts_ns, listing.instrument, flags=flags)

    def _on_second(self, now_ns: int) -> None:
        # Replace links whose subscriptions are unanswered or silent; ask again for what was refused.
        self._market.rejects.tell_unread(now_ns)
        self._life.on_second(now_ns)
        self._effects += self._subscriptions.again(now_ns)
        for reconnect, silent in self._subscriptions.overdue(now_ns, self._delivered):
            self._tell_silent(silent, now_ns)
            self._effects.append(reconnect)
            self._life.doubt(now_ns)
        self._effects += [self._trades.probe.ask(stream, now_ns) for stream in self._subscriptions.quiet]
        self._subscriptions.quiet.clear()
        if silent := self._trades.probe.silent(now_ns, self._market.last_trade):
            self._tell_silent(silent, now_ns)
            self._effects += self._subscriptions.replace(silent)

    def _tell_silent(self, silent: Sequence[Stream], now_ns: int) -> None:
        for stream in silent:
            listing = self._market.listings.get(stream.symbol)
            if listing is not None:
                code = StatusCode.SUBSCRIPTION_SILENT
                self._market.status(code, now_ns, listing.instrument, flags=ON_CHANNEL[stream.channel])
                self._market.doubt(listing, stream.channel)

    # Frames.

    def _on_frames(self, connection: str, frames: Sequence[bytes], ts_recv_ns: int) -> None:
        self._connection = connection
        self._counters.frames += len(frames)
        self._market.ts_recv = ts_recv_ns
        self._market.rejects.tell_unread(ts_recv_ns)
        if self._use_scanner:
            self._market.scan(frames, ts_recv_ns, self._read)
        else:
            for frame in frames:
                self._read(frame, ts_recv_ns)
        if self._market.snapshots_wanted:
            self._request_snapshots()
        if self._market.holes:
            self._effects += self._trades.fetch_missed(asking=self._life.ready)

    def _on_recorded_answer(self, answer: Answer, ts_recv: int) -> None:
        key = answer.request.key
        if self._trades.knows(answer.request):
            self._trades.on_recorded(answer, ts_recv)
        elif key != life.KEY:
            self._market.listing(key.removeprefix(DEPTH_KEY))
            self._on_depth(answer, ts_recv)
        elif answer.status == 200:
            self._on_recorded_instrument_data(answer, ts_recv)

    def _on_recorded_instrument_data(self, answer: Answer, ts_recv: int) -> None:
        # Of a feed of ours, which asks for the data of all symbols: what is not in it is not listed.
        self._counters.frames += 1
        self._market.ts_recv = ts_recv
        try:
            info = decode(answer.body)
        except RejectError as rejected:
            rejected.accounted = True  # no market data
            self._reject(rejected, answer.body, ts_recv)
            return
        self._counters.ignored += 1
        if isinstance(info, messages.ExchangeInfo) and info.symbols:
            self._life.take(info, ts_recv, whole=True)

    def _read(self, body: bytes, ts_recv: int) -> None:
        # The reference decoder's way from bytes to ticks.
        try:
            if self._record(decode(body), body, ts_recv):
                self._counters.parsed += 1
            else:
                self._counters.ignored += 1
        except RejectError as rejected:
            self._reject(rejected, body, ts_recv)

    def _record(self, message: messages.Message, body: bytes, ts_recv: int) -> bool:
        # Whether the message was recorded, or held, or known already. Raises RejectError.
        market = self._market
        match message:
            case messages.Trade():
                return market.on_trade(message, ts_recv)
            case messages.AggTrade():
                return market.on_agg_trade(message, ts_recv)
            case messages.BookTicker():
                return market.on_quote(message, ts_recv)
            case messages.Diff():
                return market.on_diff(message, ts_recv)
            case messages.PartialDepth():
                return market.on_partial(message, ts_recv)
            case messages.Snapshot():
                self._unnamed.add(Unnamed(message, body, ts_recv))
                return True
            case messages.NamedSnapshot():
                listing = market.listing_of_stream(message.stream_symbol)
                return listing is not None and self._on_snapshot(listing, message.body, ts_recv)
            case messages.Answer():
                self._subscriptions.acknowledge(message.id, ts_recv)
                return False
            case messages.Refusal():
                raise self._refused(message, ts_recv)
            case messages.Shutdown():
                self._on_shutdown(message, ts_recv)
                return True
            case messages.ExchangeInfo():
                self._life.take(message, ts_recv, whole=False)
                return False
            case messages.Ignored():
                count_name(self._counters.ignored_kinds, message.kind)
                return False

    def _on_shutdown(self, notice: messages.Shutdown, ts_recv: int) -> None:
        self._market.status(StatusCode.SHUTDOWN_NOTICE, ts_recv, ts_event=to_ns(notice.time))
        link = self._subscriptions.links.get(self._connection)
        if link is not None and not link.replacing:
            link.replacing = True
            self._effects.append(Resubscribe(self._connection, "the venue is shutting it down", overlap=True))

    def _refused(self, refusal: messages.Refusal, ts_recv: int) -> RejectError:
        streams = self._subscriptions.refuse(self._connection, refusal.id, ts_recv)
        self._counters.refused += 1
        self._life.doubt(ts_recv)
        self._market.status(StatusCode.SUBSCRIPTION_REFUSED, ts_recv)
        names = ", ".join(stream.name for stream in streams[:5]) + (", …" if len(streams) > 5 else "")
        rejected = RejectError("subscription refused", f"{refusal.code} {refusal.text} {names}".rstrip())
        rejected.accounted = True
        return rejected

    def _reject(self, rejected: RejectError, raw: bytes, ts_recv: int) -> None:
        self._counters.rejected += 1
        if not rejected.accounted and not self._market.rejects.add_unread(rejected, raw, ts_recv):
            parsed = self._parsed
            self._unread_in_row = self._unread_in_row + 1 if parsed == self._parsed_then else 1
            self._parsed_then = parsed
        if rejected.cause == "scale":
            self._life.doubt(ts_recv)
        number = self._rejects_of.get(rejected.cause, 0)
        self._rejects_of[rejected.cause] = number + 1
        if number < self._rejects_kept:
            self._rejects.append(Reject(rejected.cause, raw[:REJECT_BYTES], ts_recv, rejected.detail))

    # REST.

    def _on_answer(self, answer: Answer, now_ns: int) -> None:
        if not self._live:
            self._on_recorded_answer(answer, now_ns)
            return
        retry_ns = now_ns
        if answer.retry_after_s is not None:
            retry_ns += int(answer.retry_after_s * SECOND_NS)
            self._budget.pause(retry_ns)
        if answer.request.key == life.KEY:
            self._life.on_answer(answer, now_ns, retry_ns)
            if self._life.ready and not self._linked:
                self._linked = True
                self._effects += [Open(link.spec) for link in self._subscriptions.links.values()]
        elif self._trades.knows(answer.request):
            self._effects += self._trades.on_answer(answer, now_ns)
            if self._trades.probe.is_doubtful(answer):
                self._life.doubt(now_ns)
        else:
            self._on_depth(answer, now_ns)

    def _on_depth(self, answer: Answer, ts_recv: int) -> None:
        listing = self._market.listings.get(answer.request.key.removeprefix(DEPTH_KEY))
        if listing is None:
            return
        self._market.ts_recv = ts_recv
        if answer.status == 200:
            self._counters.frames += 1
            try:
                recorded = self._on_snapshot(listing, answer.body, ts_recv)
                self._counters.parsed += recorded
                self._counters.ignored += not recorded
            except RejectError as rejected:
                self._market.on_rejected_snapshot(listing, rejected, ts_recv)
                self._reject(rejected, answer.body, ts_recv)
        else:
            self._market.retry_snapshot(listing, ts_recv)
            if answer.status in SYMBOL_REFUSED:
                self._life.doubt(ts_recv)
        self._request_snapshots()

    def _request_snapshots(self) -> None:
        rules = self._rules
        for symbol, now_ns in self._market.snapshots_wanted:
            if self._life.is_gone(symbol):
                continue
            path = f"{rules.rest_prefix}/depth?symbol={quote(symbol)}&limit={rules.snapshot_levels}"
            self._effects.append(Request(DEPTH_KEY + symbol, path, self._throttle.next_ns(symbol, now_ns)))
        self._market.snapshots_wanted.clear()

    def _on_snapshot(self, listing: Listing, body: bytes, ts_recv: int) -> bool:
        return self._market.on_snapshot(listing, *snapshot_rows(listing.instrument, body, ts_recv))

    def _on_owner(self, snapshot: Unnamed, book: Book | None, rejected: RejectError | None) -> None:
        # Until now it was held, and so counted as parsed.
        if rejected is not None:
            self._counters.parsed -= 1
            self._reject(rejected, snapshot.body, snapshot.ts_recv)
        elif isinstance(book, Listing):
            try:
                recorded = self._market.on_snapshot(book, snapshot.id, snapshot.rows(book.instrument))
            except RejectError as error:
                self._counters.parsed -= 1
                self._reject(error, snapshot.body, snapshot.ts_recv)
                return
            self._counters.parsed -= not recorded
            self._counters.ignored += not recorded

    # Streams.

    def _update_overlap(self) -> None:
        self._market.overlapping = any(link.sockets > 1 for link in self._subscriptions.links.values())

    def _clear_seen(self, link: Link) -> None:
        for stream in link.streams:
            listing = self._market.listings.get(stream.symbol)
            if listing is not None:
                self._delivered(stream)

    def _delivered(self, stream: Stream) -> bool:
        listing = self._market.listings.get(stream.symbol)
        if listing is None:
            return False
        if stream.channel not in _SEEN:
            before, self._marks[stream] = self._marks.get(stream), self._market.last_trade(stream)
            return before != self._marks[stream]
        row, column = self._market.state[listing.slot], _SEEN[stream.channel]
        seen, row[column] = bool(row[column]), 0
        return seen


def _flags(link: Link) -> int:
    flags = 0
    for channel in link.channels:
        flags |= ON_CHANNEL[channel]
    return flags


spot: Final = partial(BinanceAdapter, SPOT)
"""Makes the adapter of a spot feed."""

usdm: Final = partial(BinanceAdapter, USDM)
"""Makes the adapter of a USD-M futures feed."""

warm_up: Final = shape_kernels.warm_up
