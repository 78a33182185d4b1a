"""The engine process: rings in, books and bars, messages and rings out.

`python -m tickplant.engine` reads a job_specs.EngineSpec from stdin. It exits with 0 when stopped, after processing
what its rings held, or with 1 and a sentence if it cannot work.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import structlog
import zmq
from numpy.typing import NDArray

from tickplant.derive.calendars import sessions_of
from tickplant.derive.derivation import Series, Settings
from tickplant.derive.registry import channels_of
from tickplant.engine.calendar_watch import CalendarWatch
from tickplant.engine.core import Engine
from tickplant.engine.core import warm_up as warm_up_core
from tickplant.engine.history_line import HistoryLine
from tickplant.engine.outputs import Outputs
from tickplant.engine.own_series import OwnSeries
from tickplant.engine.publisher import Publisher
from tickplant.engine.recovery import Rebuild
from tickplant.engine.router import Router
from tickplant.engine.tick_input import Input
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.runtime.accounts import Account
from tickplant.runtime.child_loop import ChildLoop, Stopped
from tickplant.runtime.child_process import child_process, settle
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.client_sockets import check_exposed
from tickplant.runtime.config import requests_address
from tickplant.runtime.control import Counters, WantHistory
from tickplant.runtime.job_specs import EngineSpec, RingRef
from tickplant.shm.ring import Consumer, Mode, Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.store.reader import Store
from tickplant.store.restore import FeedPast
from tickplant.writer.format.codec import warm_up as warm_up_codec

Records = NDArray[np.void]

SETTLE_S: Final = 0.2
"""A replay begins this long after the last new subscription, so that a subscriber's other subscriptions arrive too."""

LINGER_S: Final = 0.5
LOSSLESS_LINGER_S: Final = 10.0
"""How long subscribers may take to read what is queued when the engine ends; within the supervisor's `drain_s`."""

HELD_POLL_S: Final = 0.02
REBUILD_POLL_S: Final = 0.05
CHECKPOINT_POLL_S: Final = 0.02

_USUAL: Final = Settings(bar_s=(1,))
"""Settings whose kernels every engine needs."""


class EngineProcess:
    """The engine's loop: process whatever is ready, then sleep until something is."""

    def __init__(self, spec: EngineSpec, own: OwnSeries, resources: contextlib.ExitStack) -> None:
        self.spec = spec
        self._own = own
        self._log = structlog.get_logger()
        self._held = spec.wait_for_subscriber
        self._settled_s = float("inf")  # when the held replay may begin
        self._stalls = 0
        self._overruns = 0
        self._rebuilds = 0
        config = spec.config
        self._settings = settings_of(spec, own)
        self._calendars = CalendarWatch(self._settings.sessions)
        for address in (config.publish, requests_address(config)):
            check_exposed(address, insecure=config.insecure)

        self._loop = resources.enter_context(
            ChildLoop(spec.plant, spec.name, lambda: (self.counters(), self.accounts()), on_beat=self._before_report)
        )
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        resources.callback(context.term)
        table = InstrumentTable.load(Path(spec.plant.data_dir) / "instruments.jsonl")
        self._store = Store(
            spec.plant.data_dir,
            on_damage=lambda damage: self._log.error("damage in the journal", damage=str(damage)),
            while_reading=self._meanwhile,
        )
        on_cut = partial(self._log.warning, "clients cut off")
        self._guard = Guard(config, lambda: self._publisher.published_bytes, lossless=spec.gating, on_cut=on_cut)
        resources.callback(self._guard.close)
        self._publisher = Publisher(
            context,
            config.publish,
            table.by_id,
            channels=channels_of(self._settings),
            recovery_bytes=config.recovery_mib << 20,
            high_water_messages=config.high_water_messages,
            lossless=spec.gating,
            while_waiting=self._wait_in_publisher,
            guard=self._guard if config.publish.startswith("tcp://") else None,
            limits=config,
            engine=spec.name,
        )
        if config.publish.startswith("tcp://"):
            self._guard.watch(context, self._publisher.socket, subscribers=True)
        resources.callback(self._publisher.close, LOSSLESS_LINGER_S if spec.gating else LINGER_S)
        self._outputs = Outputs(
            spec.outputs,
            self._settings,
            spec.name,
            Path(spec.plant.run_dir),
            resources,
            lossless=spec.gating,
            resumes=not spec.pasts,
            while_waiting=self._loop.beat,
        )
        self._engine = Engine(table, self._publisher, self._outputs.streams, self._outputs.moments)
        want = partial(self._loop.client.send, WantHistory())
        self._history = HistoryLine(context, spec.history, want=want) if spec.history else None
        self._router = Router(
            context,
            requests_address(config),
            self._publisher,
            {"book": self._engine.book, "orders": self._engine.orders},
            history=self._history,
            shared=spec.is_shared,
            guard=self._guard if requests_address(config).startswith("tcp://") else None,
            limits=config,
        )
        if requests_address(config).startswith("tcp://"):
            self._guard.watch(context, self._router.socket)
        resources.callback(self._router.close, LINGER_S)
        if self._history:
            resources.callback(self._history.close)
        self._inputs = [self._input(ref, resources) for ref in spec.inputs]
        poll = self._loop.poll
        poll.add(self._guard.fileno(), self._guard.attend)
        poll.add_socket(self._publisher.socket, self._read_subscriptions, patient=True)
        poll.add_socket(self._router.socket, self._router.serve, seldom=True)
        if self._history:
            poll.add_socket(self._history.socket, self._router.pass_on_history, seldom=True)
        self._watched: list[Consumer] = []  # the consumers whose doorbells (`_bells`) end a sleep
        self._bells: list[int] = []

    def run(self) -> None:
        """Work until stopped; then process what the rings hold at that moment."""
        if self.spec.gating:
            self._catch_up()
        self._loop.hello()
        while not (self._loop.stopping and self._finished()):
            more = self._read_rings()
            self._outputs.flush()
            if more:
                self._attend(0.0)
            else:
                self._doze()
        self._loop.report()

    def _catch_up(self) -> None:
        """Read the past before a source that waits is started, so that the source cannot end before this is done."""
        while any(source.rebuild for source in self._inputs) and not self._loop.stopping:
            self._attend(0 if self._read_rings() else REBUILD_POLL_S)

    def counters(self) -> Counters:
        """What the supervisor shows."""
        publisher, router = self._publisher, self._router
        return {
            **self._engine.counters(),
            "messages": publisher.messages,
            **self._guard.counters(),
            "subscriptions": publisher.subscriptions,
            "requests": router.served,
            "requests_refused": router.refused,
            "requests_recalled": router.recalled,
            "replies_unread": router.unread,
            "subscriber_stalls": publisher.stalls,
            "recovery_bytes": publisher.kept_bytes,
            "overruns": self._overruns,
            "rebuilds": self._rebuilds,
            "rebuilding": sum(source.rebuild is not None for source in self._inputs),
            "most_behind": {source.ref.name: source.most_behind for source in self._inputs},
            "age_published": self._engine.ages.report(),
            "age_published_s": self._engine.ages.sum_s,
            **self._outputs.counters(),
            **self._own.counters(),
            **self._calendars.counters(),
        }

    def accounts(self) -> list[Account]:
        """The balances of all rings, which must add up."""
        name = self.spec.name
        balances = [account for source in self._inputs if (account := source.account(name))]
        return balances + self._outputs.accounts()

    # ------------------------------------------------------------------------------------------------ one turn

    def _finished(self) -> bool:
        for source in self._inputs:
            if source.until is None and source.reading and not source.rebuild:
                source.until = source.reading.position + max(0, source.reading.lag)
        # What a rebuild has not reached yet is in the store, where the next engine reads it.
        return all(
            source.rebuild or (source.reading and source.until is not None and source.reading.position >= source.until)
            for source in self._inputs
        )

    def _read_rings(self) -> bool:
        """Take one batch from every ring. Returns whether more is ready now."""
        if self._held:
            return False
        more = False
        for source in self._inputs:
            more |= self._make_up(source, source.rebuild) if source.rebuild else self._read_ring(source)
        return more

    def _read_ring(self, source: Input) -> bool:
        consumer = source.consumer
        if consumer is None:
            return False
        ticks = source.read(consumer)
        if consumer.lost != source.lost:
            self._overrun(source, consumer, ticks)
            if source.rebuild:
                return False
        if len(ticks):
            self._engine.take(source.feed, ticks)
            if consumer.mode is Mode.GATING:
                consumer.commit(consumer.position)
        return consumer.lag > 0

    def _overrun(self, source: Input, consumer: Consumer, ticks: Records) -> None:
        """The feed was faster than this process: publish a GAP on every topic; the books become stale."""
        count, source.lost = consumer.lost - source.lost, consumer.lost
        self._overruns += 1
        self._log.warning("overrun", ring=consumer.name, lost=count)
        ts_recv = int(ticks[0]["ts_recv"]) if len(ticks) else time.time_ns()
        self._engine.overrun(source.feed, count, consumer.position - len(ticks), ts_recv)
        if source.ref.producer in self.spec.pasts:
            source.detach()
            self._begin_rebuild(source)

    def _begin_rebuild(self, source: Input) -> None:
        """Read the feed's past again, since what was derived from it is lost."""
        feed = source.ref.producer
        past = FeedPast(
            self._store,
            self.spec.name,
            feed,
            self.spec.pasts[feed],
            lambda: np.flatnonzero(source.feed.seen).tolist(),
            self._settings,
            whole=self.spec.gating,  # an ingest waits as long as this takes
        )
        source.rebuild = Rebuild(
            self._engine,
            source.feed,
            source.ring,
            self.spec.name,
            past,
            stored=self._outputs.in_rings(),
            outlets=self._outputs.outlets(),
            settled=lambda: self._outputs.are_settled(lambda schema: self._store.next_seq(self.spec.name, schema)),
            mode=Mode.GATING if self.spec.gating else Mode.LOSSY,
            give_up_s=self.spec.config.restore_s,
        )

    def _meanwhile(self) -> None:
        """Called while the store is read: other feeds continue, requests are answered. Raises Stopped."""
        if self._loop.stopping:
            raise Stopped
        for source in (each for each in self._inputs if not each.rebuild):
            self._read_ring(source)
        self._attend(0.0)

    def _make_up(self, source: Input, rebuild: Rebuild) -> bool:
        """Run one turn of a rebuild; when the rebuild ends, the feed is published again."""
        busy = rebuild.turn()
        if rebuild.finished and rebuild.live:
            self._engine.replace(source.feed, rebuild.feed, rebuild.last(), next_tick=rebuild.live.position)
            source.feed = rebuild.feed
            source.attach(rebuild.live, rebuild.lost)
            self._rebuilds += 1
            self._log.info("rebuilt", feed=source.ref.producer)
        return busy

    def _doze(self) -> None:
        """Sleep until a ring, a socket or the next report needs attention."""
        if self._held:
            self._attend(0.0 if self._loop.stopping else HELD_POLL_S)
            return
        # Loops, not generators: at low rates, all code that a wake-up executes must first be loaded into the caches.
        reading, quiet, due_s = self._reading(), not self._loop.stopping, self._loop.due_s
        for consumer in reading:
            quiet = quiet and consumer.prepare_wait()
        for source in self._inputs:
            if source.rebuild:
                due_s = min(due_s, REBUILD_POLL_S)
        if self._outputs.waiting:
            due_s = min(due_s, CHECKPOINT_POLL_S)
        self._attend(due_s if quiet else 0.0, reading)
        for consumer in reading:
            consumer.finish_wait()

    def _reading(self) -> list[Consumer]:
        """The consumers that are read now."""
        return [consumer for source in self._inputs if (consumer := source.reading)]

    def _watch(self, reading: list[Consumer]) -> None:
        """Let the doorbells of these consumers, and no others, end a sleep."""
        for fd in self._bells:
            self._loop.poll.remove(fd)
        self._watched, self._bells = reading, [consumer.fileno() for consumer in reading]
        for fd in self._bells:
            self._loop.poll.add(fd)

    def _attend(self, timeout_s: float, reading: list[Consumer] | None = None) -> None:
        """Wait for rings and sockets, then serve the sockets, each for a bounded number of requests."""
        reading = self._reading() if reading is None else reading
        # Compare consumers, not descriptors: a successor's doorbell may reuse the number of a closed one.
        if reading != self._watched:
            self._watch(reading)
        self._loop.wait(timeout_s)
        if self._held and (self._loop.stopping or time.monotonic() > self._settled_s):
            self._held = False
        self._loop.beat()

    def _read_subscriptions(self) -> None:
        if self._publisher.read_subscriptions():
            self._settled_s = time.monotonic() + SETTLE_S

    def _wait_in_publisher(self) -> None:
        """Called while a lossless publisher waits for subscribers, which may take long."""
        self._guard.attend()
        self._loop.beat()

    def _before_report(self) -> None:
        if self._history:
            self._history.remind()
        self._guard.sweep()
        if self._publisher.stalls != self._stalls:
            self._stalls = self._publisher.stalls
            self._log.warning("a subscriber has stopped reading: from now on it loses messages")

    # ------------------------------------------------------------------------------------------------ set-up

    def _input(self, ref: RingRef, resources: contextlib.ExitStack) -> Input:
        ring = resources.enter_context(Ring.attach(ref.name, Schema(ref.schema), Path(self.spec.plant.run_dir)))
        settings = self._settings._replace(
            matching=ref.producer in self.spec.matching, seeks=self.spec.wait_for_subscriber
        )
        feed = self._engine.add_feed(ref.producer, settings)
        source = Input(ref, ring, feed)
        resources.callback(source.detach)
        if ref.producer in self.spec.pasts and ring.head > 0:
            # There is a past, from this ring or from an earlier one of the same store.
            self._begin_rebuild(source)
        else:
            consumer = ring.consumer(self.spec.name, Mode.GATING if self.spec.gating else Mode.LOSSY)
            source.attach(consumer, consumer.lost)
        return source


def settings_of(spec: EngineSpec, own: OwnSeries) -> Settings:
    """What an engine with this spec derives from a feed."""
    config = spec.config
    return Settings(
        max_levels=config.max_levels,
        bar_s=config.bar_s,
        checkpoint_s=config.checkpoint_s,
        max_orders=config.max_orders,
        series=own.running(Series(one.number, one.name, one.symbols, one.members) for one in spec.series),
        own=own.indicators,
        sessions=sessions_of(spec.plant.data_dir, [one.name for one in spec.series]),
    )


def warm_up(settings: Settings = _USUAL) -> None:
    """Compile or load the kernels that every engine needs, and those that these settings add."""
    prepare_ring()
    warm_up_core(settings)
    warm_up_codec()


def main() -> None:
    """Run one engine; ends the process."""
    with child_process(EngineSpec) as spec:
        own = OwnSeries(spec)
        warm_up(settings_of(spec, own))
        with contextlib.ExitStack() as resources:
            process = EngineProcess(spec, own, resources)
            settle()
            process.run()
