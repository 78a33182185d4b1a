"""The life of the instruments: scales, listing, delisting, status. When to ask the venue, and what follows. Pure.

Some venues push their instrument data. Others are asked: periodically, and at once on a sign that the data may have
changed, such as values that do not fit, a silent stream or a refused subscription. An error in such an answer never
ends a running feed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import Answer, Effect, Fail, FeedContext, Notice, Request
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS
from tickplant.feeds.kit.subscriptions import Subscriptions
from tickplant.instruments import MAX_SCALE, Instrument, parse_decimal
from tickplant.records.channels import ALL_STREAMS, ON_CHANNEL
from tickplant.records.layouts import StatusCode

FIRST_DELAY_NS: Final = 2 * SECOND_NS
LONGEST_DELAY_NS: Final = 300 * SECOND_NS
"""Longest pause between two triggered requests: the pause doubles while the answers bring nothing new."""

START_RETRY_NS: Final = 5 * SECOND_NS
STATUS_BYTES: Final = 64
NAMED: Final = 10
TRADING: Final = "trading"


class SymbolInfo(msgspec.Struct, frozen=True):
    """What a venue states about one symbol."""

    symbol: str
    word: str = TRADING  # the venue's word for its status
    trading: bool = True
    closed: bool = False  # permanently
    price_scales: Sequence[int | None] = ()  # decimals by each field that states them: the largest counts
    size_scales: Sequence[int | None] = ()


class InstrumentSource(msgspec.Struct, frozen=True):
    """How to ask a venue for its instrument data."""

    key: str  # of the request
    request: Callable[[int, int], Request]  # takes the present time and the earliest time to send, ns
    read: Callable[[bytes], Sequence[SymbolInfo]]  # raises RejectError


class InstrumentLife:
    """What the venue has stated about the instruments of a feed."""

    def __init__(
        self,
        venue: str,
        context: FeedContext,
        market: Market,
        subscriptions: Subscriptions,
        source: InstrumentSource | None,
    ) -> None:
        """`source` is None if the venue pushes its instrument data: pass those to `take`."""
        self.ready = False  # the instrument data have arrived
        self.effects: list[Effect] = []
        self.answers = 0  # number of answers that listed all symbols of the venue
        self.asks = source is not None
        self._infos: dict[str, SymbolInfo] = {}  # of all symbols that the venue has named
        self._venue = venue
        self._symbols = tuple(dict.fromkeys(context.symbols or ()))
        self._channels = context.channels
        self._market = market
        self._subscriptions = subscriptions
        self._source = source
        self._known = context.known
        self._live = context.live
        self._status: dict[str, str] = {}  # by symbol, the venue's word
        self._halted: set[str] = set()
        self._missing: set[str] = set()  # absent from the newest answer: gone if the next answer lacks them too
        self._gone: dict[str, Instrument | None] = {}  # delisted symbols, with their last instrument
        self._poll_ns = int(context.instrument_poll_s * SECOND_NS)
        self._poll_at_ns = 0
        self._asked = False
        self._not_before_ns = 0
        self._delay_ns = FIRST_DELAY_NS

    # Asking.

    def start(self, now_ns: int) -> None:
        """Ask for the first time, if any symbols are configured."""
        if self._symbols and self._source is not None:
            self._ask(now_ns, 0)

    def knows(self, request: Request) -> bool:
        """Whether this object made the request."""
        return self._source is not None and request.key == self._source.key

    def doubt(self, now_ns: int) -> None:
        """Ask again, since the instrument data may have changed: at once, unless a request was made recently."""
        if not self.ready or self._asked or self._source is None:
            return
        if now_ns > self._not_before_ns + LONGEST_DELAY_NS:
            self._delay_ns = FIRST_DELAY_NS
        at_ns = max(now_ns, self._not_before_ns)
        self._not_before_ns = at_ns + self._delay_ns
        self._delay_ns = min(2 * self._delay_ns, LONGEST_DELAY_NS)
        self._ask(now_ns, at_ns)

    def on_second(self, now_ns: int) -> None:
        """Ask periodically."""
        if self._poll_at_ns == 0:
            self._poll_at_ns = now_ns + self._poll_ns
        elif now_ns >= self._poll_at_ns and self.ready and not self._asked:
            self._poll_at_ns = now_ns + self._poll_ns
            self._ask(now_ns, now_ns)

    def is_gone(self, symbol: str) -> bool:
        """Whether a symbol of this feed is no longer listed."""
        return symbol in self._gone

    # Symbols added or removed while the feed runs.

    def lists(self, symbol: str, answers: int) -> bool | None:
        """Whether the venue lists a symbol; None if no answer after the first `answers` ones says so."""
        if (info := self._infos.get(symbol)) is not None:
            return not info.closed
        return False if self.answers > answers or (self.answers and not self.asks) else None

    def look_for(self, now_ns: int) -> None:
        """Ask whether the venue lists a symbol that its last answer did not name."""
        if self.ready and not self._asked:
            self._ask(now_ns, now_ns)

    def why_unknown(self, symbol: str) -> str:
        """A clause about a symbol that is not listed."""
        info = self._infos.get(symbol)
        return f"its status is {info.word}" if info is not None else _unknown_symbol(symbol, self._infos)

    def follow(self, symbol: str) -> None:
        """Record this symbol from now on."""
        if symbol not in self._symbols and self._live:
            self._symbols = (*self._symbols, symbol)

    def unfollow(self, symbol: str) -> None:
        """Stop recording this symbol."""
        self._symbols = tuple(each for each in self._symbols if each != symbol)
        self._missing.discard(symbol)
        self._halted.discard(symbol)
        self._gone.pop(symbol, None)
        self._status.pop(symbol, None)
        self._subscriptions.rest(symbol, 0, resting=False)

    def review(self, symbol: str, now_ns: int) -> None:
        """Record what the venue stated about a symbol before the symbol was recorded."""
        if (info := self._infos.get(symbol)) is not None:
            self._apply(info, now_ns)

    def _ask(self, now_ns: int, at_ns: int) -> None:
        if self._source is not None:
            self._asked = True
            self.effects.append(self._source.request(now_ns, at_ns))

    # Answers.

    def on_answer(self, answer: Answer, now_ns: int, retry_ns: int) -> None:
        """Take in an answer or a failure. A first answer that shows the configuration cannot work ends the feed."""
        self._asked = False
        reason = f"HTTP status {answer.status}"
        if answer.status == 200 and self._source is not None:
            try:
                infos = self._source.read(answer.body)
                if not infos:
                    raise RejectError("unknown message", "it lists no symbol")
            except RejectError as error:
                reason = str(error)
                if not self.ready and any(self._known(symbol) is None for symbol in self._symbols):
                    path = answer.request.path
                    self._fail(f"{path} is not instrument data ({error}); is rest_url right?")
                    return
            else:
                self.take(infos, now_ns, whole=True)
                return
        if self.ready:
            self.effects.append(Notice("instrument data cannot be used", {"reason": reason}))
            self._not_before_ns = max(self._not_before_ns, retry_ns)
            self.doubt(now_ns)
        else:
            self._ask(now_ns, max(retry_ns, now_ns + START_RETRY_NS))

    def take(self, infos: Sequence[SymbolInfo], now_ns: int, *, whole: bool) -> None:
        """Take in instrument data. With `whole`, a symbol that they do not name is not listed."""
        listed = {each.symbol: each for each in infos}
        self._infos = listed if whole else self._infos | listed
        self.answers += whole
        for each in listed.values():
            self._state_scales(each)
        if self._symbols and not self.ready and self._live:
            if whole:
                self._begin(listed, now_ns)
        else:
            self._follow(listed, now_ns, whole=whole)
        if self._missing:
            self.doubt(now_ns)

    def _follow(self, listed: dict[str, SymbolInfo], ts_ns: int, *, whole: bool) -> None:
        for symbol in (self._live and self._symbols) or tuple(self._market.listings.by_symbol):
            if symbol in listed:
                self._missing.discard(symbol)
                self._apply(listed[symbol], ts_ns)
            elif whole and symbol not in self._gone:
                if symbol in self._missing:
                    self._delist(symbol, ts_ns)
                else:
                    # One answer may leave something out by mistake; the next one decides.
                    self._missing.add(symbol)
                    self.effects.append(Notice("instrument data lacks a symbol", {"symbol": symbol}))

    def _fail(self, reason: str) -> None:
        self.effects.append(Fail(f"{self._venue}: {reason}"))

    def _begin(self, listed: dict[str, SymbolInfo], ts_ns: int) -> None:
        """Take in the first answer. The feed fails for a symbol that never existed, and if no symbol is left."""
        gone = [symbol for symbol in self._symbols if symbol not in listed or listed[symbol].closed]
        unknown = [symbol for symbol in gone if symbol not in listed and self._known(symbol) is None]
        if unknown:
            self._fail("; ".join(_unknown_symbol(symbol, listed) for symbol in unknown))
            return
        if len(gone) == len(self._symbols):
            names = ", ".join(gone[:NAMED]) + (", …" if len(gone) > NAMED else "")
            self._fail(f"no longer listed: {names}; there is nothing left to record for this feed")
            return
        left = frozenset(gone)
        known = self._market.listings.by_symbol
        for symbol in gone:
            self._delist(symbol, ts_ns)
        self._market.listings.add_all([each for each in self._symbols if each not in left and each not in known])
        self.ready = True
        for symbol in self._symbols:
            if symbol not in left:
                self._apply(listed[symbol], ts_ns)
        if gone:
            self._not_before_ns = ts_ns + FIRST_DELAY_NS
            self.doubt(ts_ns)

    def _apply(self, info: SymbolInfo, ts_ns: int) -> None:
        """Act on the data of a listed symbol of this feed."""
        symbol, word = info.symbol, info.word[:STATUS_BYTES]
        before = self._status.get(symbol, word if info.trading else TRADING)
        self._status[symbol] = word
        if word != before:
            self.effects.append(Notice("instrument status", {"symbol": symbol, "status": word, "before": before}))
        if info.closed:
            if symbol not in self._gone:
                self._delist(symbol, ts_ns)
            return
        market, was_trading = self._market, symbol not in self._halted
        listing = market.listings.by_symbol.get(symbol)
        if symbol in self._gone:
            listing = listing or market.listings.add(symbol)
            market.rescale(listing, ts_ns)
            del self._gone[symbol]
            market.status(StatusCode.LISTED, ts_ns, listing.instrument, flags=ALL_STREAMS)
            self.effects += self._subscriptions.join(symbol, ts_ns)
            for channel in self._channels:
                market.go_on(listing, channel, ts_ns)
            self._news(ts_ns)
            self._halted.discard(symbol)
            was_trading = True
        if listing is None:
            return  # in a recording: its scales are known once it occurs
        old = listing.instrument
        if market.rescale(listing, ts_ns):
            new = listing.instrument
            fields: dict[str, str | int] = {
                "symbol": symbol,
                "price_scale": new.price_scale,
                "size_scale": new.size_scale,
            }
            self.effects.append(Notice("instrument goes on", fields | {"instrument": new.id, "before": old.id}))
            self._news(ts_ns)
        if was_trading != info.trading:
            code = StatusCode.HALTED if was_trading else StatusCode.TRADING
            (self._halted.add if was_trading else self._halted.discard)(symbol)
            market.status(code, ts_ns, listing.instrument, flags=ALL_STREAMS)
            self._subscriptions.rest(symbol, ts_ns, resting=was_trading)
            self._news(ts_ns)

    def _delist(self, symbol: str, ts_ns: int) -> None:
        """Handle a symbol of this feed that is no longer listed."""
        market, listing = self._market, self._market.listings.by_symbol.get(symbol)
        instrument = self._known(symbol) if listing is None else listing.instrument
        self._missing.discard(symbol)
        self._gone[symbol] = instrument
        if listing is not None:
            market.rejects.close(listing)
            for channel in ON_CHANNEL:
                market.interrupt(listing, channel, ts_ns)
            market.status(StatusCode.DISCONNECTED, ts_ns, instrument, flags=market.streams)
        if instrument is not None:
            market.status(StatusCode.DELISTED, ts_ns, instrument, flags=ALL_STREAMS)
        self.effects += self._subscriptions.leave(symbol, ts_ns)
        self.effects.append(Notice("instrument is no longer listed: left out", {"symbol": symbol}))
        self._news(ts_ns)

    def _news(self, ts_ns: int) -> None:
        """Expect more changes soon after this one."""
        self._delay_ns = FIRST_DELAY_NS
        self._not_before_ns = min(self._not_before_ns, ts_ns + FIRST_DELAY_NS)

    def _state_scales(self, info: SymbolInfo) -> None:
        """Take the largest number of decimals that a field asks for; keep the former one if no field states any."""
        before = self._market.listings.stated_scales.get(info.symbol, (None, None))
        stated = [
            [digits for digits in each if digits is not None and 0 <= digits <= MAX_SCALE]
            for each in (info.price_scales, info.size_scales)
        ]
        self._market.listings.stated_scales[info.symbol] = (
            max(stated[0], default=before[0]),
            max(stated[1], default=before[1]),
        )


def decimals(step: str | None) -> int | None:
    """Decimals of a tick or lot size; None where the step says nothing, such as the 0 of a disabled filter."""
    try:
        mantissa, scale = parse_decimal(step or "")
    except ValueError:
        return None
    if mantissa == 0:
        return None
    while scale and mantissa % 10 == 0:
        mantissa, scale = mantissa // 10, scale - 1
    return scale


def _unknown_symbol(symbol: str, listed: Collection[str]) -> str:
    near = [symbol.upper()] if symbol.upper() in listed else difflib.get_close_matches(symbol.upper(), listed, 1)
    return f"unknown symbol {symbol}" + (f"; did you mean {near[0]}?" if near else "")
