"""Methods of a store beyond records: playback as messages, history joined with the live stream, and coverage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from tickplant.client.subscription import subscribe
from tickplant.client.topic_message import Message
from tickplant.runtime.config import DEFAULT_PUBLISH
from tickplant.store.coverage import CoverageRow, coverage
from tickplant.store.following import Following
from tickplant.store.pacing import Speed
from tickplant.store.playback import Playback
from tickplant.store.selection import Clock

if TYPE_CHECKING:  # the class that has these methods
    from tickplant.store.reader import Store


class StoredStreams:
    """Methods of `Store`, the only class that derives from this one."""

    @property
    def _store(self) -> Store:
        return cast("Store", self)

    def play(
        self,
        *topics: str,
        speed: Speed = "max",
        start_ns: int | None = None,
        end_ns: int | None = None,
        clock: Clock = "recv",
        snapshot: bool = True,
        loop: bool = False,
    ) -> Playback:
        """An iterator over stored ticks and derived records, as the messages that a live subscriber had.

        Args:
            topics: as for `tickplant.subscribe`; none means everything.
            speed: a multiple of real time, or "max".
            start_ns: first time, inclusive; books begin there with a snapshot, unless `snapshot` is False.
            end_ns: last time, exclusive.
            clock: the clock by which producers are merged and messages are due.
            snapshot: see `start_ns`.
            loop: start again at the end.

        Messages have kind `live` or `snapshot`, epoch 0 and topic sequences from 0; at full speed they are as long as
        the chunks of the store. Damage raises DamageError while iterating, unless `on_damage` takes it.
        """
        return Playback(
            self._store,
            topics,
            speed=speed,
            start_ns=start_ns,
            end_ns=end_ns,
            clock=clock,
            snapshot=snapshot,
            loop=loop,
        )

    def follow(
        self,
        *topics: str,
        address: str = DEFAULT_PUBLISH,
        requests: str = "",
        start_ns: int | None = None,
        timeout: float = 60.0,
    ) -> Iterator[Message]:
        """History from a receive time on, then, without a seam, the live stream of the plant that writes this store.

        Messages read from the store have kind `stored`, the others `live` or `recovered`. Every record of a topic comes
        exactly once, in stored order, whatever is killed meanwhile. Never ends.

        Args:
            topics: as for `tickplant.subscribe`.
            address: the address at which the engine publishes.
            requests: the address at which it answers requests.
            start_ns: start of the history; None: its beginning.
            timeout: seconds to wait for the engine, and for the writer to store live records.

        Raises:
            SubscribeError: no engine answers, or it is not the engine of this store.
        """
        live = subscribe(*topics, address=address, requests=requests, snapshot=False, timeout=timeout)
        return Following(self._store, topics, live, timeout_s=timeout).messages(start_ns)

    def coverage(
        self, venue: str = "", symbol: str = "", *, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[CoverageRow]:
        """What is stored for each symbol and UTC day, by receive time, and what is not: gaps and missing days.

        Rows are sorted by venue, symbol and day; empty names mean all. Damage does not end this call: it counts as a
        gap of cause `damage` for every symbol whose producer lost records there. Raises StoreError if both names are
        given and the symbol is unknown, or if a file cannot be read.
        """
        if venue and symbol:
            self._store.find(venue, symbol)
        return coverage(self._store, venue, symbol, start_ns=start_ns, end_ns=end_ns)
