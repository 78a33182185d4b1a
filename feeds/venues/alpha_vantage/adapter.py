"""The Alpha Vantage adapter: bars polled over REST, within the request limit of the key's plan.

What is recorded where the venue leaves room:

* Bars of a day and of a minute are both recorded on `venue_bar`, unadjusted; their times distinguish them. The time of
  a minute bar is taken for its start: with hours outside the session, the last bar of a day is that of 19:59.
* Symbols are polled one after the other. Days come first, once a day; minutes take what the budget leaves.
* A bar is recorded again if it has changed; a bar that is not over on arrival is PARTIAL. Bars up to the newest one
  that an earlier process of the feed recorded are not recorded again, changed or not.
* If the oldest bar of an answer does not reach back to the former newest one, a GAP says so.
* Requests hold the key, so neither they nor their answers are captured.
* Errors come with status 200. Too many requests cause a pause; a refused key ends the feed; a refused symbol or
  function is requested again a day later.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from tickplant.feeds.contract import Answer, Event, Fail, FeedContext, Notice, Request, Resumed
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import Stream, Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.alpha_vantage import messages
from tickplant.feeds.venues.alpha_vantage import venue as facts
from tickplant.feeds.venues.alpha_vantage.attribution import owner
from tickplant.records.layouts import Flag, GapCause

_SHAPES: Final = Shapes({})
_KEPT_BARS: Final = 50_000


class NoStreams:
    """See kit.subscriptions.SubscribeCodec: this venue has no subscriptions."""

    streams_per_request = 1
    busy: Collection[str] = ()

    def name(self, stream: Stream) -> str:
        """The stream's symbol."""
        return stream.symbol

    def group(self, stream: Stream) -> str:
        """The stream's channel."""
        return stream.channel

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """No message."""
        return b""


class _Poll(msgspec.Struct):
    """The polling state of one series of one symbol."""

    symbol: str
    series: facts.Series
    due_ns: int = 0
    failures: int = 0  # consecutive
    newest_ns: int = 0  # start of the newest bar recorded

    @property
    def key(self) -> str:
        """The key of its requests."""
        return f"{self.series.name} {self.symbol}"


class AlphaVantageAdapter(VenueAdapter):
    """One feed."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes` makes no difference: no message is frequent."""
        self._key = context.secrets.get(facts.KEY, "")
        self._per_day = context.secrets.get(facts.REQUESTS_PER_DAY, str(facts.FREE_REQUESTS_PER_DAY))
        self._polls = {
            poll.key: poll
            for series in facts.SERIES
            for poll in (_Poll(symbol, series) for symbol in dict.fromkeys(context.symbols or ()))
            if facts.CHANNEL in context.channels
        }
        self._series = facts.SERIES if facts.CHANNEL in context.channels else ()
        self._new: dict[str, int] = {}  # added symbols without an answer, and until when one is awaited
        self._asked: str | None = None  # key of the unanswered request
        self._not_before_ns = 0
        self._recorded: dict[tuple[str, str], dict[int, Ohlc]] = {}  # by symbol and series, then by start
        self._former: dict[tuple[str, str], int] = {}  # likewise: start of an earlier process's newest bar
        super().__init__(
            facts.VENUE,
            context,
            Market(context, _SHAPES, lambda _: BookSync(chained=False, held_limit=1), owner),
            Subscriptions((), NoStreams(), silent_s=context.silent_s),
            _budget(self._per_day),
            carried_by=lambda _: (facts.CHANNEL,),
            use_shapes=use_shapes,
        )

    # Asking.

    def start(self, now_ns: int) -> None:
        """Ask for the first series, unless the configuration cannot work."""
        super().start(now_ns)
        if not self._key:
            self._fail(f"the credential of the feed has no {facts.KEY}: the venue gives nothing without one")
        elif not (self._per_day.isdecimal() and 0 < int(self._per_day) <= 1_000_000):
            self._fail(f"{facts.REQUESTS_PER_DAY} of the credential is no number of requests")
        else:
            for poll in self._polls.values():
                self.market.listings.get(poll.symbol)
            self._ask(now_ns)

    def on_second(self, now_ns: int) -> None:
        """Poll what is due."""
        super().on_second(now_ns)
        self._ask(now_ns)

    def _ask(self, now_ns: int) -> None:
        due = [poll for poll in self._polls.values() if poll.due_ns <= now_ns]
        if self._asked is not None or not due or not self.live:
            return
        poll = min(due, key=lambda poll: poll.due_ns)
        self._asked = poll.key
        at_ns = max(self.budget.next_ns(now_ns), self._not_before_ns)
        self._not_before_ns = at_ns + int(facts.SPACING_S * SECOND_NS)
        is_near = at_ns - poll.newest_ns < poll.series.compact_s * SECOND_NS or poll.series is facts.DAILY
        size = "compact" if is_near else "full"
        query = f"function={poll.series.function}&symbol={quote(poll.symbol)}{poll.series.query}&outputsize={size}"
        path = f"{facts.PATH}?{query}&datatype=json&apikey={quote(self._key)}"
        self.effects.append(Request(poll.key, path, at_ns, secret=True))

    def _fail(self, reason: str) -> None:
        self.effects.append(Fail(f"{self.venue}: {reason}"))

    # Symbols that come and go.

    def lists(self, symbol: str, answers: int, now_ns: int) -> bool | None:
        """Always True: the venue does not say which symbols exist."""
        return True

    def is_acknowledged(self, symbol: str, now_ns: int) -> bool:
        """Whether an answer has come, or the budget delays the first request for long."""
        return now_ns >= self._new.get(symbol, 0)

    def follow(self, symbol: str, now_ns: int) -> None:
        """Poll this symbol too."""
        self._new[symbol] = now_ns + facts.FIRST_ANSWER_S * SECOND_NS
        for series in self._series:
            poll = _Poll(symbol, series, newest_ns=self._newest_ns(symbol, series.name))
            self._polls[poll.key] = poll

    def unfollow(self, symbol: str, now_ns: int) -> None:
        """Stop polling this symbol."""
        self._new.pop(symbol, None)
        for series in facts.SERIES:
            self._polls.pop(_Poll(symbol, series).key, None)

    def _newest_ns(self, symbol: str, series: str) -> int:
        key = symbol, series
        return max(self._recorded.get(key, ()), default=self._former.get(key, 0))

    # Answers.

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        if isinstance(event, Resumed):
            for symbol, ids in event.last.items():
                for length_ns, start_ns in ids.bars.items():
                    series = facts.INTRADAY if length_ns <= facts.LONGEST_INTRADAY_S * SECOND_NS else facts.DAILY
                    key = symbol, series.name
                    self._former[key] = max(start_ns, self._former.get(key, 0))
            for poll in self._polls.values():
                poll.newest_ns = self._newest_ns(poll.symbol, poll.series.name)
        super().on_event(event, now_ns)

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Record an answer; a failed request is repeated later."""
        if self._asked == answer.request.key:
            self._asked = None
        poll = self._polls.get(answer.request.key)
        if poll is None:
            return
        if answer.status != 200:
            self._put_off(poll, now_ns)
            return
        poll.due_ns = now_ns + poll.series.period_s * SECOND_NS
        self.counts.frames += 1
        body = answer.body.replace(self._key.encode(), b"***") if self._key else answer.body
        try:
            recorded = self._on_body(body, now_ns, poll)
        except RejectError as rejected:
            self.reject(rejected, body, now_ns)
        else:
            self.counts.parsed += recorded
            self.counts.ignored += not recorded

    def _put_off(self, poll: _Poll, now_ns: int) -> None:
        pause_s = min(facts.RETRY_S << min(poll.failures, 16), facts.LONGEST_RETRY_S)
        poll.failures += 1
        poll.due_ns = now_ns + pause_s * SECOND_NS

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record a body that was stored elsewhere, as a line of a recording."""
        return self._on_body(frame, ts_recv, None)

    def _on_body(self, body: bytes, now_ns: int, poll: _Poll | None) -> bool:
        message = messages.decode(body, now_ns)
        if isinstance(message, messages.Refusal):
            return self._on_refusal(message, now_ns, poll)
        if poll is not None:
            poll.failures = 0
            self._new.pop(poll.symbol, None)
        listing = self.market.listings.get(message.symbol)
        if listing is None:
            return False
        newest_ns = self._record(listing, message, now_ns)
        if poll is not None:
            poll.newest_ns = newest_ns
        return True

    def _on_refusal(self, refusal: messages.Refusal, now_ns: int, poll: _Poll | None) -> bool:
        if poll is None:
            return False
        if refusal.kind == messages.LIMIT:
            self._put_off(poll, now_ns)
            self.budget.pause(poll.due_ns)
            self.effects.append(Notice("the venue asks for fewer requests", {"message": refusal.text[:200]}))
            return False
        if refusal.kind == messages.BAD_KEY:
            self._fail(f"the venue refuses the key of the credential: {refusal.text[:200]}")
            return False
        poll.due_ns = now_ns + facts.REFUSED_S * SECOND_NS
        raise self.refused(None, f"{poll.key}: {refusal.text[:200]}", now_ns, symbol=poll.symbol)

    # Bars.

    def _record(self, listing: Listing, message: messages.Bars, now_ns: int) -> int:
        """Record new and changed bars; returns the start of the newest bar. Raises RejectError for the last bad one."""
        known = self._recorded.setdefault((message.symbol, message.series), {})
        former = self._former.get((message.symbol, message.series), 0)
        before = max(known, default=former)
        if before and message.bars and message.bars[0].start_ns > _next_ns(before, message.bars[0]):
            cause = GapCause.SEQUENCE if known else GapCause.RESTART
            self.market.gap(listing.instrument, cause, 0, now_ns, flags=Flag.ON_OTHER)

        def record(bar: Ohlc) -> bool:
            if known.get(bar.start_ns) == bar or (bar.start_ns <= former and bar.start_ns not in known):
                known[bar.start_ns] = bar
                return False
            try:
                self.market.others.on_bar(listing, bar, now_ns)
            except RejectError as rejected:
                self.market.rejects.add(rejected, listing, facts.CHANNEL, now_ns)
                raise
            known[bar.start_ns] = bar
            return True

        self.each(message.bars, record)
        for start_ns in sorted(known)[:-_KEPT_BARS]:
            del known[start_ns]
        return max(known, default=former)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Does nothing: the venue has no books."""


def _next_ns(start_ns: int, bar: Ohlc) -> int:
    """Start of the bar after the one that begins at `start_ns`, if none is missing; bars have the length of `bar`."""
    return start_ns + bar.end_ns - bar.start_ns


def _budget(per_day: str) -> RequestBudget:
    # Any 24 hours may also contain the burst, which itself takes a while.
    number = int(per_day) if per_day.isdecimal() and per_day.isascii() and int(per_day) else 1
    burst = min(facts.BURST, number)
    return RequestBudget((86_400 + facts.BURST * facts.SPACING_S) / (number - burst + 1), burst)
