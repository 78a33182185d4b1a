"""How a dxLink connection is authorized: by a token of the credential, or by one from tastytrade. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tickplant.feeds.contract import Answer, Effect, Fail, Resubscribe
from tickplant.feeds.venues.dxlink import venue as facts
from tickplant.feeds.venues.dxlink.handshake import SECOND_NS, Handshake
from tickplant.feeds.venues.dxlink.quote_tokens import QuoteTokens

REFUSED_TWICE_NS: Final = 600 * SECOND_NS
"""A token refused this soon after another will never be accepted."""


class Login:
    """Methods return effects for the runner."""

    def __init__(self, venue: str, secrets: Mapping[str, str]) -> None:
        """`secrets`: of the credential. Plain dxLink takes `token`, which a demo server does not need."""
        self.token = secrets.get("token", "")
        self.tokens = QuoteTokens(secrets) if venue == facts.TASTYTRADE else None
        self.waits = False  # the server waits for a token that is being fetched
        self._venue = venue
        self._refused_at_ns = 0  # time of the last refusal of a token

    def start(self, now_ns: int) -> list[Effect]:
        """Begin the feed."""
        if self.tokens is None:
            return []
        if missing := self.tokens.missing():
            return [self._fail(f'the credential has no "{missing}"')]
        return [*self.tokens.fetch(now_ns)]

    def on_second(self, now_ns: int) -> list[Effect]:
        """Fetch another token before the present one expires."""
        tokens = self.tokens
        if tokens is None or tokens.newest is None or now_ns < tokens.newest.ends_ns:
            return []
        return [*tokens.fetch(now_ns)]

    def on_unauthorized(self, talk: Handshake, now_ns: int) -> list[Effect]:
        """Handle UNAUTHORIZED: normal before the server has a token, a refusal after that."""
        if talk.authorized:
            return [Resubscribe(talk.link, "the server has withdrawn the authorization")]
        if talk.token_sent:
            return self._refused(now_ns)
        if self.tokens is not None and not self.tokens.is_good(now_ns):
            self.waits = True
            return [*self.tokens.fetch(now_ns)]
        if self.token:
            return [talk.authorize(self.token, now_ns)]
        return [self._fail('the server wants a token: name a credential that has a "token"')]

    def on_answer(self, answer: Answer, now_ns: int, retry_ns: int) -> list[Effect]:
        """Take in an answer of tastytrade, which may change `token`."""
        if self.tokens is None:
            return []
        outcome = self.tokens.on_answer(answer, now_ns, retry_ns)
        if isinstance(outcome, str):
            return [self._fail(outcome)]
        if not outcome and self.tokens.newest is not None:
            self.token = self.tokens.newest.token
        return [*outcome]

    def _refused(self, now_ns: int) -> list[Effect]:
        again = bool(self._refused_at_ns) and now_ns - self._refused_at_ns < REFUSED_TWICE_NS
        if self.tokens is not None and self.tokens.fetching:
            return []  # the server repeats itself
        if self.tokens is None or again:
            return [self._fail("the server refuses the token")]
        self._refused_at_ns = now_ns
        self.tokens.newest = None
        return [*self.tokens.fetch(now_ns)]

    def _fail(self, reason: str) -> Fail:
        return Fail(f"{self._venue}: {reason}")
