"""HTTP requests to an endpoint of a venue: each request of an adapter gets an Answer, whatever happens.

No retries here: the adapter knows what it still needs, and asks again. Proxies are off unless one is given; the
environment is not read.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Callable
from typing import Final

import httpx
import structlog

from tickplant.feeds.backoff import Breaker, admitted
from tickplant.feeds.contract import Answer, Request
from tickplant.feeds.transports.transport import retry_after_s

TIMEOUT_S: Final = 15.0
"""Timeout of each step of a request, including the connection: longer than most standstills of a paused machine."""
MAX_BODY_BYTES: Final = 64 << 20
CONCURRENT: Final = 2
"""Requests in flight at a time: venues weigh requests by the minute, and a burst of snapshots earns a ban."""

SLOW_S: Final = 2.0

HELD_S: Final = {429: 5.0, 418: 120.0}
"""Pause by status if a venue refuses (429: too many requests; 418: banned) without saying for how long."""


@functools.cache
def trusted() -> ssl.SSLContext:
    """The certificate authorities that are accepted. Loading them takes 50 ms: done once, in the fork server."""
    return httpx.create_ssl_context(trust_env=False)


def prepare() -> None:
    """Load what a first client would load: httpx imports most of itself only then."""
    httpx.AsyncClient(verify=trusted(), trust_env=False)


class RestClient:
    """One endpoint of a venue.

    `on_circuit` is called with True when the address is left alone, because it kept failing or asked for it (429, 418),
    and with False when it has answered again.
    """

    def __init__(
        self,
        base_url: str,
        on_circuit: Callable[[bool], None],
        *,
        proxy: str | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self.requests = 0
        self.failed = 0  # requests without a good answer, for any reason
        self.slow = 0  # answers that took longer than SLOW_S
        self._breaker = breaker or Breaker()
        self._on_circuit = on_circuit
        self._left_alone = False
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=TIMEOUT_S,
            verify=trusted(),
            proxy=proxy,
            trust_env=False,
        )

    def url(self, request: Request) -> str:
        """The full address of a request, for logs."""
        return f"{self._base_url}{'/…' if request.secret else request.path}"

    def hold(self, for_s: float) -> None:
        """Send nothing for this long."""
        self._breaker.hold(time.monotonic(), for_s)

    async def fetch(self, request: Request) -> tuple[Answer, int]:
        """Wait until the request, the endpoint and the breaker allow it, then ask. Never raises.

        Returns the answer and the time in ns at which it was complete.
        """
        early_s = (request.not_before_ns - time.time_ns()) / 1e9
        if early_s > 0:
            await asyncio.sleep(early_s)
        async with self._slots:
            await admitted(self._breaker)
            self.requests += 1
            asked_s = time.monotonic()
            try:
                answer = await self._ask(request)
            except asyncio.CancelledError:
                self._breaker.abandoned()
                raise
        took_s = time.monotonic() - asked_s
        self.failed += answer.status != 200
        if took_s > SLOW_S:
            self.slow += 1
            structlog.get_logger().warning("REST answer is slow", url=self.url(request), took_s=round(took_s, 1))
        self._judge(answer)
        return answer, time.time_ns()

    def _judge(self, answer: Answer) -> None:
        now_s = time.monotonic()
        left_alone = answer.status in (418, 429)
        if left_alone:
            self._breaker.hold(now_s, answer.retry_after_s or HELD_S[answer.status])
        if _is_failure(answer):
            left_alone |= self._breaker.failed(now_s)
            if left_alone and not self._left_alone:
                self._left_alone = True
                self._on_circuit(True)
        else:
            self._breaker.succeeded()
            if self._left_alone:
                self._left_alone = False
                self._on_circuit(False)

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def _ask(self, request: Request) -> Answer:
        status, wait_s, body = 0, None, bytearray()
        try:
            async with (
                asyncio.timeout(2 * TIMEOUT_S),
                self._client.stream(
                    request.method, request.path, headers=request.headers, content=request.body or None
                ) as response,
            ):
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        raise httpx.ReadError(f"the answer is longer than {MAX_BODY_BYTES >> 20} MiB")
                status, wait_s = response.status_code, retry_after_s(response.headers.get("Retry-After"))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # TimeoutError is an OSError
            body = bytearray((str(error) or type(error).__name__).encode())
        return Answer(request, status, bytes(body), wait_s)


def _is_failure(answer: Answer) -> bool:
    """Whether an answer counts against the endpoint: no answer, overload, a ban, or a server error."""
    return answer.status in (0, 403, 418, 429) or answer.status >= 500
