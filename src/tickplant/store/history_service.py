"""The history service: serves stored records to subscribers of engines that no longer hold them in memory.

`python -m tickplant.store.history_service` reads a job_specs.HistorySpec from stdin, and answers one request after
another (`topic_history`). It registers and remembers nothing: a request carries the route for its answer, and every
life of this process gives the same one. It exits 0 when stopped, and after a while without requests: engines have it
started when they need it.
"""

from __future__ import annotations

import contextlib
import time
from typing import Final, NamedTuple

import msgspec
import numpy as np
import structlog
import zmq

from tickplant.errors import StoreError
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import TICK, Schema
from tickplant.runtime.child_loop import ChildLoop
from tickplant.runtime.child_process import child_process
from tickplant.runtime.control import HISTORY_HEAD, Counters, Passage
from tickplant.runtime.job_specs import HistorySpec
from tickplant.store.topic_history import TopicHistory, least_of
from tickplant.wire import GetHistory, Refused, encode
from tickplant.writer.format.codec import warm_up as warm_up_codec
from tickplant.writer.index import Damage

WRITER_LOOK_S: Final = 0.05
"""How often to check whether the writer has caught up; other requests are answered meanwhile."""

QUEUED: Final = 256
"""How many requests of an engine may wait here, and how many answers may wait for the engine."""

STALE_S: Final = 10.0
"""A request older than this is dropped: its sender has asked again."""

_QUESTION: Final = msgspec.msgpack.Decoder(Passage | GetHistory)


class _Early(NamedTuple):
    """A request ahead of the writer, and the latest time to answer it; `way`: the frames that route its answer."""

    until_s: float
    way: list[bytes]
    asked: Passage | GetHistory


class HistoryService:
    """Answers requests until none come any more."""

    def __init__(self, spec: HistorySpec, resources: contextlib.ExitStack) -> None:
        self.answered = 0
        self.missing = 0  # requests that the store could not answer
        self._early: list[_Early] = []
        self._looked_s = 0.0
        self._idle_s, self._writer_s = spec.idle_s, spec.writer_s
        self._log = structlog.get_logger()
        self._loop = resources.enter_context(ChildLoop(spec.plant, spec.name, lambda: (self.counters(), [])))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        resources.callback(context.term)
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        resources.callback(self._socket.close, int(WRITER_LOOK_S * 1000))
        self._socket.set(zmq.RCVHWM, QUEUED)
        self._socket.set(zmq.SNDHWM, QUEUED)
        self._socket.bind(spec.address)
        self._address = spec.address
        self._loop.poll.add_socket(self._socket, lambda: None)
        self._history = TopicHistory(spec.plant.data_dir, on_damage=self._tell, while_reading=self._loop.beat)

    def run(self) -> None:
        """Answer until stopped or idle."""
        loop = self._loop
        loop.hello()
        idle_s = time.monotonic() + self._idle_s
        while not loop.stopping and (self._early or time.monotonic() < idle_s):
            loop.beat()
            loop.wait(min(loop.due_s, WRITER_LOOK_S if self._early else idle_s - time.monotonic()))
            if self._take_next():
                idle_s = time.monotonic() + self._idle_s
            self._answer_early()
        self._socket.unbind(self._address)
        while not loop.stopping and self._take_next():  # requests that came at the last moment
            loop.beat()
        loop.report()  # a postponed request may have been answered since the last report

    def counters(self) -> Counters:
        """Counters for the supervisor."""
        return {"answered": self.answered, "missing": self.missing}

    def _take_next(self) -> bool:
        """Answer a request, or postpone it until the writer catches up. Returns whether there was one."""
        try:
            *way, question = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        now_s = time.monotonic()
        if now_s - HISTORY_HEAD.unpack(way[1])[1] < STALE_S:
            early = _Early(now_s + self._writer_s, way, _QUESTION.decode(question))
            if len(self._early) < QUEUED and not self._is_stored(early.asked, {}):
                self._early.append(early)
            else:
                self._answer(early)
        return True

    def _answer_early(self) -> None:
        """Answer postponed requests that the writer has reached, or that have waited long enough."""
        now_s = time.monotonic()
        if not self._early or now_s - self._looked_s < WRITER_LOOK_S:
            return
        waiting, self._early, self._looked_s = self._early, [], now_s
        ends: dict[tuple[str, Schema], int] = {}
        for early in waiting:
            if now_s < early.until_s and not self._is_stored(early.asked, ends):
                self._early.append(early)
            else:
                self._answer(early)

    def _is_stored(self, asked: Passage | GetHistory, ends: dict[tuple[str, Schema], int]) -> bool:
        """Whether the writer has reached this request. Also true if it never will: the answer then says so.

        `ends` caches the next seq by producer and schema.
        """
        store, producer = self._history.store, asked.producer
        try:
            schema, seq = least_of(asked)
            if (producer, schema) not in ends:
                known = producer in store.producers(schema)
                ends[producer, schema] = store.next_seq(producer, schema) if known else 1 << 63
            return ends[producer, schema] > seq
        except (ValueError, StoreError):
            return True

    def _answer(self, early: _Early) -> None:
        asked, history = early.asked, self._history
        try:
            answer = history.passage(asked) if isinstance(asked, Passage) else history.history(asked)
        except StoreError as error:
            self._log.error("the store cannot be read", why=str(error))
            why = f"the store of this plant cannot be read: {error}"
            answer = [asked.otherwise if isinstance(asked, Passage) else encode(Refused(asked.id, why))]
        self.answered += len(answer) > 1
        self.missing += len(answer) == 1
        # If the engine takes no answers, or has been replaced, nobody waits for this one.
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart([*early.way, *answer], zmq.NOBLOCK)

    def _tell(self, damage: Damage) -> None:
        self._log.warning("damage in the store", damage=str(damage))


def warm_up() -> None:
    """Compile the kernels of a history service, or load them from the cache."""
    warm_up_codec()
    tick_channels(np.zeros(1, TICK), np.zeros(1, np.uint32), np.zeros(1, np.uint32))


def main() -> None:
    """Run one history service; ends the process."""
    with child_process(HistorySpec) as spec:
        warm_up()
        with contextlib.ExitStack() as resources:
            HistoryService(spec, resources).run()


if __name__ == "__main__":
    main()
