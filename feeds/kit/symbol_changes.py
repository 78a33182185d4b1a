"""Symbols that somebody adds or removes while the feed runs. Pure.

An added symbol that the venue's instrument data lists is recorded from that moment on: ADDED, then whatever comes. Of
one that they do not list, the venue is asked; where its next whole answer does not list the symbol either, there is
none. A removed one is DISCONNECTED and REMOVED, and what still arrives of it is ignored. Added again, its streams go on
behind GAPs, as after any interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tickplant.feeds.contract import Effect, FeedContext, Followed, Symbols
from tickplant.feeds.kit.instrument_life import InstrumentLife
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.request_budget import SECOND_NS
from tickplant.feeds.kit.subscriptions import Stream, Subscriptions
from tickplant.records.channels import ALL_STREAMS
from tickplant.records.layouts import StatusCode

SILENT_DATA_NS: Final = 10 * SECOND_NS
"""How long instrument data may take where nobody can be asked for it: a venue that pushes none takes any symbol."""


class SymbolChanges:
    """Of one feed. What it wants of the runner is in `effects`, which the adapter empties."""

    def __init__(
        self,
        context: FeedContext,
        market: Market,
        subscriptions: Subscriptions,
        life: InstrumentLife,
        follow: Callable[[str, int], None],
        unfollow: Callable[[str, int], None],
    ) -> None:
        """`follow` and `unfollow` are called with symbol and time where the venue's adapter keeps something of each."""
        self.effects: list[Effect] = []
        self.open = False  # something is waited for: `look` when something has happened
        self._channels = context.channels
        self._live = context.live
        self._market = market
        self._subscriptions = subscriptions
        self._life = life
        self._follow = follow
        self._unfollow = unfollow
        self._unknown: dict[str, tuple[int, int]] = {}  # to be decided by instrument data: since when, and which
        self._asked: set[str] = set()  # subscribed to, and not acknowledged yet

    def change(self, symbols: Symbols, now_ns: int) -> None:
        """Take up some symbols, let go of others."""
        self._market.ts_recv = now_ns
        for symbol in symbols.removed:
            self._remove(symbol, now_ns)
        for symbol in symbols.added:
            if symbol in self._market.listings.by_symbol:
                self._tell(symbol)
            elif not self._market.listings.is_symbol(symbol):
                self._tell(symbol, "it is no symbol")
            else:
                self._unknown[symbol] = now_ns, self._life.answers
        for symbol in symbols.added:
            if symbol in self._unknown and self._decide(symbol, now_ns) is None:
                self._life.look_for(now_ns)
        self._note()

    def look(self, now_ns: int) -> None:
        """Decide what can be decided by now."""
        for symbol in tuple(self._unknown):
            self._decide(symbol, now_ns)
        for symbol in [symbol for symbol in self._asked if self._subscriptions.is_acknowledged(symbol)]:
            self._asked.remove(symbol)
            self._tell(symbol)
        self._note()

    def refused(self, streams: Sequence[Stream], reason: str) -> None:
        """The venue has refused these subscriptions."""
        for symbol in dict.fromkeys(stream.symbol for stream in streams):
            if symbol in self._asked:
                self._asked.remove(symbol)
                self._tell(symbol, f"the venue refuses it: {reason}")
        self._note()

    def _note(self) -> None:
        self.open = bool(self._unknown or self._asked)

    def _tell(self, symbol: str, problem: str = "") -> None:
        if self._live:
            self.effects.append(Followed(symbol, problem=problem))

    def _decide(self, symbol: str, now_ns: int) -> bool | None:
        """Whether a symbol is recorded; None where that cannot be known yet."""
        since_ns, answers = self._unknown[symbol]
        life = self._life
        lists = life.lists(symbol)
        if lists is None and not life.answers and not life.asks and now_ns >= since_ns + SILENT_DATA_NS:
            lists = True  # the venue has no instrument data
        if lists is None and (life.answers > answers or (life.answers and not life.asks)):
            lists = False
        if lists is None:
            return None
        del self._unknown[symbol]
        if lists:
            self._begin(symbol, now_ns)
        else:
            self._tell(symbol, life.why_unknown(symbol))
        return lists

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
            self.effects += self._subscriptions.add(symbol, now_ns)
        self._follow(symbol, now_ns)

    def _remove(self, symbol: str, now_ns: int) -> None:
        market, listing = self._market, self._market.listings.by_symbol.get(symbol)
        self._unknown.pop(symbol, None)
        self._asked.discard(symbol)
        if listing is not None:
            market.rejects.close(listing)
            for channel in self._channels:
                market.interrupt(listing, channel, now_ns)
            market.status(StatusCode.DISCONNECTED, now_ns, listing.instrument, flags=ALL_STREAMS)
            market.status(StatusCode.REMOVED, now_ns, listing.instrument, flags=ALL_STREAMS)
        market.listings.unfollow(symbol)
        self._life.unfollow(symbol)
        if self._live:
            self.effects += self._subscriptions.remove(symbol, now_ns)
            self.effects.append(Followed(symbol, added=False))
        self._unfollow(symbol, now_ns)
