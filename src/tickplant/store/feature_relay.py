"""Publishes a feature set of a running engine as Arrow: samples joined from their series, on a separate PUB socket.

The relay is a process outside the plant, so no engine makes Arrow or knows its readers. The contract is in
docs/wire.md, "Features as Arrow".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Final

import numpy as np
import pyarrow as pa
import zmq
from numpy.typing import NDArray

from tickplant.client.subscription import Subscription, subscribe
from tickplant.client.topic_message import Message
from tickplant.derive.feature_sets import WIDTH, FeatureSet
from tickplant.derive.series import series_channel
from tickplant.records.layouts import VALUE
from tickplant.store.feature_rows import SymbolName
from tickplant.store.value_table import TIMES, Columns, arrow_batch, arrow_schema

Records = NDArray[np.void]

TOPIC: Final = "feature"
LINGER_MS: Final = 1000


class SampleJoiner:
    """Joins the series of a set, for one symbol: a row is complete once each series has had its record."""

    def __init__(self, features: FeatureSet) -> None:
        self.incomplete = 0  # records without a match in another series: missed, or from before the first row
        self._features = features
        self._parts = [np.zeros(0, VALUE) for _ in features.series()]

    def add(self, part: int, records: Records) -> Columns | None:
        """Take the next records of a series; returns the rows now complete: ts_event, ts_recv and the features."""
        self._parts[part] = np.concatenate([self._parts[part], records])
        if not all(map(len, self._parts)):
            return None
        until = min(own["source_seq"][-1] for own in self._parts)
        ready = [own[own["source_seq"] <= until] for own in self._parts]
        self._parts = [own[own["source_seq"] > until] for own in self._parts]
        whole = reduce(np.intersect1d, [own["source_seq"] for own in ready])
        self.incomplete += sum(map(len, ready)) - len(ready) * len(whole)
        if not len(whole):
            return None
        ready = [own[np.isin(own["source_seq"], whole)] for own in ready]
        columns: Columns = {name: np.ascontiguousarray(ready[0][name]) for name in TIMES}
        for place, member in enumerate(self._features.members):
            columns[member] = np.ascontiguousarray(ready[place // WIDTH][f"value_{place % WIDTH + 1}"])
        return columns


class FeatureRelay:
    """Follows one set and publishes it. A context manager.

    Args:
        features: the set.
        source: the address at which the engine publishes.
        address: the address to publish at.
        venue: venue of the symbols; empty: all.
        symbol: a symbol of that venue; empty: all.

    Raises SubscribeError if no engine answers; zmq.ZMQError if the address cannot be bound.
    """

    def __init__(self, features: FeatureSet, source: str, address: str, *, venue: str = "", symbol: str = "") -> None:
        self.rows = 0
        self._features = features
        self._parts: Mapping[str, int] = {series_channel(name): place for place, name in enumerate(features.series())}
        said = {"feature_set": features.name, "version": str(features.version), "on": features.on}
        self._schema = arrow_schema(features.members).with_metadata(said)
        self._joiners: dict[SymbolName, SampleJoiner] = {}
        topics = [f"{venue or '*'}.{symbol or '*'}.{channel}" for channel in self._parts]
        self._messages: Subscription = subscribe(*topics, address=source, snapshot=False)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        try:
            self._socket.bind(address)
        except zmq.ZMQError:
            self.close()
            raise

    def __enter__(self) -> FeatureRelay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._messages.close()
        self._socket.close(LINGER_MS)
        self._context.term()

    def publish(self) -> Iterator[int]:
        """Publish everything that comes; yields the number of rows so far after each message. Never ends."""
        for message in self._messages:
            if len(message.records):
                self._publish(message)
            yield self.rows

    def _publish(self, message: Message) -> None:
        name = SymbolName(message.venue, message.symbol)
        joiner = self._joiners.setdefault(name, SampleJoiner(self._features))
        columns = joiner.add(self._parts[message.channel], message.records)
        if columns is None:
            return
        self.rows += len(columns["ts_recv"])
        batch = arrow_batch(name, columns, self._schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as stream:
            stream.write_batch(batch)
        topic = f"{TOPIC}.{self._features.name}.{name.venue}.{name.symbol}"
        self._socket.send_multipart([topic.encode(), sink.getvalue().to_pybytes()])
