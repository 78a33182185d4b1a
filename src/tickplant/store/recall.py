"""The recall process: stored records for subscribers of an engine that has forgotten them.

`python -m tickplant.store.recall`, its stdin being a control.RecallSpec. Announces itself to the engine, then answers
what it is asked, one passage after another (control.Passage). Exits 0 when stopped, and after a while without a
request: the engine asks for another one when it needs it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Final

import msgspec
import numpy as np
import structlog
import zmq
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import TICK, Schema
from tickplant.records.merge import join_records
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import (
    RECALL_READY,
    ControlClient,
    Counters,
    Passage,
    RecallSpec,
    Stop,
)
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.wire import TICK_CHANNELS, bar_channel
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.index import Damage

Records = NDArray[np.void]

PATIENCE_S: Final = 8.0
"""A passage that takes longer to read is given up: by then nobody waits for it any more."""

WRITER_S: Final = 3.0
"""How long it waits for the writer where the end of a passage is not stored yet; more than a usual `flush_s`."""

WRITER_LOOK_MS: Final = 50
TURN_MS: Final = 100  # longest wait before heartbeats and signals have their turn
_PASSAGE: Final = msgspec.msgpack.Decoder(Passage)


class _Topic:
    """Picks the records of one topic from those of its instrument, in order."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._trade_bits = np.zeros(passage.instrument + 1, np.uint32)
        if passage.channel in ("trade", "agg_trade"):
            # The passage begins with a record of this topic, so a GAP in the trades belongs here until one says no.
            self._trade_bits[passage.instrument] = 1 << TICK_CHANNELS.index(passage.channel)

    def of(self, records: Records) -> Records:
        """Those of these records; the next ones of the instrument."""
        channel = self._passage.channel
        if self._passage.schema == Schema.TICK:
            masks = np.empty(len(records), np.uint32)
            tick_channels(records, masks, self._trade_bits)
            records = records[(masks >> TICK_CHANNELS.index(channel)) & 1 == 1]
        elif self._passage.schema == Schema.BAR:
            lengths = [s for s in np.unique(records["interval_s"]).tolist() if bar_channel(s) == channel]
            records = records[np.isin(records["interval_s"], lengths)]
        return records


def recall(store: Store, passage: Passage) -> bytes:
    """The records that a passage wants; empty where the store does not have the passage as the topic carried it.

    Both its ends and the number of records between them must agree: what is damaged, or not durable yet, is not passed
    over.

    Raises StoreError.
    """
    topic = _Topic(passage)
    wanted = passage.skip, passage.skip + passage.count
    parts: list[Records] = []
    found = 0
    first_seq = last_seq = -1
    until_s = time.monotonic() + PATIENCE_S
    for records in store.read(
        passage.producer,
        Schema(passage.schema),
        Selection(ids=frozenset({passage.instrument})),
        first_seq=passage.first_seq,
        last_seq=passage.last_seq,
    ):
        chosen = topic.of(records)
        if len(chosen):
            first_seq = int(chosen[0]["seq"]) if not found else first_seq
            last_seq = int(chosen[-1]["seq"])
            part = chosen[max(0, wanted[0] - found) : max(0, wanted[1] - found)]
            found += len(chosen)
            if len(part):
                parts.append(part)
        if time.monotonic() > until_s:
            return b""
    if (first_seq, last_seq, found) != (passage.first_seq, passage.last_seq, passage.records):
        return b""
    return join_records(parts).tobytes()


class RecallProcess:
    """Answers one passage after another until nobody asks any more."""

    def __init__(self, spec: RecallSpec, client: ControlClient, engine: zmq.Socket[bytes]) -> None:
        self.stopping = False
        self.recalled = 0
        self.missing = 0  # passages that the store does not have
        self._spec = spec
        self._client = client
        self._engine = engine
        self._log = structlog.get_logger()
        self._store = Store(spec.plant.data_dir, on_damage=self._tell, while_reading=self._beat)
        self._beat_s = 0.0

    def run(self) -> None:
        """Answer until stopped or idle."""
        self._client.hello()
        idle_s = time.monotonic() + self._spec.idle_s
        while not self.stopping and time.monotonic() < idle_s:
            self._beat()
            if self._engine.poll(TURN_MS):
                self._answer(_PASSAGE.decode(self._engine.recv()))
                idle_s = time.monotonic() + self._spec.idle_s

    def stop(self, *_: object) -> None:
        """Answer no more. May be called from a signal handler."""
        self.stopping = True

    def counters(self) -> Counters:
        """What the supervisor shows."""
        return {"recalled": self.recalled, "missing": self.missing}

    def _answer(self, passage: Passage) -> None:
        try:
            self._wait_for_writer(passage)
            payload = recall(self._store, passage)
        except StoreError as error:
            self._log.error("the store cannot be read", why=str(error))
            payload = b""
        self.recalled += bool(payload)
        self.missing += not payload
        # Where the engine takes none it has been replaced, or hangs: nobody waits for this one.
        with contextlib.suppress(zmq.Again):
            self._engine.send_multipart([passage.id.to_bytes(8, "little"), payload], zmq.NOBLOCK)

    def _wait_for_writer(self, passage: Passage) -> None:
        """Under load a small memory forgets sooner than the writer flushes."""
        until_s = time.monotonic() + WRITER_S
        while self._store.next_seq(passage.producer, Schema(passage.schema)) <= passage.last_seq:
            if self.stopping or time.monotonic() > until_s:
                break
            self._client.socket.poll(WRITER_LOOK_MS)
            self._beat()

    def _beat(self) -> None:
        """Report when it is time."""
        now_s = time.monotonic()
        if now_s < self._beat_s:
            return
        self._beat_s = now_s + self._spec.plant.heartbeat_s
        with contextlib.suppress(zmq.Again):
            self._engine.send(RECALL_READY, zmq.NOBLOCK)
        self._client.heartbeat(self.counters())
        if any(isinstance(message, Stop) for message in self._client.receive()):
            self.stop()

    def _tell(self, damage: Damage) -> None:
        # What is missing shows in the number of records, if it matters at all.
        self._log.warning("damage in the journal", damage=str(damage))


def warm_up() -> None:
    """Compile or load the kernels of such a process."""
    warm_up_codec()
    tick_channels(np.zeros(1, TICK), np.zeros(1, np.uint32), np.zeros(1, np.uint32))


def main() -> None:
    """Run one recall process; ends the process."""
    with child_process(RecallSpec) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            client = ControlClient(spec.plant.control, spec.name)
            resources.callback(client.close)
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            resources.callback(context.term)
            engine = context.socket(zmq.DEALER)
            resources.callback(engine.close, 0)
            engine.connect(spec.address)
            process = RecallProcess(spec, client, engine)
            signal.signal(signal.SIGTERM, process.stop)
            process.run()


if __name__ == "__main__":
    main()
