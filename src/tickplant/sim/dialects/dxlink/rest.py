"""tastytrade's token service, as far as a feed needs it. No I/O.

Facts: developer.tastytrade.com. Any client secret and refresh token except `wrong` are accepted. The texts of errors
are not verified.
"""

from __future__ import annotations

import itertools
import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from tickplant.sim.conversation import Answer, Get

ACCESS_S: Final = 900
WRONG: Final = "wrong"
_AGENT: Final = re.compile(r"[\w.-]+/[\w.-]+")


class TokenDesk:
    """The tokens handed out."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()  # for quotes
        self._access: set[str] = set()
        self._numbers = itertools.count(1)

    def answer(self, request: Get) -> Answer:
        """Carry out a request."""
        path = urlsplit(request.target).path
        if path == "/oauth/token" and request.method == "POST":
            return self._hand_out_access(request.body)
        if path == "/api-quote-tokens" and request.method == "GET":
            return self._hand_out_quotes(request)
        return _error(404, "not_found", "there is nothing here")

    def _hand_out_access(self, body: bytes) -> Answer:
        form = {name: given[-1] for name, given in parse_qs(body.decode(errors="replace")).items()}
        secrets = [form.get(name, WRONG) for name in ("client_secret", "refresh_token")]
        if form.get("grant_type") != "refresh_token" or WRONG in secrets:
            body = msgspec.json.encode({"error_code": "invalid_grant", "error_description": "Grant revoked"})
            return Answer(400, body)
        token = f"simulated-access-{next(self._numbers)}"
        self._access.add(token)
        return Answer(200, msgspec.json.encode({"access_token": token, "token_type": "Bearer", "expires_in": ACCESS_S}))

    def _hand_out_quotes(self, request: Get) -> Answer:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._access or not _AGENT.match(request.headers.get("User-Agent", "")):
            return _error(401, "unauthorized", "the access token is not valid")
        quotes = f"simulated-quotes-{next(self._numbers)}"
        self.tokens.add(quotes)
        url = f"ws://{request.headers.get('Host', 'venue')}/realtime"
        data = {"token": quotes, "dxlink-url": url, "level": "api"}
        return Answer(200, msgspec.json.encode({"data": data, "context": "/api-quote-tokens"}))


def _error(status: int, code: str, text: str) -> Answer:
    return Answer(status, msgspec.json.encode({"error": {"code": code, "message": text}}))
