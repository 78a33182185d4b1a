"""The part of an adapter that is the same for all venues; a venue defines how its messages are read.

    class MyAdapter(VenueAdapter):
        def read(self, frame, ts_recv): …             the reference decoder
        def give(self, number, slot, rows, values, ts_recv): …     what its shapes give
        def fetch_book(self, symbol, now_ns): …       a snapshot is wanted
        def answered(self, answer, now_ns): …         answers to requests of its own

docs/venues.md explains this with an example.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar, assert_never

import msgspec

from tickplant.feeds.contract import (
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
    Resumed,
    Resync,
    Second,
    Symbols,
)
from tickplant.feeds.kit.instrument_life import InstrumentLife, InstrumentSource
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.past_trades import PastTrades
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.stream_links import StreamLinks
from tickplant.feeds.kit.subscriptions import Link, Subscriptions
from tickplant.feeds.kit.symbol_changes import SymbolChanges, SymbolHooks
from tickplant.feeds.kit.trade_backfill import TradeHistory
from tickplant.feeds.rejections import TROUBLE_FRAMES
from tickplant.records.batch import Rows
from tickplant.records.layouts import Kind, StatusCode

REJECT_BYTES: Final = 1 << 20
"""Limit for the part of a rejected frame that is kept."""


NAMED_REJECTS: Final = 8
"""Number of rejected parts of a frame that are named besides the first."""

TRADES: Final = frozenset({"trade", "agg_trade"})
"""Channels whose newest id the venue can be asked for."""

Part = TypeVar("Part")


class VenueAdapter(SymbolHooks, abc.ABC):
    """Implements `tickplant.feeds.contract.Adapter`, except for the hooks below and those of SymbolHooks."""

    def __init__(
        self,
        venue: str,
        context: FeedContext,
        market: Market,
        subscriptions: Subscriptions,
        budget: RequestBudget,
        *,
        carried_by: Callable[[str], Iterable[str]],
        instruments: InstrumentSource | None = None,
        history: TradeHistory | None = None,
        use_shapes: bool = True,
    ) -> None:
        """No events so far.

        Args:
            venue: its name.
            context: of the feed.
            market: its instruments.
            subscriptions: its links.
            budget: limits the requests to the venue.
            carried_by: gives the channels that a link of this name carries.
            instruments: how to ask the venue for its instrument data; None if the venue pushes them.
            history: how to ask the venue for past trades, where that is possible.
            use_shapes: False decodes everything with the reference decoder.
        """
        self.venue = venue
        self.market = market
        self.subscriptions = subscriptions
        self.budget = budget
        self.live = context.live
        subscriptions.prepare(context.symbols or (), context.connections)
        self.links = StreamLinks(market, subscriptions, carried_by, live=context.live)
        self.life = InstrumentLife(venue, context, market, subscriptions, instruments)
        self.changes = SymbolChanges(context, market, subscriptions, self.life, self)
        self.counts = FeedCounters()
        self.effects: list[Effect] = []
        self.link = ""  # the link that brought the frame being read
        self._past = None if history is None else PastTrades(history, budget, market, self.counts, self.reject)
        self._instruments = instruments
        self._use_shapes = use_shapes
        self._scan, self._refer, self._give = market.listings.reader.read, self.refer, self.give
        self._rejects: list[Reject] = []
        self._rejects_kept = context.rejects_kept
        self._rejects_of: dict[str, int] = {}
        self._unread_in_row = 0  # frames of no stream rejected since one was parsed
        self._parsed_then = 0  # frames parsed when the last of them came

    # What a venue defines.

    @abc.abstractmethod
    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame; False for a message of a kind that is not recorded. Raises RejectError."""

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record, hold or drop what a shape gives; see shape_reader.Give. For venues whose shapes have a Give."""
        raise NotImplementedError(f"{self.venue}: its shapes give an event that its adapter does not take")

    @abc.abstractmethod
    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Add the effects that fetch a snapshot of a book."""

    def opened(self, link: Link, now_ns: int) -> None:
        """Subscribe over a socket that is up."""
        self.effects += self.subscriptions.subscribe(link, now_ns, self.due(link, link.streams))

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Take in the answer to a request of the venue's own adapter, live or recorded. Nothing by default."""
        del answer, now_ns

    def ended(self) -> None:
        """Act on the end of the events for now. Nothing by default."""
        return

    # The contract.

    @property
    def counters(self) -> FeedCounters:
        """Counts so far; read the property again for newer numbers."""
        market, counts = self.market, self.counts
        reader = market.listings.reader
        kinds = {Kind(kind): number for kind, number in enumerate(market.batch.kinds) if number}
        for kind, number in reader.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + number
        books = [listing.book for listing in market.listings.by_slot]
        return msgspec.structs.replace(
            counts,
            parsed=counts.parsed + reader.parsed,
            kinds={kind.name.lower(): number for kind, number in sorted(kinds.items()) if number},
            duplicates=market.duplicates + reader.duplicates + sum(book.duplicates for book in books),
            gaps=market.emit.gaps,
            resyncs=market.resyncs,
            checksums_ok=sum(book.agreed for book in books),
            checksums_failed=sum(book.failed for book in books),
            fallbacks=sum(reader.fallbacks.values()),
            ignored_kinds=dict(counts.ignored_kinds),
            off_book=dict(counts.off_book),
        )

    @property
    def trouble(self) -> str:
        """A sentence if every frame of a subscribed stream is being rejected, else empty."""
        if self._unread_in_row >= TROUBLE_FRAMES and self._parsed_then == self._parsed:
            return "no message can be read: all are rejected"
        return self.market.rejects.trouble()

    @property
    def _parsed(self) -> int:
        return self.counts.parsed + self.market.listings.reader.parsed

    def start(self, now_ns: int) -> None:
        """Ask for the instrument data, from which the links follow; if the venue pushes them, open the links."""
        self.market.ts_recv = now_ns  # a time for records made before the first frame
        self.life.start(now_ns)
        if self._instruments is None:
            self._open_links()

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        if isinstance(event, Frames):  # the usual case, and cheaper than a pattern
            self._on_frames(event.link, event.frames, now_ns)
            return
        match event:
            case Second():
                self.on_second(now_ns)
            case Answer():
                self._on_answer(event, now_ns)
            case Opened(name):
                if (opened := self.links.find(name)) is not None:
                    self.links.on_open(opened, now_ns)
                    self.opened(opened, now_ns)
            case Closed(name):
                if (closed := self.links.find(name)) is not None:
                    self.links.on_close(closed, now_ns)
            case Resync(symbol):
                for name, listing in self.market.listings.by_symbol.items():
                    # Without a snapshot so far, the first one is still coming, or the feed records no book.
                    if symbol in ("", name) and (listing.book.live or listing.snapshots_asked):
                        listing.book.refresh()
                        self.market.record(listing, (), 0, now_ns)
                self.follow_up()
            case Symbols():
                self.changes.change(event, now_ns)
                self.follow_up()
            case Resumed(last):
                self.market.ts_recv = now_ns
                self.market.resume(last)
            case Continued(before):
                self.market.listings.before = before
            case Ended():
                self.ended()
                for listing in self.market.listings.by_slot:
                    self.market.release(listing)
                self.market.rejects.release_unread()
            case _:
                assert_never(event)

    def take(self) -> Output:
        """See the contract."""
        ticks = self.market.batch.take()
        self.counts.ticks += len(ticks)
        if not (self.effects or self.life.effects or self.changes.effects or self._rejects):
            return Output(ticks)
        effects, self.effects = self.effects + self.life.effects + self.changes.effects, []
        self.life.effects, self.changes.effects = [], []
        rejects, self._rejects = self._rejects, []
        return Output(ticks, effects, rejects)

    # Events.

    def _open_links(self) -> None:
        self.effects += [Open(link.spec) for link in self.subscriptions.links.values()]

    def _on_frames(self, link: str, frames: Sequence[bytes], ts_recv: int) -> None:
        self.link = link
        self.counts.frames += len(frames)
        if (known := self.subscriptions.links.get(link)) is not None:
            known.heard_ns = ts_recv
            known.frames += len(frames)
        market = self.market
        market.emit.ts_recv = ts_recv
        if market.rejects.unread.waiting:
            market.rejects.tell_unread(ts_recv)
        if self._use_shapes:
            self._scan(frames, ts_recv, market.batch, self._refer, self._give)
        else:
            for frame in frames:
                self.refer(frame, ts_recv)
        self.follow_up()

    def refer(self, frame: bytes, ts_recv: int) -> None:
        """Record one frame with the reference decoder, or reject it."""
        try:
            recorded = self.read(frame, ts_recv)
        except RejectError as rejected:
            self.reject(rejected, frame, ts_recv)
            return
        self.counts.parsed += recorded
        self.counts.ignored += not recorded

    def each(self, parts: Iterable[Part], record: Callable[[Part], bool]) -> bool:
        """Record the parts of a frame; returns whether any was recorded. A rejected part does not affect the others.

        A frame is rejected once. Raises the RejectError of the first rejected part without a GAP of its own, or, if all
        have one, of the first rejected part; its detail names the other parts.
        """
        recorded = False
        rejected: list[RejectError] = []
        for part in parts:
            try:
                recorded |= record(part)
            except RejectError as error:
                rejected.append(error)
        if not rejected:
            return recorded
        if any(each.cause == "scale" for each in rejected):
            self.life.doubt(self.market.ts_recv)
        first = next((each for each in rejected if not each.accounted), rejected[0])
        if others := [f"{each.cause}: {each.detail[:200]}" for each in rejected if each is not first]:
            first.detail = "; ".join([first.detail, *others[:NAMED_REJECTS]])
        raise first

    def follow_up(self) -> None:
        """Ask for what the market wants, and decide on added symbols."""
        if self.changes.open:
            self.changes.look(self.market.ts_recv)
        if self.market.snapshots_wanted:
            wanted, self.market.snapshots_wanted = self.market.snapshots_wanted, []
            for symbol, now_ns in wanted:
                if not self.life.is_gone(symbol):
                    self.fetch_book(symbol, now_ns)
        if self.market.holes:
            if self._past is None:
                self.market.holes.clear()
            else:
                self.effects += self._past.fetch_missed(asking=self.live and self.life.ready)

    def on_second(self, now_ns: int) -> None:
        """Check the deadlines of subscriptions, probes and polls."""
        self.market.rejects.tell_unread(now_ns)
        self.life.on_second(now_ns)
        if self.changes.open:
            self.changes.look(now_ns)
        effects, replaced = self.links.on_second(now_ns)
        self.effects += effects
        if replaced:
            self.life.doubt(now_ns)
        if self._past is not None:
            self.effects += [
                self._past.probe.ask(stream, now_ns) for stream in self.subscriptions.quiet if stream.channel in TRADES
            ]
            if silent := self._past.probe.silent(now_ns, self.market.last_trade):
                self.links.tell_silent(silent, now_ns)
                self.effects += self.subscriptions.replace(silent)
        self.subscriptions.quiet.clear()

    def _on_answer(self, answer: Answer, now_ns: int) -> None:
        self.market.ts_recv = retry_ns = now_ns
        if answer.retry_after_s is not None and self.live:
            retry_ns += int(answer.retry_after_s * SECOND_NS)
            self.budget.pause(retry_ns)
        if self.life.knows(answer.request):
            if self.live:
                was_ready = self.life.ready
                self.life.on_answer(answer, now_ns, retry_ns)
                if self.life.ready and not was_ready:
                    self._open_links()
            elif answer.status == 200:
                self._on_recorded_instruments(answer, now_ns)
        elif self._past is not None and self._past.knows(answer.request):
            if self.live:
                self.effects += self._past.on_answer(answer, now_ns)
                if self._past.probe.is_doubtful(answer):
                    self.life.doubt(now_ns)
            else:
                self._past.on_recorded(answer, now_ns)
        else:
            self.answered(answer, now_ns)
        self.follow_up()

    def _on_recorded_instruments(self, answer: Answer, now_ns: int) -> None:
        # Recorded by a feed of ours, which asks for the data of all symbols: a symbol not in them is not listed.
        self.counts.frames += 1
        try:
            infos = self._instruments.read(answer.body) if self._instruments else ()
        except RejectError as rejected:
            rejected.accounted = True  # no market data
            self.reject(rejected, answer.body, now_ns)
            return
        self.counts.ignored += 1
        if infos:
            self.life.take(infos, now_ns, whole=True)

    # Rejects.

    def refused(self, request: int | str | None, reason: str, ts_recv: int, *, symbol: str = "") -> RejectError:
        """Note that the venue has refused a subscription; returns the error to raise."""
        streams = self.subscriptions.refuse(self.link, request, ts_recv, symbol=symbol)
        self.counts.refused += 1
        self.changes.refused([stream.symbol for stream in streams] or [symbol], reason)
        self.life.doubt(ts_recv)
        self.market.status(StatusCode.SUBSCRIPTION_REFUSED, ts_recv)
        rejected = RejectError("subscription refused", f"{reason} {self.subscriptions.names(streams)}".rstrip())
        rejected.accounted = True
        return rejected

    def reject(self, rejected: RejectError, raw: bytes, ts_recv: int) -> None:
        """Reject a frame or an answer that cannot be recorded."""
        self.counts.rejected += 1
        if not rejected.accounted and not self.market.rejects.add_unread(rejected, raw, ts_recv):
            parsed = self._parsed
            self._unread_in_row = self._unread_in_row + 1 if parsed == self._parsed_then else 1
            self._parsed_then = parsed
        if rejected.cause == "scale":
            self.life.doubt(ts_recv)
        number = self._rejects_of.get(rejected.cause, 0)
        self._rejects_of[rejected.cause] = number + 1
        if number < self._rejects_kept:
            self._rejects.append(Reject(rejected.cause, raw[:REJECT_BYTES], ts_recv, rejected.detail))
