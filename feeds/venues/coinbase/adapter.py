"""The adapter of Coinbase Exchange: the specifics of this venue's messages, in the hooks of kit.venue_adapter.

What is recorded where the venue leaves room:

* The side of a trade on the wire is the maker's; the aggressor's is recorded.
* A trade made before the subscription (`last_match`), or one that a heartbeat names and the stream has not brought, is
  recorded in line with flag SNAPSHOT, unless it is known. Consecutive ids and heartbeats show what else is missing.
* A ticker comes with a trade, so quotes rest as trades do. Tickers from before 2022 lack sizes and are left out.
* Books of price levels have neither ids nor checksums; they count as complete while the connection lives.
* Orders one by one (`full`) are counted by their sequence, and begin with all orders over REST. A trade among them is a
  TRADE, then an ORDER_FILL, and the ORDER_CANCEL of a filled order. Feeds of orders take their trades from there.
"""

from __future__ import annotations

from typing import Final

from tickplant.feeds.contract import Answer, Event, Fail, FeedContext
from tickplant.feeds.kit import shape_kernels
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.in_band_adapter import InBandAdapter
from tickplant.feeds.kit.in_band_books import InBandBook
from tickplant.feeds.kit.level_rows import change_rows, whole_book
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import Subscriptions
from tickplant.feeds.venues.coinbase import messages, rest_api, shapes
from tickplant.feeds.venues.coinbase import venue as facts
from tickplant.feeds.venues.coinbase.attribution import owner
from tickplant.feeds.venues.coinbase.newest_trades import NewestTrades
from tickplant.feeds.venues.coinbase.order_rows import SIDES
from tickplant.feeds.venues.coinbase.order_stream import OrderStream
from tickplant.feeds.venues.coinbase.signing import Signer
from tickplant.feeds.venues.coinbase.streams import CHANNELS, StreamCodec, links
from tickplant.records.batch import Rows
from tickplant.records.layouts import Flag

VENUE: Final = "coinbase"
_SHAPES: Final = {False: Shapes(shapes.SHAPES), True: Shapes(shapes.ORDERS)}


class CoinbaseAdapter(InBandAdapter):
    """One feed of products."""

    def __init__(self, context: FeedContext, *, held_records: int = 1 << 20, use_shapes: bool = True) -> None:
        """No events so far.

        Args:
            context: configures the adapter. Secrets `key`, `passphrase` and `secret` sign its subscriptions.
            held_records: order changes held back for their snapshots, over all books.
            use_shapes: False decodes everything with the reference decoder.
        """
        wanted, symbols = "orders" in context.channels, len(context.symbols or ())
        self._orders = OrderStream(wanted=wanted, live=context.live, held_records=held_records, symbols=symbols)
        self._unusable = ""  # why the credential is unusable
        signer = self._signer_of(context)
        market = Market(context, _SHAPES[wanted or not context.live], lambda _: self._orders.new_book(), owner)
        self._codec = StreamCodec(signer, orders=wanted)
        plan = links(context)
        secret = () if signer is None else [spec.name for spec, _ in plan]
        budget, archive = RequestBudget(facts.REST_INTERVAL_S, facts.REST_BURST), rest_api.TradeArchive()
        super().__init__(
            VENUE,
            context,
            market,
            Subscriptions(
                plan,
                self._codec,
                silent_s=context.silent_s,
                symbols_per_link=facts.SYMBOLS_PER_LINK,
                secret=secret,
                halves=True,
            ),
            budget,
            carried_by=lambda _: context.channels or CHANNELS[:3],
            instruments=rest_api.instrument_source(budget),
            history=archive,
            use_shapes=use_shapes,
        )
        self._signer = signer
        self._throttle = SnapshotThrottle(budget)
        self._orders.attach(market, self.links)
        self._newest = NewestTrades(market, archive, budget)

    def _signer_of(self, context: FeedContext) -> Signer | None:
        try:
            if context.secrets:
                return Signer(context.secrets)
            if self._orders.wanted and context.live:
                raise ValueError("the channel orders needs credentials")
        except ValueError as error:
            self._unusable = str(error)
        return None

    # Events.

    def start(self, now_ns: int) -> None:
        """Begin the feed, or fail at once if the venue would refuse every subscription."""
        if self._unusable:
            self.effects.append(Fail(f"{VENUE}: {self._unusable}"))
        else:
            super().start(now_ns)

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        self._codec.now_ns = now_ns  # a signature is valid for half a minute
        super().on_event(event, now_ns)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Ask for all orders over REST, or for price levels with a new subscription."""
        if self._orders.wanted:
            at_ns = self._throttle.next_ns(symbol, now_ns)
            self.effects.append(rest_api.orders_request(symbol, at_ns, self._signer))
        else:
            super().fetch_book(symbol, now_ns)

    def on_second(self, now_ns: int) -> None:
        """Ask for what had to wait, and for what did not come."""
        if self.live:
            self.effects += self._newest.on_second(now_ns)
            if silent := self._newest.take_silent():
                self.links.tell_silent(silent, now_ns)
                self.effects += self.subscriptions.replace(silent)
        super().on_second(now_ns)

    # Messages.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        message = messages.decode(frame)
        match message:
            case messages.Match():
                return self._on_match(message, ts_recv)
            case messages.Ticker():
                return self._on_ticker(message, ts_recv)
            case messages.Update():
                return self._on_update(message, ts_recv)
            case messages.Snapshot():
                return self._on_snapshot(message, ts_recv)
            case messages.Heartbeat():
                self._newest.named(message.product_id, message.last_trade_id, ts_recv)
                count_name(self.counts.ignored_kinds, facts.HEARTBEAT)
            case messages.Subscriptions(channels):
                self.subscriptions.acknowledge_all(self.link, lambda one: self._codec.is_in(one, channels), ts_recv)
            case messages.Refusal():
                self._on_refusal(message, ts_recv)
            case messages.Products(products):
                self.life.take(rest_api.symbol_infos(products), ts_recv, whole=False)
            case messages.Ignored(kind):
                count_name(self.counts.ignored_kinds, kind)
            case _:
                return self._on_order(message, ts_recv)
        return False

    def _on_match(self, match: messages.Match, ts_recv: int) -> bool:
        listing = self.market.listings.get(match.product_id)
        if listing is None:
            return False
        is_old = isinstance(match, messages.LastMatch)
        of_orders = self._orders.wanted and not is_old
        try:
            time_ns = rfc3339_ns(match.time)
            flags = Flag.SNAPSHOT if is_old else 0
            side = rest_api.aggressor(match.side)
            trade = VenueTrade(match.product_id, match.trade_id, time_ns, match.price, match.size, side, flags=flags)
            self.market.on_trade(listing, trade, ts_recv)
            if of_orders:
                self._orders.record(listing, match, time_ns, ts_recv)
        except RejectError as rejected:
            if not rejected.accounted:
                self.market.rejects.add(rejected, listing, "trade", ts_recv, match.trade_id)
            if of_orders:
                self._orders.reject(rejected, listing, match, ts_recv)
            raise
        return True

    def _on_ticker(self, ticker: messages.Ticker, ts_recv: int) -> bool:
        sides = (ticker.best_bid, ticker.best_bid_size), (ticker.best_ask, ticker.best_ask_size)
        if ticker.best_bid_size is None and ticker.best_ask_size is None:
            count_name(self.counts.ignored_kinds, "ticker without sizes")
            return False
        listing = self.market.listings.get(ticker.product_id)
        if listing is None:
            return False
        try:
            time_ns = _time(ticker.time)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "quote", ts_recv, ticker.sequence)
            raise
        bid, ask = ((price or "0", size or "0") for price, size in sides)
        self.market.on_quote(listing, ticker.sequence, bid, ask, time_ns, ts_recv)
        return True

    def _on_refusal(self, refusal: messages.Refusal, ts_recv: int) -> None:
        why = f"{refusal.message} {refusal.reason}".strip()
        if "authenticat" in why.lower():
            # No other attempt would end differently.
            self.effects.append(Fail(f"{VENUE}: the venue does not accept the credential: {why[:200]}"))
        raise self.refused(None, why, ts_recv)

    # Books of price levels.

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record a whole book, or a change of one order."""
        listing = self.market.listings.by_slot[slot]
        if number != shapes.SNAPSHOT:
            if self._orders.is_followed():
                self._orders.give(number, listing, rows, values, ts_recv)
            else:
                count_name(self.counts.ignored_kinds, facts.FULL)
            return
        self._record_book(listing, whole_book(listing.instrument, rows, values[0], ts_recv), values[0], ts_recv)

    def _on_update(self, update: messages.Update, ts_recv: int) -> bool:
        listing = self.market.listings.get(update.product_id)
        if listing is None:
            return False
        try:
            changes = [(SIDES[side], price, size) for side, price, size in update.changes]
            rows = change_rows(listing.instrument, changes, _time(update.time), ts_recv)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "book", ts_recv)
            raise
        self.snapshots.on_update(listing, rows)
        return True

    def _on_snapshot(self, snapshot: messages.Snapshot, ts_recv: int) -> bool:
        listing = self.market.listings.get(snapshot.product_id)
        if listing is None:
            return False
        levels = [(SIDES["buy"], *level) for level in snapshot.bids] + [
            (SIDES["sell"], *level) for level in snapshot.asks
        ]
        try:
            time_ns = _time(snapshot.time)
            rows = change_rows(listing.instrument, levels, time_ns, ts_recv, flags=Flag.SNAPSHOT)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "book", ts_recv)
            raise
        self._record_book(listing, whole_book(listing.instrument, rows, time_ns, ts_recv), time_ns, ts_recv)
        return True

    def _record_book(self, listing: Listing, rows: Rows, ts_event: int, ts_recv: int) -> None:
        if isinstance(listing.book, InBandBook):  # a feed of orders does not need it
            self.snapshots.on_snapshot(listing, listing.book, rows, ts_event, ts_recv)

    # Orders, and answers.

    def _on_order(self, message: messages.Order, ts_recv: int) -> bool:
        listing = self.market.listings.get(message.product_id)
        if listing is None or not self._orders.is_followed():
            count_name(self.counts.ignored_kinds, facts.FULL)
            return False
        try:
            self._orders.record(listing, message, _time(message.time), ts_recv)
        except RejectError as rejected:
            self._orders.reject(rejected, listing, message, ts_recv)
            raise
        return True

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Record all orders of a product, or trades that its stream has not brought."""
        kind, _, symbol = answer.request.key.partition(" ")
        take = {rest_api.ORDERS: self._orders.on_answer, rest_api.NEWER: self._newest.answered}.get(f"{kind} ")
        known = self.market.listings
        try:
            listing = known.by_symbol.get(symbol) if self.live else known.get(symbol)
        except RejectError:
            return  # no feed can have asked for this symbol
        if take is None or listing is None:
            return
        if answer.status != 200:
            if take == self._orders.on_answer:
                self._orders.retry(listing, now_ns)
            return
        self.counts.frames += 1
        try:
            recorded = take(listing, answer, now_ns)
            self.counts.parsed += recorded
            self.counts.ignored += not recorded
        except RejectError as rejected:
            rejected.accounted = True  # the next trade, or the next book, shows what is missing
            self.reject(rejected, answer.body, now_ns)


def _time(text: str) -> int:
    return rfc3339_ns(text) if text else 0


warm_up: Final = shape_kernels.warm_up
"""Compile or load all kernels of this venue."""
