"""A process with one or more subscriptions that writes an account of everything it received when told to end.

    python -m chaos.subscriber ADDRESS FILE HEADS TOPICS [TOPICS …]

Each TOPICS, separated by commas, is a subscription with sockets of its own. FILE.ready appears when all are attached.
If HEADS, a JSON object of topic sequences, exists at the end, the subscriptions continue until they have got that far.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from tickplant.client.subscription import Subscription, subscribe
from tickplant.client.topic_message import Message
from tickplant.errors import SubscribeError

NAP_S: Final = 0.01
CATCH_UP_S: Final = 60.0
MESSAGES_PER_TURN: Final = 1000


class Stretch(msgspec.Struct):
    """Records of one topic that came without a hole, over any number of lives of the engine."""

    topic: str
    first: int  # topic sequence, in the first life
    until: int  # in the last life
    first_seq: int  # `seq` of the records themselves
    last_seq: int
    records: int
    digest: str


class Account(msgspec.Struct):
    """What one subscription received. `holes` are unreported ones: there must be none."""

    topics: list[str]
    stretches: list[Stretch] = []
    losses: dict[str, int] = {}  # reported ones, by topic
    recovered: int = 0
    holes: list[str] = []


class _Topic:
    """One topic, record by record."""

    def __init__(self, name: str, account: Account) -> None:
        self.name = name
        self._account = account
        self._epoch = -1
        self._excused = True  # whether a hole is acceptable here
        self._stretch: Stretch | None = None
        self._digest = hashlib.blake2b(digest_size=16)
        self.reached = 0

    def take(self, message: Message) -> None:
        """Take in the next message of the topic."""
        if message.kind == "lost":
            self.close()
            self._excused = True
            self._account.losses[self.name] = self._account.losses.get(self.name, 0) + 1
            return
        # Topic sequences of another engine life start over. The digest of the stretch, which continues, shows whether
        # anything is missing between the lives. A snapshot says nothing about what was before it.
        follows = message.first_seq == (self.reached if message.epoch == self._epoch else 0)
        if message.epoch != self._epoch and message.kind == "snapshot":
            follows = False
        if self._excused or not follows:
            if not self._excused:
                self._account.holes.append(f"{self.name}: {self.reached} is followed by {message.first_seq}")
            self.close()
        self._excused = False
        self._epoch, self.reached = message.epoch, message.first_seq
        if message.kind == "snapshot":
            return
        seqs = message.records["seq"]
        if self._stretch is None:
            self._stretch = Stretch(self.name, message.first_seq, 0, int(seqs[0]), 0, 0, "")
        self._stretch.records += len(seqs)
        self._stretch.last_seq = int(seqs[-1])
        self.reached = self._stretch.until = message.first_seq + len(seqs)
        self._digest.update(message.records.tobytes())
        self._account.recovered += len(seqs) if message.kind == "recovered" else 0

    def close(self) -> None:
        """End the stretch: what comes next does not follow it."""
        if self._stretch is not None:
            self._stretch.digest = self._digest.hexdigest()
            self._account.stretches.append(self._stretch)
            self._stretch = None
        self._digest = hashlib.blake2b(digest_size=16)


class _Keeper:
    """One subscription and its account."""

    def __init__(self, subscription: Subscription, topics: list[str]) -> None:
        self.account = Account(topics)
        self._subscription = subscription
        self._topics: dict[str, _Topic] = {}

    def turn(self) -> bool:
        """Take in what has arrived, up to a limit; returns whether there was anything."""
        for taken in range(MESSAGES_PER_TURN):
            message = self._subscription.receive(0.0)
            if message is None:
                return taken > 0
            if message.topic not in self._topics:
                self._topics[message.topic] = _Topic(message.topic, self.account)
            self._topics[message.topic].take(message)
        return True

    def has_reached(self, heads: dict[str, int]) -> bool:
        """Whether each topic that it wants has got that far."""
        return all(
            name in self._topics and self._topics[name].reached >= head
            for name, head in heads.items()
            if any(f"{name}.".startswith(f"{topic}.") for topic in self.account.topics)
        )

    def close(self) -> Account:
        """The whole account."""
        for topic in self._topics.values():
            topic.close()
        return self.account


def main() -> None:
    """Run the process."""
    address, file, heads_file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    wanted = [words.split(",") for words in sys.argv[4:]]
    stopping: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    keepers: list[_Keeper] = []
    while len(keepers) < len(wanted) and not stopping:
        topics = wanted[len(keepers)]
        with contextlib.suppress(SubscribeError):
            keepers.append(_Keeper(subscribe(*topics, address=address, timeout=2.0), topics))
    file.with_suffix(".ready").touch()

    def turn() -> None:
        busy = [keeper.turn() for keeper in keepers]
        if not any(busy):
            time.sleep(NAP_S)

    while not stopping:
        turn()
    if heads_file.exists():
        heads = msgspec.json.decode(heads_file.read_bytes(), type=dict[str, int])
        deadline_s = time.monotonic() + CATCH_UP_S
        while time.monotonic() < deadline_s and not all(keeper.has_reached(heads) for keeper in keepers):
            turn()
    file.write_bytes(msgspec.json.encode([keeper.close() for keeper in keepers]))


if __name__ == "__main__":
    main()
