"""A batch in one call of a kernel: all that is stored and published is what comes of it step by step."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from made_past import Sinks, past_ticks
from numpy.typing import NDArray

from tickplant.derive.derivation import Series, Settings
from tickplant.derive.registry import channels_of
from tickplant.engine import batch_kernels as k
from tickplant.engine.core import Engine
from tickplant.engine.publisher import Publisher
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema

pytestmark = pytest.mark.kernels

Records = NDArray[np.void]

COUNT = 400
NAMES = ("sma-3.1s", "hawkes-0.1-0.5-1.trade", "spread.bbo", "bars.tick-3", "ema-2.tick-3", "depth-2.book_1s")
FOREIGN = 500
"""An instrument id that no table has."""
LAST_ID = 130
"""There is room for 64 to begin with."""


class Outcome:
    """What an engine makes of batches; the instruments above 2 are registered when the first ticks of any are there."""

    def __init__(self, wanted: Settings, batches: list[Records], recovery_bytes: int) -> None:
        sinks, self.outcomes = Sinks(wanted), set[int]()
        with TemporaryDirectory(prefix="tickplant-test-") as folder:
            path = Path(folder) / "instruments.jsonl"
            table, supervisor = InstrumentTable.load(path), InstrumentTable.load(path)
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            publisher = Publisher(
                context,
                f"ipc://{folder}/publish",
                table.by_id,
                channels=channels_of(wanted),
                recovery_bytes=recovery_bytes,
            )
            publisher.epoch = 1
            try:
                engine = Engine(table, publisher, sinks.streams, sinks.moments)
                feed = engine.add_feed("feed", wanted)
                take_all = engine._take_all
                engine._take_all = lambda *batch: self._noted(take_all(*batch))
                for batch in batches:
                    last = max((id_ for id_ in batch["instrument"].tolist() if id_ != FOREIGN), default=0)
                    for number in range(len(supervisor) + 1, (LAST_ID if last > 2 else 2) + 1):
                        supervisor.register("venue", f"S{number}", number % 5, 8)
                    engine.take(feed, batch.copy())
                self.counted = engine.counters() | {"messages": publisher.messages, "bytes": publisher.published_bytes}
                self.counted.pop("books_bytes")
                self.published = {
                    name: [(kept.first, kept.payload) for kept in topic.messages(0, 1 << 40, 1 << 40)]
                    for name, topic in publisher.by_name.items()
                }
                self.books = {id_: engine.book(id_).tobytes() for id_ in range(1, LAST_ID + 1)}
            finally:
                publisher.close(0)
                context.term()
        self.stored = {schema: kept.records.tobytes() for schema, kept in sinks.kept.items()}

    def _noted(self, outcome: int) -> int:
        self.outcomes.add(outcome)
        return outcome


@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_batch_in_one_call_leads_to_what_it_leads_to_step_by_step(data: st.DataObject, seed: int) -> None:
    random = np.random.default_rng(seed)
    of_orders = frozenset(data.draw(st.sets(st.sampled_from([2, 7]))))
    ticks = past_ticks(
        [1, 2, 7, LAST_ID], COUNT, seed=seed % 1000 + 1, start_ns=10**18, step_ns=10**8, of_orders=of_orders
    )
    ticks["instrument"][random.random(len(ticks)) < 0.01] = FOREIGN
    names = data.draw(st.lists(st.sampled_from(NAMES), unique=True))
    if "ema-2.tick-3" in names and "bars.tick-3" not in names:
        names.append("bars.tick-3")
    series = tuple(Series(number, name) for number, name in enumerate(names, 1))
    wanted = Settings(bar_s=data.draw(st.sampled_from([(), (1, 60)])), series=series, checkpoint_s=7)
    cuts = np.flatnonzero(random.random(len(ticks)) < data.draw(st.sampled_from([0.02, 0.2, 1.0])))
    batches, recovery_bytes = np.split(ticks, cuts), data.draw(st.sampled_from([20_000, 1 << 20]))
    found = Outcome(wanted, batches, recovery_bytes)
    expected = Outcome(wanted._replace(seeks=True), batches, recovery_bytes)  # of a replay, nothing is noted
    assert expected.outcomes == {k.NOTHING_DONE}
    assert found.stored == expected.stored
    assert found.counted == expected.counted
    assert found.published == expected.published
    assert found.books == expected.books
    if len(batches) > 100:
        assert found.outcomes > {k.NOTHING_DONE}
    assert (Schema.VALUE in found.stored) == any(not name.startswith("bars") for name in names)
