"""When to try again: backoff with full jitter, and a circuit breaker per endpoint.

The classes are pure: the clock, in seconds of `time.monotonic`, is passed in. Only `admitted` reads it and sleeps.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Literal

Uniform = Callable[[float, float], float]


class Backoff:
    """Pause before the next attempt: uniform in 0 … min(cap, base * 2**failures), so that a crowd spreads out.

    (The "full jitter" of M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015.) An open connection
    proves little: the count returns to zero only after data has flowed for `healthy_s`.
    """

    def __init__(
        self,
        *,
        base_s: float = 0.5,
        cap_s: float = 60.0,
        healthy_s: float = 10.0,
        uniform: Uniform = random.uniform,
    ) -> None:
        self.failures = 0
        self._base_s = base_s
        self._cap_s = cap_s
        self._healthy_s = healthy_s
        self._uniform = uniform
        self._flowing_since_s: float | None = None

    def flowing(self, now_s: float) -> None:
        """Note that data is arriving; call this now and then while it does."""
        if self._flowing_since_s is None:
            self._flowing_since_s = now_s
        elif now_s - self._flowing_since_s >= self._healthy_s:
            self.failures = 0

    def failed(self, *, at_least_s: float = 0.0) -> float:
        """Note a failed attempt or a lost connection; returns the pause. `at_least_s` is what the venue asked for."""
        self._flowing_since_s = None
        ceiling_s = min(self._cap_s, self._base_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return at_least_s + self._uniform(0.0, ceiling_s)


class Breaker:
    """Leaves an endpoint alone that keeps failing, or that asked for a pause.

    Closed: everything may try. After `threshold` consecutive failures it opens: nothing may try for `open_s`. Then it
    is half open: one attempt decides. A further failure doubles the pause, up to `cap_s`; one success closes the
    circuit.
    """

    def __init__(self, *, threshold: int = 8, open_s: float = 30.0, cap_s: float = 300.0) -> None:
        self._threshold = threshold
        self._open_s = open_s
        self._cap_s = cap_s
        self._failures = 0
        self._pause_s = open_s
        self._until_s: float | None = None  # set while open or half open
        self._held_until_s = 0.0
        self._trying = False

    @property
    def state(self) -> Literal["closed", "open", "half open"]:
        """The present state."""
        if self._until_s is None:
            return "closed"
        return "half open" if self._trying else "open"

    def wait_s(self, now_s: float) -> float:
        """Time that an attempt must still wait; at 0 the caller goes ahead and reports the outcome."""
        wait_s = max(self._held_until_s, self._until_s or 0.0) - now_s
        if wait_s > 0:
            return wait_s
        if self._until_s is not None:
            if self._trying:
                return self._open_s  # another attempt is deciding
            self._trying = True
        return 0.0

    def hold(self, now_s: float, seconds: float) -> None:
        """Leave the endpoint alone for this long, as it asked (Retry-After)."""
        self._held_until_s = max(self._held_until_s, now_s + seconds)

    def succeeded(self) -> bool:
        """Note a successful attempt. Returns whether it closed the circuit."""
        closed = self._until_s is not None
        self._failures, self._until_s, self._trying, self._pause_s = 0, None, False, self._open_s
        return closed

    def failed(self, now_s: float) -> bool:
        """Note a failed attempt. Returns whether it opened a closed circuit."""
        self._failures += 1
        if self._until_s is None:
            if self._failures < self._threshold:
                return False
            self._until_s = now_s + self._pause_s
            return True
        if self._trying:  # not an attempt that began before the circuit opened
            self._trying = False
            self._pause_s = min(self._cap_s, self._pause_s * 2)
            self._until_s = now_s + self._pause_s
        return False

    def abandoned(self) -> None:
        """Note an attempt that ended without an outcome, because it was cancelled."""
        self._trying = False


async def admitted(breaker: Breaker) -> None:
    """Wait until the breaker admits an attempt; the caller must report the outcome."""
    while True:
        wait_s = breaker.wait_s(time.monotonic())
        if wait_s <= 0:
            return
        await asyncio.sleep(wait_s)
