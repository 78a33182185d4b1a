"""Reads the store beside the event loop: in threads, each with a store of its own while it reads.

Decoding, decompression and Arrow release the interpreter lock, so the loop continues meanwhile (bench/gateway.py
measures the effect on streams).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from tickplant.gateway.problems import Problem
from tickplant.store.reader import Store

T = TypeVar("T")

_END: Final = object()


class Abandoned(Exception):  # noqa: N818  # the way out of a long read
    """Nobody waits for the answer any more."""


class StoreReaders:
    """Threads over one data directory.

    Args:
        data_dir: the store.
        threads: number of concurrent reads.
        downloads: number of concurrent answers; more are refused.
    """

    def __init__(self, data_dir: Path, *, threads: int, downloads: int) -> None:
        self.data_dir = data_dir
        self.busy = 0
        self._downloads = downloads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._idle: list[_Reader] = []

    def close(self) -> None:
        """End the threads; their reads are abandoned."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def read(self, work: Callable[[Store], T]) -> T:
        """The result of `work` on the store, in a thread. Raises its errors, and Problem if too many read."""
        reader = self._take()
        try:
            return await self._run(reader, lambda: work(reader.store))
        finally:
            self._give_back(reader)

    async def stream(self, work: Callable[[Store], Iterator[T]]) -> AsyncIterator[T]:
        """The results of `work`, part by part: each is made once the previous one was taken."""
        reader = self._take()
        try:
            parts = await self._run(reader, lambda: work(reader.store))
            while (part := await self._run(reader, lambda: next(parts, _END))) is not _END:
                yield part  # type: ignore[misc]  # not _END
        finally:
            self._give_back(reader)

    async def _run(self, reader: _Reader, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The thread ends at the next chunk; until then it needs its store.
            reader.abandoned.set()
            raise

    def _take(self) -> _Reader:
        if self.busy >= self._downloads:
            message = f"{self.busy} ranges of the store are being read, as many as `downloads` allows: try again"
            raise Problem(503, message, headers={"Retry-After": "1"})
        self.busy += 1
        return self._idle.pop() if self._idle else _Reader(self.data_dir)

    def _give_back(self, reader: _Reader) -> None:
        self.busy -= 1
        if not reader.abandoned.is_set():
            self._idle.append(reader)


class _Reader:
    """A store, whose indexes stay in memory, for one answer at a time."""

    def __init__(self, data_dir: Path) -> None:
        self.abandoned = threading.Event()
        self.store = Store(data_dir, while_reading=self._go_on)

    def _go_on(self) -> None:
        if self.abandoned.is_set():
            raise Abandoned
