"""The same subscription for programs with an event loop: `subscribe_async`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, ParamSpec, Self

from tickplant.client.subscription import Subscription, subscribe
from tickplant.client.topic_message import Message

P = ParamSpec("P")

LOOK_S: Final = 0.25
"""The longest wait between two looks: a subscription has deadlines, and ZeroMQ may signal only part of what arrived."""

MESSAGES_PER_TURN: Final = 64
"""How many waiting messages are returned before the loop's other tasks get a turn."""


class AsyncSubscription:
    """An asynchronous iterator over `Message`s, made by `subscribe_async`. Only one task may use it at a time.

    It returns the same messages as a `Subscription`, by the same rules (see `follower`). A task that is cancelled while
    waiting loses no message.
    """

    def __init__(self, attach: Callable[[], Subscription]) -> None:
        self._attach = attach
        self._inner: Subscription | None = None
        self._something = asyncio.Event()
        self._given = 0  # since other tasks had their turn

    @property
    def subscription(self) -> Subscription:
        """The wrapped Subscription, with its counters. Raises RuntimeError outside `async with`."""
        if self._inner is None:
            raise RuntimeError("not attached: use it as `async with tickplant.subscribe_async(…) as messages`")
        return self._inner

    async def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None if none comes within `timeout_s`. Raises SubscribeError for a foreign stream."""
        inner = self.subscription
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._something.clear()
            if (message := inner.receive(0.0)) is not None:
                self._given = (self._given + 1) % MESSAGES_PER_TURN
                if not self._given:
                    await asyncio.sleep(0)
                return message
            left_s = LOOK_S if deadline_s is None else min(LOOK_S, deadline_s - time.monotonic())
            if left_s <= 0:
                return None
            if not inner.pending():
                self._given = 0
                try:
                    await asyncio.wait_for(self._something.wait(), left_s)
                except TimeoutError:
                    continue

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = None if self._inner is None else await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> Self:
        # Attaching waits for an engine's answer, so a thread does it; ZeroMQ lets a socket move to another thread.
        self._inner = await asyncio.to_thread(self._attach)
        loop = asyncio.get_running_loop()
        for descriptor in self._inner.descriptors():
            loop.add_reader(descriptor, self._something.set)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detach. Idempotent."""
        if self._inner is not None:
            loop = asyncio.get_running_loop()
            for descriptor in self._inner.descriptors():
                loop.remove_reader(descriptor)
            self._inner.close()
            self._inner = None


def _with_loop(attach: Callable[P, Subscription]) -> Callable[P, AsyncSubscription]:
    def subscribe_async(*topics: P.args, **options: P.kwargs) -> AsyncSubscription:
        """As `subscribe`, with the same arguments, for `async with` and `async for`.

        `async with` attaches, and raises what `subscribe` raises.
        """
        return AsyncSubscription(functools.partial(attach, *topics, **options))

    subscribe_async.__signature__ = inspect.signature(attach)  # type: ignore[attr-defined]
    return subscribe_async


subscribe_async = _with_loop(subscribe)
