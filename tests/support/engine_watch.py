"""One book as an engine publishes it, message by message, and its state at each sequence, by the tests' own folds."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from decimal import Decimal

from folded_book import FoldedBook
from folded_orders import FoldedOrders
from page_browser import Shown
from plant_process import DEADLINE_S

import tickplant
from tickplant.client.follower import Message
from tickplant.records.layouts import Side


class EngineWatch:
    """A subscriber of a topic `book` or `orders`, in a thread."""

    def __init__(self, address: str, topic: str) -> None:
        self.messages: list[Message] = []
        self._address = address
        self._topic = topic
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with tickplant.subscribe(self._topic, address=self._address) as subscription:
            while not self._over.is_set():
                message = subscription.receive(0.1)
                if message is not None:
                    self.messages.append(message)

    def close(self) -> None:
        """Unsubscribe."""
        self._over.set()
        self._thread.join(DEADLINE_S)

    @property
    def end_seq(self) -> int:
        """The topic sequence after the last record."""
        return self.messages[-1].first_seq + len(self.messages[-1].records) if self.messages else 0

    def books(self, wanted: Iterable[int]) -> Iterator[tuple[int, Shown]]:
        """All levels just before each of these sequences."""
        fold: FoldedBook | FoldedOrders = FoldedOrders() if self._topic.endswith(".orders") else FoldedBook()
        apply = fold.apply if isinstance(fold, FoldedOrders) else fold.apply_ticks
        left = sorted(wanted, reverse=True)
        for message in self.messages:
            ticks, at = message.records, message.first_seq
            while left and message.kind != "snapshot" and left[-1] <= at + len(ticks):
                seq = left.pop()
                apply(ticks[: seq - at])
                ticks, at = ticks[seq - at :], seq
                yield seq, _levels(fold, message)
            apply(ticks)


def _levels(fold: FoldedBook | FoldedOrders, message: Message) -> Shown:
    if isinstance(fold, FoldedOrders):
        sides = fold.levels(message.price_scale, message.size_scale)
    else:
        price, size = Decimal(1).scaleb(-message.price_scale), Decimal(1).scaleb(-message.size_scale)
        sides = {side: {at * price: of * size for at, of in fold.levels[side].items()} for side in fold.levels}
    return Shown(*(sorted(sides[side].items(), reverse=side is Side.BID) for side in (Side.BID, Side.ASK)))
