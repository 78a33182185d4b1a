"""Watches for listeners: a source begins when its streams have subscribers."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from tickplant.sim.outlet import Outlet
from tickplant.sim.spec import SimSpec


class Audience:
    """Wakes a source when subscriptions change."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Note that a client subscribed, unsubscribed, or asked for something."""
        self._changed.set()

    async def next_change(self, timeout_s: float | None = None) -> None:
        """Return at the next `changed`, or after this time."""
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def assembled(self, outlet: Outlet, streams: NDArray[np.bool_], spec: SimSpec) -> None:
        """Return when each of these streams has a subscriber, or some have and the others' time is over."""
        while not outlet.wanted[streams].any():
            await self.next_change()
        deadline_s = time.monotonic() + spec.settle_partial_s
        while not outlet.wanted[streams].all() and time.monotonic() < deadline_s:
            await self.next_change(deadline_s - time.monotonic())
        await asyncio.sleep(spec.settle_s)
