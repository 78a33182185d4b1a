"""HTTP GETs to a venue: what an adapter asks for, answered with a RestResponse whatever happens.

No retries here: the adapter, which knows what it still needs, asks again. Proxies are off unless one is given; the
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
from tickplant.feeds.contract import RestRequest, RestResponse
from tickplant.feeds.transports.transport import retry_after_s

TIMEOUT_S: Final = 15.0
CONNECT_TIMEOUT_S: Final = 5.0
MAX_BODY_BYTES: Final = 64 << 20
CONCURRENT: Final = 2
"""Requests in flight at a time: venues weigh requests by the minute, and a snapshot storm earns a ban."""

SLOW_S: Final = 2.0

HELD_429_S: Final = 5.0
HELD_418_S: Final = 120.0
"""Pause where a venue refuses for too many requests (429) or has banned us (418) and does not say how long."""


@functools.cache
def trusted() -> ssl.SSLContext:
    """The authorities whose certificates are accepted. Reading them takes 50 ms: once, in the fork server."""
    return httpx.create_ssl_context(trust_env=False)


def prepare() -> None:
    """Load what a first client would load: httpx imports most of itself then."""
    httpx.AsyncClient(verify=trusted(), trust_env=False)


class RestClient:
    """One venue's REST address.

    `on_circuit` is called with True when the address is left alone, because it failed again and again or because it
    asked for it (429, 418), and with False when it has answered again.
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
        self.failed = 0  # requests without a good answer, of whatever kind
        self.slow = 0  # answers that took longer than SLOW_S
        self._breaker = breaker or Breaker()
        self._on_circuit = on_circuit
        self._left_alone = False
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            verify=trusted(),
            proxy=proxy,
            trust_env=False,
        )

    def url(self, request: RestRequest) -> str:
        """Whole address of a request, for logs."""
        return f"{self._base_url}{request.path}"

    async def fetch(self, request: RestRequest) -> RestResponse:
        """Wait until the request, the endpoint and the breaker allow it, then ask. Never raises for what happens."""
        early_s = (request.not_before_ns - time.time_ns()) / 1e9
        if early_s > 0:
            await asyncio.sleep(early_s)
        async with self._slots:
            await admitted(self._breaker)
            self.requests += 1
            asked_s = time.monotonic()
            try:
                response = await self._get(request)
            except asyncio.CancelledError:
                self._breaker.abandoned()
                raise
        took_s = time.monotonic() - asked_s
        self.failed += response.status != 200
        if took_s > SLOW_S:
            self.slow += 1
            structlog.get_logger().warning("REST answer is slow", url=self.url(request), took_s=round(took_s, 1))
        self._judge(response)
        return response

    def _judge(self, response: RestResponse) -> None:
        now_s = time.monotonic()
        left_alone = response.status in (418, 429)
        if left_alone:
            default_s = HELD_418_S if response.status == 418 else HELD_429_S
            self._breaker.hold(now_s, response.retry_after_s or default_s)
        if _is_failure(response):
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

    async def _get(self, request: RestRequest) -> RestResponse:
        status, wait_s, body = 0, None, bytearray()
        try:
            async with (
                asyncio.timeout(2 * TIMEOUT_S),
                self._client.stream("GET", request.path, headers=request.headers) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        raise httpx.ReadError(f"the answer is longer than {MAX_BODY_BYTES >> 20} MiB")
                status, wait_s = answer.status_code, retry_after_s(answer.headers.get("Retry-After"))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # TimeoutError is an OSError
            body = bytearray((str(error) or type(error).__name__).encode())
        return RestResponse(
            request=request, status=status, body=bytes(body), ts_recv_ns=time.time_ns(), retry_after_s=wait_s
        )


def _is_failure(response: RestResponse) -> bool:
    """Whether an answer counts against the endpoint: no answer, overload, a ban, or a fault of the server."""
    return response.status in (0, 403, 418, 429) or response.status >= 500
