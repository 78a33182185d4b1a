"""The token for books of orders: configured, or requested with a key whenever a link for them has opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tickplant.feeds.contract import Answer, Effect, Fail, Notice, Request
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.venues.kraken.kraken_rest import has_key, read_token, token_request
from tickplant.feeds.venues.kraken.venue import LOGIN, TOKEN_RETRY_S, USELESS_KEY

RETRY_NS: Final = int(TOKEN_RETRY_S * SECOND_NS)


class OrderToken:
    """The token of one feed."""

    def __init__(self, secrets: Mapping[str, str], budget: RequestBudget) -> None:
        self.value = secrets.get("token", "")
        self._secrets = secrets
        self._budget = budget
        self._asked = False

    def renew(self, now_ns: int) -> list[Effect]:
        """Ask for a fresh token, if there is a key: it serves connections that open soon."""
        return self._ask(now_ns, now_ns) if has_key(self._secrets) else []

    def missing(self) -> str:
        """What the credential lacks; empty if it suffices."""
        if self.value or has_key(self._secrets):
            return ""
        return "orders need a credential with a token, or with a key and its secret"

    def knows(self, request: Request) -> bool:
        """Whether this object made the request."""
        return request.key == LOGIN

    def on_answer(self, answer: Answer, now_ns: int) -> list[Effect]:
        """Take in an answer; returns effects if it brings no token."""
        self._asked = False
        reason = f"HTTP status {answer.status}"
        if answer.status == 200:
            try:
                self.value = read_token(answer.body)
            except RejectError as rejected:
                reason = str(rejected)
                if any(error in rejected.detail for error in USELESS_KEY):
                    return [Fail(f"kraken: no token for orders: {rejected.detail}")]
            else:
                return []
        return [Notice("no token for orders", {"reason": reason}), *self._ask(now_ns, now_ns + RETRY_NS)]

    def _ask(self, now_ns: int, at_ns: int) -> list[Effect]:
        if self._asked:
            return []
        self.value = ""
        try:
            request = token_request(self._secrets, now_ns, max(at_ns, self._budget.next_ns(now_ns)))
        except ValueError as error:
            return [Fail(f"kraken: no token for orders: {error}")]
        self._asked = True
        return [request]
