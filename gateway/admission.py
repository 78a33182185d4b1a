"""Who may request what, how often, and with which response headers: the outermost layer of the application.

Rules go by path, so that no route can lack one: a path that is not listed needs the scope `read`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

from tickplant.gateway.problems import MEDIA_TYPE, Problem
from tickplant.runtime.config import GatewayConfig, is_loopback

Scope = dict[str, Any]
Receive = Any
Send = Any

SCOPES: Final = ("read", "history", "admin")
ANONYMOUS: Final = frozenset({"read", "history"})
"""What anyone who reaches a gateway on loopback may do without a token."""

COOKIE: Final = "tickplant"
_PUBLIC: Final = ("/api/v1/session", "/healthz", "/openapi.json", "/docs")
_HISTORY: Final = ("/api/v1/history/", "/api/v1/coverage", "/api/v1/gaps")
_HIDDEN: Final = ("/schema",)
_BURST: Final = 4.0
_ADDRESSES: Final = 10_000

_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Tokens:
    """The scopes of each token."""

    def __init__(self, credentials: Iterable[Mapping[str, str]]) -> None:
        """Take in credentials: each has scopes as keys and tokens as values."""
        self._tokens: list[tuple[bytes, str]] = [
            (value.encode(), scope) for values in credentials for scope, value in values.items() if scope in SCOPES
        ]

    def __len__(self) -> int:
        return len(self._tokens)

    def scopes_of(self, token: str) -> frozenset[str]:
        """Scopes of a token; none if the token is unknown. Takes the same time for each wrong token."""
        given = token.encode(errors="surrogateescape")
        return frozenset(scope for known, scope in self._tokens if hmac.compare_digest(known, given))


class Rates:
    """The number of requests that each address has left."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, and the time of that count

    def take(self, address: str, now_s: float) -> float:
        """Use up one request; returns 0.0, or the seconds to wait for one."""
        most = _BURST * self._per_s
        left, at_s = self._left.pop(address, (most, now_s))
        left = min(most, left + (now_s - at_s) * self._per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / self._per_s
        self._left[address] = (left if wait_s else left - 1, now_s)
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return wait_s


class Admission:
    """An ASGI application that wraps another one."""

    def __init__(self, inner: Any, config: GatewayConfig, tokens: Tokens) -> None:
        self.refused = 0
        self._inner = inner
        self._tokens = tokens
        self._rates = Rates(config.requests_per_s)
        self._origins = frozenset(config.cors_origins)
        self._names = {host.lower() for host in config.hosts} | {config.bind.strip("[]").lower()}
        self._local = is_loopback(config.bind)
        self._secure = bool(config.tls_certificate)
        self._headers = [*HEADERS, *([(b"strict-transport-security", b"max-age=31536000")] if self._secure else [])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        cors = self._cors(headers)

        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message["headers"] = [*message.get("headers", ()), *self._headers, *cors]
            await send(message)

        try:
            self._check(scope, headers)
            if scope["type"] == "http" and scope["method"] == "OPTIONS" and cors:
                await _answer(send_with_headers, 204, _PREFLIGHT, b"")
                return
        except Problem as problem:
            self.refused += 1
            await refuse(scope, send_with_headers, problem)
            return
        await self._inner(scope, receive, send_with_headers)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises Problem if the request is not admitted."""
        path, method = scope["path"], scope.get("method", "GET")
        address = (scope.get("client") or ("local", 0))[0]
        wait_s = self._rates.take(address, asyncio.get_running_loop().time())
        if wait_s:
            seconds = str(int(wait_s) + 1)
            raise Problem(429, f"too many requests: try again in {seconds} s", headers={"Retry-After": seconds})
        self._check_host(headers)
        self._check_origin(scope, headers)
        if path.startswith(_HIDDEN):
            raise Problem(404, f"there is no {path}")
        if method == "OPTIONS":
            return
        scopes = self._scopes(headers)
        scope.setdefault("state", {})["scopes"] = scopes
        needed = needed_scope(path)
        if needed and needed not in scopes:
            if scopes:
                raise Problem(403, f"this token does not have the scope {needed}")
            raise Problem(
                401,
                f"a token with the scope {needed} is needed",
                headers={"WWW-Authenticate": 'Bearer realm="tickplant"'},
            )

    def _check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse a wrong Host: a page of another site whose name resolves to this address must not read anything."""
        host = _host_of(headers.get("host", ""))
        known = host in self._names or is_loopback(host) or (not self._local and _is_address(host))
        if not known:
            raise Problem(421, f"{host[:80]!r} is not a name of this gateway: `hosts` of its configuration lists them")

    def _check_origin(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Changes, and reads that CORS does not cover, are only for our own pages: browsers send a page's origin."""
        origin = headers.get("origin")
        if origin is None or (scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")):
            return
        if origin not in self._origins and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            raise Problem(
                403, f"pages of {origin[:80]} may not do this: `cors_origins` of its configuration lists them"
            )

    def _cors(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        origin = headers.get("origin")
        if origin not in self._origins or origin is None:
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"etag, link, retry-after"),
            (b"vary", b"origin"),
        ]

    def _scopes(self, headers: Mapping[str, str]) -> frozenset[str]:
        token = _token_of(headers)
        if token is not None:
            return self._tokens.scopes_of(token)
        return frozenset() if len(self._tokens) else ANONYMOUS

    def scopes_of(self, token: str) -> frozenset[str]:
        """The scopes of a token."""
        return self._tokens.scopes_of(token)


_PREFLIGHT: Final = [
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, if-none-match, last-event-id"),
    (b"access-control-max-age", b"600"),
]


def needed_scope(path: str) -> str:
    """The scope that a path needs; empty if none."""
    if path in _PUBLIC or not path.startswith(("/api/", "/metrics")):
        return ""
    if path.startswith("/api/v1/admin/"):
        return "admin"
    return "history" if path.startswith(_HISTORY) else "read"


async def refuse(scope: Scope, send: Send, problem: Problem) -> None:
    """Answer with a problem, also for a WebSocket that has not been accepted yet."""
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    prefix = "websocket." if scope["type"] == "websocket" else ""
    await _answer(send, problem.status, headers, problem.body, prefix=prefix)


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, prefix: str = ""
) -> None:
    if status != 204:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}http.response.start", "status": status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})


def _token_of(headers: Mapping[str, str]) -> str | None:
    """The client's token, from a header or from a page's cookie."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _host_of(value: str) -> str:
    """The name in a Host header, without its port."""
    if value.startswith("["):
        return value[1 : value.find("]")].lower()
    return value.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    """Whether the host is a number: no other site's name leads to it."""
    return ":" in host or (bool(host) and all(part.isdigit() for part in host.split(".")))
