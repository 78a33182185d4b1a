"""An engine's publisher and router, a history service and its store, in one process, so that nothing waits."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from tickplant import wire
from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of
from tickplant.engine import retention
from tickplant.engine.history_line import HistoryLine
from tickplant.engine.publisher import Publisher
from tickplant.engine.retention import Origin
from tickplant.engine.router import Router
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import DTYPES, Flag, Kind, Schema
from tickplant.runtime.control import Passage
from tickplant.store import topic_history
from tickplant.store.topic_history import TopicHistory
from tickplant.writer.journal import Journal

CHANNELS = channels_of(Settings(bar_s=(1, 60)))
ROWS = {
    1: Instrument(1, "binance", "BTCUSDT", 2, 8),
    2: Instrument(2, "binance", "ETHUSDT", 2, 8),
    3: Instrument(3, "binance", "ETHUSDT", 3, 8),
}
NAMES = {Schema.TICK: "feed", Schema.BBO: "engine", Schema.BAR: "engine"}
KINDS = (Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE, Kind.STATUS, Kind.GAP)
ASKED = {Schema.TICK: ("book", "quote"), Schema.BBO: ("bbo",), Schema.BAR: ("bar_1s", "bar_1m")}
FLAGS = (0, Flag.AGGREGATE, Flag.ON_TRADE, Flag.ON_TRADE | Flag.ON_BOOK, Flag.ON_QUOTE, Flag.ON_BOOK)


class Bench:
    """An engine's sockets, the store, and a subscriber's connection, without waits and without other processes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publisher = Publisher(
            self.context, "inproc://publish", ROWS.__getitem__, channels=CHANNELS, recovery_bytes=10_000
        )
        self.asked = 0
        self.line = HistoryLine(self.context, "inproc://history", want=self.want_service)
        self.router = Router(self.context, "inproc://requests", self.publisher, {}, history=self.line)
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.subscribe(b"")
        self.subscriber.connect("inproc://publish")
        assert self.publisher.socket.poll(90_000)
        assert self.publisher.read_subscriptions()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.connect("inproc://requests")
        self.service = self.context.socket(zmq.ROUTER)
        self.service.bind("inproc://history")
        self.folder = folder
        self.history = TopicHistory(folder)
        self.journals = {schema: Journal(folder, schema, name, rotate_bytes=20_000) for schema, name in NAMES.items()}
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.next_seq = dict.fromkeys(Schema, 0)
        self.random = np.random.default_rng(seed)
        self.origin = Origin("feed")
        self.sent: dict[str, list[tuple[bytes, bool]]] = defaultdict(list)  # every record, and whether it is stored

    def want_service(self) -> None:
        self.asked += 1

    def close(self) -> None:
        for journal in self.journals.values():
            journal.close()
        for socket in (self.subscriber, self.dealer, self.service):
            socket.close(0)
        self.line.close()
        self.router.close(0)
        self.publisher.close(0)
        self.context.term()

    # ------------------------------------------------------------------------------------------------ publishing

    def made(self, schema: Schema, count: int) -> np.ndarray:
        records = np.zeros(count, DTYPES[schema])
        records["instrument"] = self.random.integers(1, 4, count)
        records["ts_recv"] = self.next_seq[schema]
        records["seq"] = self.next_seq[schema] + np.arange(count)
        if schema is Schema.TICK:
            records["kind"] = self.random.choice(KINDS, count)
            records["flags"] = self.random.choice(FLAGS, count)
            records["price"] = self.random.integers(0, 4, count)
        if schema is Schema.BAR:
            records["interval_s"] = self.random.choice((1, 60), count)
        return records

    def publish(self, schema: Schema, records: np.ndarray, *, stored: bool = True, plain: bool = True) -> None:
        if not len(records):
            return
        origin = self.origin if plain else None
        if schema is Schema.TICK:
            self.publisher.publish_ticks(records, origin)
        else:
            self.publisher.publish_derived(schema, records, origin)
        while self.subscriber.poll(0):
            name, head, payload = self.subscriber.recv_multipart()
            size = wire.unpack_header(head).record_bytes
            parts = [payload[at : at + size] for at in range(0, len(payload), size)]
            self.sent[name.decode()] += [(part, stored) for part in parts]

    def keep(self, schema: Schema, records: np.ndarray) -> None:
        self.next_seq[schema] += len(records)
        if len(records):
            self.journals[schema].append(records)

    def live(self, schema: Schema, count: int) -> None:
        """Store and publish records."""
        records = self.made(schema, count)
        self.keep(schema, records)
        self.publish(schema, records)

    def overrun(self, schema: Schema, count: int) -> None:
        """Store records that the engine has not seen; then the engine reports that, and starts afresh."""
        self.keep(schema, self.made(schema, count))
        self.origin = Origin("feed")
        self.publish(Schema.TICK, self.made(Schema.TICK, 5), stored=False, plain=False)
        self.publish(Schema.BBO, self.made(Schema.BBO, 3), stored=False, plain=False)
        self.origin = Origin("feed")

    def dropped(self, schema: Schema, count: int) -> None:
        """Publish derived records for which the ring has no room: the next records get the same seqs."""
        if schema is not Schema.TICK:
            self.publish(schema, self.made(schema, min(count, 9)), stored=False, plain=False)

    # ------------------------------------------------------------------------------------------------ asking

    def recover(self, topic: str) -> dict[int, bytes]:
        """What a subscriber that missed everything recovers, by topic sequence."""
        size = len(self.sent[topic][0][0])
        got: dict[int, bytes] = {}
        first, last = 0, len(self.sent[topic]) - 1
        while first <= last:
            self.dealer.send(wire.encode(wire.GetRange(topic, self.publisher.epoch, first, last)))
            assert self.router.socket.poll(90_000)
            self.router.serve()
            if not self.dealer.poll(0):
                self.answer_from_store()
            head, *frames = self.dealer.recv_multipart()
            reply = wire.decode_reply(head)
            if isinstance(reply, wire.Gone):
                assert first < reply.oldest <= last + 1
                first = reply.oldest
                continue
            assert isinstance(reply, wire.Range)
            assert reply.first <= first <= reply.last
            for header, payload in zip(frames[::2], frames[1::2], strict=True):
                fields = wire.unpack_header(header)
                assert fields.epoch == self.publisher.epoch
                for i in range(fields.records):
                    record = payload[i * size : (i + 1) * size]
                    got[fields.first_seq + i] = record
                    assert fields.instrument == int(
                        np.frombuffer(record, DTYPES[Schema(fields.schema)])["instrument"][0]
                    )
            first = reply.last + 1
        return got

    def stored_of(self, topic: str, producer: str, first: int, last: int) -> bytes:
        """What `history` requests return, reply by reply."""
        got = b""
        while first <= last:
            self.dealer.send(wire.encode(wire.GetHistory(topic, producer, first, last)))
            assert self.router.socket.poll(90_000)
            self.router.serve()
            self.answer_from_store()
            head, *frames = self.dealer.recv_multipart()
            reply = wire.decode_reply(head)
            assert isinstance(reply, wire.History)
            assert reply.messages == len(frames) // 2
            got += b"".join(frames[1::2])
            assert first <= reply.resume_seq == reply.last_seq + 1
            first = reply.resume_seq
        return got

    def answer_from_store(self) -> None:
        assert self.service.poll(90_000)
        *way, question = self.service.recv_multipart()
        asked = msgspec.msgpack.decode(question, type=Passage | wire.GetHistory)
        frames = self.history.passage(asked) if isinstance(asked, Passage) else self.history.history(asked)
        self.service.send_multipart([*way, *frames])
        assert self.line.socket.poll(90_000)
        self.router.pass_on_history()


@contextmanager
def bench(seed: int = 1, **limits: int) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        for name, value in limits.items():
            patch.setattr(retention, name, value)
        for name in ("READ_S", "PATIENCE_S"):  # for a machine that compiles kernels meanwhile
            patch.setattr(topic_history, name, 600.0)
        made = Bench(Path(folder), seed)
        try:
            yield made
        finally:
            made.close()


def flush(made: Bench) -> None:
    for journal in made.journals.values():
        journal.flush()
