"""What a store gives beside records: messages as live, history joined with the live stream, and what there is of it."""

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
    """Methods of `Store`, which alone derives from this."""

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
        """An iterator over what is stored as the messages that a live subscriber had: ticks, and what was derived.

        Args:
            topics: as for `tickplant.subscribe`; none means everything.
            speed: times real time, or "max".
            start_ns: first time, inclusive; books begin there with a snapshot, unless `snapshot` is False.
            end_ns: last time, exclusive.
            clock: by which the producers are merged and the messages are due.
            snapshot: see `start_ns`.
            loop: begin again at the end.

        Messages have kind `live` or `snapshot`, epoch 0 and topic sequences from 0 on; at full speed they are as long
        as the chunks of the store. Damage raises DamageError while iterating, unless `on_damage` takes it.
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
        """History from a receive time on, then the live stream of the plant that writes this store, without a seam.

        Messages that were read from the store have kind `stored`, the others `live` or `recovered`; of each topic every
        record comes once, in stored order, whatever is killed meanwhile. Never ends.

        Args:
            topics: as for `tickplant.subscribe`.
            address: where the engine publishes.
            requests: where it answers requests.
            start_ns: where history begins; None: at its beginning.
            timeout: seconds to wait for the engine, and for the writer to store what has come live.

        Raises:
            SubscribeError: no engine answers, or it is not the one of this store.
        """
        live = subscribe(*topics, address=address, requests=requests, snapshot=False, timeout=timeout)
        return Following(self._store, topics, live, timeout_s=timeout).messages(start_ns)

    def coverage(
        self, venue: str = "", symbol: str = "", *, start_ns: int | None = None, end_ns: int | None = None
    ) -> list[CoverageRow]:
        """What is stored of each symbol and UTC day, by receive time, and what is not: gaps, and days that are missing.

        Rows are sorted by venue, symbol and day; empty names mean all. Damage does not end this: it is a gap of cause
        `damage` of every symbol whose producer lost records there. Raises StoreError where both names are given and
        nothing is known of the symbol, or a file cannot be read.
        """
        if venue and symbol:
            self._store.find(venue, symbol)
        return coverage(self._store, venue, symbol, start_ns=start_ns, end_ns=end_ns)
