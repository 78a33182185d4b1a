"""Requests to add and remove symbols of a running feed: checked, passed on to the feed, answered with its answers.

Only changes that the feed confirms are kept, so an unknown symbol never prevents the next start.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from tickplant.plant.followed_symbols import FollowedSymbols
from tickplant.plant.pool import Pool
from tickplant.runtime.control import ChangeSymbols, Message, Refused, SymbolChanged, SymbolsChanged

PATIENCE_S: Final = 15.0
"""How long a request waits for the venue's answer. A later answer is kept all the same."""

PENDING: Final = 1000
"""Limit for symbols that feeds have not answered for, over all requests."""


class _Request(msgspec.Struct):
    line: bytes
    feed: str
    pid: int  # of the feed that was asked
    waiting: set[tuple[str, bool]]  # symbols, and whether they are added
    outcomes: dict[str, str]
    deadline_s: float


class SymbolRequests:
    """The requests of one plant; `followed` is None if its feeds have no symbols of their own."""

    def __init__(self, followed: FollowedSymbols | None, pool: Pool) -> None:
        self._followed = followed
        self._pool = pool
        self._requests: list[_Request] = []
        self._asked: set[tuple[str, str, bool]] = set()  # feed, symbol, whether it is added

    def ask(self, line: bytes, message: ChangeSymbols) -> Message | None:
        """Pass a request on. Returns the answer if it is immediate."""
        name, followed = message.feed, self._followed
        if followed is None:
            return Refused("a plant that plays stored records, or a recording, has no symbols to change")
        added, removed = dict.fromkeys(message.added), dict.fromkeys(message.removed)
        if why := followed.why_not(name, [*added], [*removed]):
            return Refused(why)
        if len(self._asked) + len(added) + len(removed) > PENDING:
            return Refused(f"more than {PENDING:,} symbols at a time")
        if not self._pool.board.tell(name, message):
            return Refused(f"{name} is not running at the moment; try again when it is")
        waiting = {(symbol, True) for symbol in added} | {(symbol, False) for symbol in removed}
        self._asked |= {(name, *each) for each in waiting}
        pid, deadline_s = self._pool.children[name].pid, time.monotonic() + PATIENCE_S
        self._requests.append(_Request(line, name, pid, waiting, {}, deadline_s))
        return None

    def heard(self, message: SymbolChanged) -> None:
        """Take in a feed's outcome for one symbol."""
        asked = message.feed, message.symbol, message.added
        if self._followed is None or asked not in self._asked:
            return  # the feed gave up a symbol that the venue refused
        self._asked.remove(asked)
        problem = message.problem
        if not problem:
            try:
                self._followed.keep(message.feed, message.symbol, added=message.added)
            except OSError as error:
                problem = f"done, but not kept for the next start: {error.strerror}"
        verb = "added" if message.added else "removed"
        level, why = ("warning", f": {problem}") if problem else ("info", "")
        self._pool.tell(level, f"{message.feed}: {message.symbol} {'not ' if problem else ''}{verb}{why}")
        for request in self._requests:
            if request.feed == message.feed and (message.symbol, message.added) in request.waiting:
                request.waiting.discard((message.symbol, message.added))
                request.outcomes[message.symbol] = problem
        self.look()

    def look(self) -> None:
        """Answer requests that are done or have waited long enough."""
        now_s = time.monotonic()
        for request in tuple(self._requests):
            ended = self._pool.children[request.feed].pid != request.pid
            if request.waiting and not ended and now_s < request.deadline_s:
                continue
            self._requests.remove(request)
            why = f"{request.feed} has ended before it said so" if ended else "the venue has not said so yet"
            for symbol, added in request.waiting:
                request.outcomes[symbol] = why
                if ended:
                    self._asked.discard((request.feed, symbol, added))
            self._pool.board.reply(request.line, SymbolsChanged(request.outcomes))
