"""The recall process: stored records for subscribers of an engine that has forgotten them.

`python -m tickplant.store.recall`, its stdin being a job_specs.RecallSpec. Announces itself to the engine, then answers
what it is asked, one passage after another (control.Passage). Exits 0 when stopped, and after a while without a
request: the engine asks for another one when it needs it.
"""

from __future__ import annotations

import contextlib
import time
from typing import Final

import msgspec
import numpy as np
import structlog
import zmq
from numpy.typing import NDArray

from tickplant.derive.registry import BY_SCHEMA
from tickplant.derive.series import SeriesTable
from tickplant.errors import StoreError
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import TICK, Schema
from tickplant.records.merge import join_records
from tickplant.records.schemas import FACTS
from tickplant.runtime.child_loop import ChildLoop
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import RECALL_READY, Counters, Passage
from tickplant.runtime.job_specs import RecallSpec
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.wire import TICK_CHANNELS
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.index import Damage

Records = NDArray[np.void]

PATIENCE_S: Final = 8.0
"""A passage that takes longer to read is given up: by then nobody waits for it any more."""

WRITER_S: Final = 3.0
"""How long it waits for the writer where the end of a passage is not stored yet; more than a usual `flush_s`."""

WRITER_LOOK_S: Final = 0.05
_PASSAGE: Final = msgspec.msgpack.Decoder(Passage)


class _Topic:
    """Picks the records of one topic from those of its instrument, in order."""

    def __init__(self, passage: Passage, series: SeriesTable) -> None:
        self._passage = passage
        self._series = series
        self._carried = np.zeros(passage.instrument + 1, np.uint32)
        if passage.channel in TICK_CHANNELS:
            # The passage begins with a record of this topic, so a GAP belongs here until a trade says no.
            self._carried[passage.instrument] = 1 << TICK_CHANNELS.index(passage.channel)

    def of(self, records: Records) -> Records:
        """Those of these records; the next ones of the instrument."""
        channel = self._passage.channel
        if self._passage.schema == Schema.TICK:
            masks = np.empty(len(records), np.uint32)
            tick_channels(records, masks, self._carried)
            records = records[(masks >> TICK_CHANNELS.index(channel)) & 1 == 1]
        elif name := FACTS[Schema(self._passage.schema)].series:
            entry = BY_SCHEMA[Schema(self._passage.schema)]
            found = np.unique(records[name]).tolist()
            names = self._series.up_to(found[-1]) if entry.facts.named and found else []
            numbers = [number for number in found if entry.channel(number, names) == channel]
            records = records[np.isin(records[name], numbers)]
        return records


def recall(store: Store, passage: Passage) -> bytes:
    """The records that a passage wants; empty where the store does not have the passage as the topic carried it.

    Both its ends and the number of records between them must agree: what is damaged, or not durable yet, is not passed
    over.

    Raises StoreError.
    """
    topic = _Topic(passage, store.series)
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

    def __init__(self, spec: RecallSpec, resources: contextlib.ExitStack) -> None:
        self.recalled = 0
        self.missing = 0  # passages that the store does not have
        self._spec = spec
        self._log = structlog.get_logger()
        self._loop = resources.enter_context(
            ChildLoop(spec.plant, spec.name, lambda: (self.counters(), []), on_beat=self._announce)
        )
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        resources.callback(context.term)
        self._engine: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        resources.callback(self._engine.close, 0)
        self._engine.connect(spec.address)
        self._loop.poll.add_socket(self._engine, lambda: None)
        self._store = Store(spec.plant.data_dir, on_damage=self._tell, while_reading=self._loop.beat)

    def run(self) -> None:
        """Answer until stopped or idle."""
        loop = self._loop
        loop.client.hello()
        idle_s = time.monotonic() + self._spec.idle_s
        while not loop.stopping and time.monotonic() < idle_s:
            loop.beat()
            loop.wait(min(loop.due_s, idle_s - time.monotonic()))
            with contextlib.suppress(zmq.Again):
                self._answer(_PASSAGE.decode(self._engine.recv(zmq.NOBLOCK)))
                idle_s = time.monotonic() + self._spec.idle_s

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
            if self._loop.stopping or time.monotonic() > until_s:
                break
            self._loop.nap(WRITER_LOOK_S)
            self._loop.beat()

    def _announce(self) -> None:
        with contextlib.suppress(zmq.Again):
            self._engine.send(RECALL_READY, zmq.NOBLOCK)

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
            RecallProcess(spec, resources).run()


if __name__ == "__main__":
    main()
