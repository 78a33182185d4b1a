"""A replay at a terminal: keys and control messages pause, step, seek, loop and end it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from listener import Listener
from made_past import fill, past_ticks
from made_records import START_NS
from plant_process import free_port, wait_for
from pty_terminal import Terminal

from tickplant import ReplayControl
from tickplant.books.fold import Fold
from tickplant.client.replay_control import Position
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Kind, Schema, StatusCode
from tickplant.store.reader import Store
from tickplant.store.stored_books import begins_at, fold_at
from tickplant.times import format_time

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

RECORDS = 3000
STEP_NS = 10**8


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Five minutes of two books and their trades, of two feeds."""
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    for feed, ids in (("one", [1]), ("two", [2])):
        fill(
            tmp_path,
            Schema.TICK,
            feed,
            past_ticks(ids, RECORDS // 2, start_ns=START_NS, step_ns=2 * STEP_NS, resyncs=0.002),
        )
    return tmp_path


class Replay(Terminal):
    """`tickplant replay` in a terminal of its own."""

    def __init__(self, data_dir: Path, *words: str) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        super().__init__("replay", "--data", data_dir, "--bind", self.address, *words)

    def control_address(self) -> str:
        def found() -> str:
            words = self.read().partition("ReplayControl: ")[2].splitlines()
            assert self.process.poll() is None, self.shown
            return words[0].strip() if len(words) > 1 else ""

        return wait_for("the address of its controls", found)


@contextlib.contextmanager
def terminal(data_dir: Path, *words: str) -> Iterator[Replay]:
    with contextlib.closing(Replay(data_dir, *words)) as one:
        yield one


def until(control: ReplayControl, what: str, condition: object) -> Position:
    assert callable(condition)

    def there() -> Position | None:
        position = control.position()
        return position if condition(position) else None

    return wait_for(what, there)


def test_keys_pause_step_seek_and_end_a_replay(data_dir: Path) -> None:
    with terminal(data_dir, "--paused") as shown:
        listener = Listener(shown.address)
        with ReplayControl(shown.control_address()) as control:
            wait_for("the replay", lambda: "paused" in shown.read())
            first = until(control, "it to wait", lambda at: at.paused and at.speed == 1.0)
            assert first.records == 0
            shown.press(".")
            one = until(control, "an event", lambda at: at.records > 0)
            shown.press(".")
            stepped = until(control, "a second event", lambda at: at.records > one.records)
            assert stepped.paused
            shown.press("\x1b[C")
            ahead = until(control, "ten seconds later", lambda at: at.records > stepped.records)
            shown.press(".")
            later = until(control, "an event there", lambda at: at.time_ns > stepped.time_ns + 9 * 10**9)
            assert later.records > ahead.records
            shown.press("+")
            assert until(control, "twice the speed", lambda at: at.speed == 2.0).paused
            shown.press("m ")
            until(control, "the end", lambda at: at.speed == "max" and not at.paused)
        assert shown.end() == 0
        assert "replayed" in shown.shown
        found = listener.close()
    check_books(Store(data_dir), found)
    statuses = np.frombuffer(found["venue.AAA.status"], TICK)
    assert statuses["price"].tolist().count(StatusCode.SOUGHT) == 1


def check_books(store: Store, found: dict[str, bytes]) -> None:
    """Whatever was sought meanwhile, the books of a subscriber end as the stored ones do."""
    for id_, symbol in ((1, "AAA"), (2, "BBB")):
        (row,) = store.find("venue", symbol)
        fold = Fold(id_)
        fold.apply(np.frombuffer(found[f"venue.{symbol}.book"], TICK).copy())
        end, book = store.book("venue", symbol, 2**62), fold.book(row)
        assert (book.stale, book.bids.tolist(), book.asks.tolist()) == (end.stale, end.bids.tolist(), end.asks.tolist())


def test_messages_seek_back_and_loop_and_the_trades_come_again(data_dir: Path) -> None:
    with terminal(data_dir, "--speed", "max", "--paused", "--clock", "event") as shown:
        listener = Listener(shown.address)
        with ReplayControl(shown.control_address()) as control:
            until(control, "it to wait", lambda at: at.paused)
            control.set_loop(True)
            control.resume()
            until(control, "a second round", lambda at: at.records > 2 * RECORDS and at.loop)
            control.pause()
            control.seek(START_NS + RECORDS * STEP_NS // 2)
            control.set_loop(False)
            control.resume()
        assert shown.end() == 0
        found = listener.close()
    check_books(Store(data_dir), found)
    trades = np.frombuffer(found["venue.AAA.trade"], TICK)
    trades = trades[trades["kind"] == Kind.TRADE]
    stored = np.concatenate([*Store(data_dir).query("venue", "AAA", kinds=["trade"])])
    seqs, counts = np.unique(trades["seq"], return_counts=True)
    assert set(seqs.tolist()) == set(stored["seq"].tolist())
    assert counts.max() >= 2


def test_a_replay_that_begins_mid_way_begins_with_the_books_as_they_stood(data_dir: Path) -> None:
    store, start_ns = Store(data_dir), START_NS + RECORDS * STEP_NS // 2
    with terminal(data_dir, "--speed", "max", "--start", format_time(start_ns)) as shown:
        listener = Listener(shown.address)
        assert shown.end() == 0
        found = listener.close()
    begins = begins_at(store, None, start_ns, "recv")
    for symbol in ("AAA", "BBB"):
        ticks = np.frombuffer(found[f"venue.{symbol}.book"], TICK)
        fold, row = fold_at(store, store.find("venue", symbol), start_ns, begins=begins)
        before = fold.book(row)
        assert not before.stale
        assert (ticks[0]["kind"], ticks[0]["ts_recv"]) == (Kind.CLEAR, start_ns)
        again = Fold(row.id)
        again.apply(ticks[: len(before.bids) + len(before.asks) + 1].copy())
        book = again.book(row)
        assert (book.bids.tolist(), book.asks.tolist()) == (before.bids.tolist(), before.asks.tolist())
    check_books(store, found)


def test_q_ends_it_and_the_terminal_is_as_before(data_dir: Path) -> None:
    with terminal(data_dir, "--loop") as shown:
        listener = Listener(shown.address)
        with ReplayControl(shown.control_address()) as control:
            until(control, "the first records", lambda at: at.records > 0)
            assert not shown.gives_lines
            shown.press("q")
        shown.end()
        listener.close()
        assert shown.gives_lines
