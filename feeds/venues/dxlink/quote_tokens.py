"""tastytrade's quote token: fetched with an access token obtained by OAuth2. Pure.

    POST /oauth/token        grant_type=refresh_token, refresh_token, client_secret   → access_token, for 15 minutes
    GET /api-quote-tokens    Authorization: Bearer ACCESS_TOKEN                       → token, dxlink-url, for a day

All of this is secret: neither captured nor logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlencode

import msgspec

from tickplant.feeds.contract import Answer, Request
from tickplant.feeds.venues.dxlink import venue as facts

SECOND_NS: Final = 1_000_000_000
FIRST_PAUSE_NS: Final = 2 * SECOND_NS
LONGEST_PAUSE_NS: Final = 300 * SECOND_NS

ACCESS: Final = "access token"
QUOTES: Final = "quote token"
_AGENT: Final = {"User-Agent": "tickplant/1.0", "Accept": "application/json"}
_REFUSED: Final = frozenset({400, 401, 403, 404})
"""Statuses that the same request would get again."""


class QuoteToken(msgspec.Struct, frozen=True):
    """A token for AUTH, its address, and its expiry."""

    token: str
    url: str
    ends_ns: int


class _Access(msgspec.Struct):
    access_token: str


class _Data(msgspec.Struct, rename="kebab"):
    token: str
    dxlink_url: str = ""
    level: str = ""


class _Quotes(msgspec.Struct):
    data: _Data


class _Error(msgspec.Struct):
    code: str = ""


class _Failure(msgspec.Struct):
    error: _Error | str = ""
    error_code: str = ""


_ACCESS: Final = msgspec.json.Decoder(_Access)
_QUOTES: Final = msgspec.json.Decoder(_Quotes)
_FAILURE: Final = msgspec.json.Decoder(_Failure)


class QuoteTokens:
    """Fetches tokens, one at a time."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.newest: QuoteToken | None = None
        self.fetching = False
        self._secrets = secrets
        self._pause_ns = FIRST_PAUSE_NS
        self._retried = False  # a quote token was refused with a fresh access token already

    def missing(self) -> str:
        """The first missing secret; empty if all are present."""
        return next((name for name in facts.SECRETS if not self._secrets.get(name)), "")

    def fetch(self, now_ns: int, at_ns: int = 0) -> list[Request]:
        """Begin, unless a fetch is in progress."""
        if self.fetching:
            return []
        self.fetching = True
        return [self._ask_access(max(now_ns, at_ns))]

    def is_good(self, now_ns: int) -> bool:
        """Whether there is an unexpired token."""
        return self.newest is not None and now_ns < self.newest.ends_ns

    def on_answer(self, answer: Answer, now_ns: int, retry_ns: int) -> list[Request] | str:
        """The next requests, if any; or why no token will ever come."""
        if not self.fetching or answer.request.key not in (ACCESS, QUOTES):
            return []
        step: Literal["access token", "quote token"] = ACCESS if answer.request.key == ACCESS else QUOTES
        if answer.status == 200:
            try:
                if step == ACCESS:
                    return [self._ask_quotes(_checked(_ACCESS.decode(answer.body).access_token))]
                data = _QUOTES.decode(answer.body).data
                _checked(data.token)
                if not data.dxlink_url.startswith(("wss://", "ws://")):
                    raise ValueError("no address of a WebSocket")
            except ValueError:  # includes DecodeError and UnicodeDecodeError
                return [self._again(now_ns, retry_ns)]
            self.newest = QuoteToken(data.token, data.dxlink_url, now_ns + facts.QUOTES_S * SECOND_NS)
            self.fetching = self._retried = False
            self._pause_ns = FIRST_PAUSE_NS
            return []
        if answer.status not in _REFUSED:
            return [self._again(now_ns, retry_ns)]
        if step == QUOTES and answer.status == 401 and not self._retried:
            self._retried = True  # the access token may have expired between the two requests
            return [self._again(now_ns, retry_ns)]
        return f"the {step} is refused with HTTP status {answer.status} {_code(answer.body)}".rstrip()

    def _again(self, now_ns: int, retry_ns: int) -> Request:
        at_ns = max(now_ns + self._pause_ns, retry_ns)
        self._pause_ns = min(2 * self._pause_ns, LONGEST_PAUSE_NS)
        return self._ask_access(at_ns)

    def _ask_access(self, at_ns: int) -> Request:
        form = {"grant_type": "refresh_token"} | {name: self._secrets.get(name, "") for name in facts.SECRETS}
        headers = _AGENT | {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        return Request(ACCESS, facts.ACCESS_PATH, at_ns, headers, method="POST", body=body, secret=True)

    def _ask_quotes(self, access_token: str) -> Request:
        headers = _AGENT | {"Authorization": f"Bearer {access_token}"}
        return Request(QUOTES, facts.QUOTES_PATH, headers=headers, secret=True)


def _checked(token: str) -> str:
    """A token that a header can hold. Raises ValueError."""
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("no token")
    return token


def _code(body: bytes) -> str:
    """The venue's word for a refusal, which contains no secret."""
    try:
        failure = _FAILURE.decode(body)
    except ValueError:
        return ""
    code = failure.error if isinstance(failure.error, str) else failure.error.code
    code = (failure.error_code or code)[:40]
    return code if code.replace("_", "").isalnum() else ""
