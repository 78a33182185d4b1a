"""Symbols added or removed while the feed runs. Pure.

An added symbol that the venue's instrument data list is recorded from that moment on: ADDED, then whatever comes. If
they do not list it, the venue is asked; if its next complete answer does not list the symbol either, the symbol does
not exist. A removed symbol is DISCONNECTED and REMOVED; what still arrives for it is ignored. If it is added again, its
streams continue after GAPs, as after any interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tickplant.feeds.contract import Effect, FeedContext, Followed, Symbols
from tickplant.feeds.kit.instrument_life import InstrumentLife
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.subscriptions import Link, Stream, Subscriptions
from tickplant.records.channels import ALL_STREAMS
from tickplant.records.layouts import StatusCode


class SymbolHooks:
    """What a venue's adapter may decide and do about symbols that come and go."""

    life: InstrumentLife
    subscriptions: Subscriptions

    def due(self, link: Link, streams: Sequence[Stream]) -> Sequence[Stream]:
        """The streams that may be subscribed to now over an open link. All by default.

        The adapter requests the others when their time has come.
        """
        del link
        return streams

    def why_not(self, symbol: str) -> str:
        """A clause if a symbol cannot be recorded together with the others of the feed. Empty by default."""
        del symbol
        return ""

    def expect(self, symbol: str, now_ns: int) -> None:
        """Prepare to record a symbol if the venue lists it. By default, ask for instrument data if needed."""
        if self.life.lists(symbol, self.life.answers) is None:
            self.life.look_for(now_ns)

    def lists(self, symbol: str, answers: int, now_ns: int) -> bool | None:
        """Whether the venue lists a symbol added after this many answers; None if that is not known yet.

        True if the venue never says which instruments exist: such a feed takes any symbol.
        """
        del now_ns
        return self.life.lists(symbol, answers)

    def is_acknowledged(self, symbol: str, now_ns: int) -> bool:
        """Whether the venue has accepted the subscriptions to a symbol."""
        del now_ns
        return self.subscriptions.is_acknowledged(symbol)

    def follow(self, symbol: str, now_ns: int) -> None:
        """Act on a symbol that is recorded and subscribed to from now on. Nothing by default."""
        del symbol, now_ns

    def unfollow(self, symbol: str, now_ns: int) -> None:
        """Drop the state of a symbol that is no longer recorded. Nothing by default."""
        del symbol, now_ns


class SymbolChanges:
    """The symbol changes of one feed. It leaves effects for the runner in `effects`, which the adapter empties."""

    def __init__(
        self,
        context: FeedContext,
        market: Market,
        subscriptions: Subscriptions,
        life: InstrumentLife,
        hooks: SymbolHooks,
    ) -> None:
        """No changes so far."""
        self.effects: list[Effect] = []
        self.open = False  # something is pending: call `look` after each event
        self._channels = context.channels
        self._live = context.live
        self._market = market
        self._subscriptions = subscriptions
        self._life = life
        self._hooks = hooks
        self._unknown: dict[str, int] = {}  # await instrument data: symbols, and the number of answers before them
        self._asked: set[str] = set()  # subscribed to and not acknowledged yet

    def change(self, symbols: Symbols, now_ns: int) -> None:
        """Add some symbols and remove others."""
        self._market.ts_recv = now_ns
        for symbol in symbols.removed:
            self._remove(symbol, now_ns)
        for symbol in symbols.added:
            if symbol in self._market.listings.by_symbol:
                self._tell(symbol)
            elif not self._market.listings.is_symbol(symbol):
                self._tell(symbol, "it is no symbol")
            elif why := self._hooks.why_not(symbol):
                self._tell(symbol, why)
            else:
                self._unknown[symbol] = self._life.answers
                self._hooks.expect(symbol, now_ns)
                self._decide(symbol, now_ns)
        self._note()

    def look(self, now_ns: int) -> None:
        """Decide what can be decided by now."""
        for symbol in tuple(self._unknown):
            self._decide(symbol, now_ns)
        for symbol in [symbol for symbol in self._asked if self._hooks.is_acknowledged(symbol, now_ns)]:
            self._asked.remove(symbol)
            self._tell(symbol)
        self._note()

    def refused(self, symbols: Iterable[str], reason: str) -> None:
        """Note that the venue has refused subscriptions to these symbols, or their instrument data."""
        for symbol in dict.fromkeys(symbols):
            if symbol in self._asked or symbol in self._unknown:
                self._asked.discard(symbol)
                self._unknown.pop(symbol, None)
                self._tell(symbol, f"the venue refuses it: {reason}")
        self._note()

    def _note(self) -> None:
        self.open = bool(self._unknown or self._asked)

    def _tell(self, symbol: str, problem: str = "") -> None:
        if self._live:
            self.effects.append(Followed(symbol, problem=problem))

    def _decide(self, symbol: str, now_ns: int) -> None:
        """Record a symbol, or say why not, if that can be determined by now."""
        lists = self._hooks.lists(symbol, self._unknown[symbol], now_ns)
        if lists is None:
            return
        del self._unknown[symbol]
        if lists:
            self._begin(symbol, now_ns)
        else:
            self._tell(symbol, self._life.why_unknown(symbol))

    def _begin(self, symbol: str, now_ns: int) -> None:
        market = self._market
        self._life.follow(symbol)
        listing = market.listings.follow(symbol)
        market.rescale(listing, now_ns)
        market.status(StatusCode.ADDED, now_ns, listing.instrument, flags=ALL_STREAMS)
        self._life.review(symbol, now_ns)
        for channel in self._channels:
            market.go_on(listing, channel, now_ns)
        if self._live:
            self._asked.add(symbol)
            self.effects += self._subscriptions.add(symbol, now_ns, self._hooks.due)
        self._hooks.follow(symbol, now_ns)

    def _remove(self, symbol: str, now_ns: int) -> None:
        market, listing = self._market, self._market.listings.by_symbol.get(symbol)
        self._unknown.pop(symbol, None)
        self._asked.discard(symbol)
        if listing is not None:
            market.rejects.close(listing)
            for channel in self._channels:
                market.interrupt(listing, channel, now_ns)
            market.status(StatusCode.DISCONNECTED, now_ns, listing.instrument, flags=market.streams)
            market.status(StatusCode.REMOVED, now_ns, listing.instrument, flags=ALL_STREAMS)
        market.listings.unfollow(symbol)
        self._life.unfollow(symbol)
        if self._live:
            self.effects += self._subscriptions.remove(symbol, now_ns)
            self.effects.append(Followed(symbol, added=False))
        self._hooks.unfollow(symbol, now_ns)
