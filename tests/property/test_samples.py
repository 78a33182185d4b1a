"""Series over samples of books: the values of the plain reference, wherever batches are cut, also when restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_past import past_ticks

from tickplant.books.market_books import MarketBooks
from tickplant.derive.book_values import BookValues
from tickplant.derive.derivation import Series
from tickplant.derive.indicator import Indicator
from tickplant.derive.indicators.book_levels import DEPTH
from tickplant.derive.plain_samples import PlainSamples
from tickplant.derive.running_series import NONE, running_books
from tickplant.derive.sampled_books import SampledBooks
from tickplant.derive.series_states import pack_states
from tickplant.errors import DeriveError
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.layouts import BBO, TICK, VALUE, Flag, Kind, Schema, Side

pytestmark = pytest.mark.kernels

MS = 10**6
START_NS = 1_700_000_000 * 10**9
INSTRUMENTS = {
    id_: Instrument(id_, "venue", symbol, 2 + id_ % 3, id_ % 4)
    for id_, symbol in enumerate(("AAA", "BBB", "CCC", "AAA", FEED_SYMBOL), 1)
}
LINE = {1: 1, 2: 2, 3: 3, 4: 1, 5: 5}
"""AAA has had two ids; CCC is a book of orders."""
NAMES = (
    *("depth-3.book_100ms", "depth_within-5.book_1s", "bid_level-2.book_1s", "ask_level-1.book_250ms"),
    *("price_to_buy-4.book_100ms", "price_to_sell-0.5.book_1s", "book_imbalance-2.book_1s"),
    *("book_microprice-5.book_100ms", "queue.book_100ms", "book_order_flow-3-2.book_100ms"),
    *("queue_ahead-3.book_100ms", "queue_ahead-20.book_250ms"),
)
PATTERNS = ((), ("venue.A*",), ("venue.BBB", "venue.CCC"), ("other.*",))


def feed(seed: int, count: int) -> np.ndarray:
    """Ticks of four books, most of whose events are whole, with records that are no book's."""
    ticks = past_ticks(
        [1, 2, 3, 4], count, seed=seed, start_ns=START_NS, step_ns=20 * MS, resyncs=0.05, of_orders=frozenset({3})
    )[:count]
    random = np.random.default_rng(seed)
    ticks["flags"][random.random(len(ticks)) < 0.8] |= np.uint16(Flag.LAST)
    others = random.random(len(ticks))
    ticks["kind"][others < 0.05] = Kind.QUOTE
    ticks["flags"][others > 0.97] |= np.uint16(Flag.PARTIAL)
    return ticks


def crowded(count: int) -> np.ndarray:
    """Orders of one book, many at each of six prices, that come, go and lose their places; few snapshots."""
    random = np.random.default_rng(3)
    ticks = np.zeros(count, TICK)
    ticks["instrument"], ticks["seq"] = 3, np.arange(count)
    ticks["ts_recv"] = START_NS + np.arange(count) * 20 * MS
    ticks["kind"] = random.choice([Kind.ORDER_ADD] * 3 + [Kind.ORDER_CANCEL] * 2 + [Kind.ORDER_MODIFY], count)
    ticks["order_id"] = random.integers(1, 120, count)
    ticks["side"] = 1 + ticks["order_id"] % 2
    away = random.integers(0, 3, count)
    ticks["price"] = np.where(ticks["side"] == Side.BID, 100 - away, 101 + away)
    ticks["size"] = np.where(ticks["kind"] == Kind.ORDER_CANCEL, 0, random.integers(1, 9, count))
    ticks["flags"] = Flag.LAST
    cleared = np.arange(count) % 400 == 0
    ticks["kind"][cleared], ticks["flags"][cleared] = Kind.CLEAR, Flag.LAST | Flag.SNAPSHOT | Flag.ON_ORDERS
    return ticks


class Sampler:
    """A feed's books and its series over them."""

    def __init__(self, series: list[Series], own: Mapping[str, Indicator] = NONE, *before: np.ndarray) -> None:
        market = MarketBooks()
        for ticks in before:
            market.apply(ticks)
        self.bests: list[np.ndarray] = [np.zeros(0, BBO)]
        self.books = SampledBooks(market, series, INSTRUMENTS.__getitem__, LINE.__getitem__, own)
        self.values = BookValues(self.books, INSTRUMENTS.__getitem__)

    def apply(self, ticks: np.ndarray) -> np.ndarray:
        made = {Schema.TICK: ticks}
        self.bests.append(self.books.apply(made))
        return self.values.apply(made).copy()


@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), count=st.integers(1, 160))
def test_samples_have_the_values_of_one_record_at_a_time(data: st.DataObject, seed: int, count: int) -> None:
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    series = [Series(number, name, data.draw(st.sampled_from(PATTERNS))) for number, name in enumerate(names, 3)]
    ticks = feed(seed, count)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ticks)), max_size=4)))
    expected = PlainSamples(running_books(series), INSTRUMENTS, LINE.__getitem__).apply(ticks)
    sampler = Sampler(series)
    found = np.concatenate([np.zeros(0, VALUE), *(sampler.apply(part) for part in np.split(ticks, cuts))])
    assert found.tobytes() == expected.tobytes()
    assert np.concatenate(sampler.bests).tobytes() == MarketBooks().apply(ticks).tobytes()

    # Another one that has the books, and the states of some instant, goes on to the bit.
    upto = data.draw(st.integers(0, len(ticks)))
    first, second = Sampler(series), Sampler(series, NONE, ticks[:upto])
    before = first.apply(ticks[:upto])
    second.values.restore(pack_states(first.values.states(), np.zeros(1, TICK)[0], {}), upto)
    after = second.apply(ticks[upto:])
    assert np.concatenate([before, after]).tobytes() == expected.tobytes()


def test_the_made_feed_has_values_and_books_that_are_not_known() -> None:
    """So the test above can fail."""
    series = [Series(number, name) for number, name in enumerate(NAMES, 1)]
    found = Sampler(series).apply(feed(5, 3000))
    for one in series:
        missing = np.isnan(found["value_1"][found["series"] == one.number])
        assert missing.any(), one.name
        assert not missing.all(), one.name


def test_orders_are_followed_further_from_wherever_their_places_were_remembered() -> None:
    series = [Series(1, "queue_ahead-40.book_100ms", ("venue.CCC",))]
    ticks = crowded(900)
    whole = Sampler(series).apply(ticks)
    assert whole.tobytes() == PlainSamples(running_books(series), INSTRUMENTS, LINE.__getitem__).apply(ticks).tobytes()
    shrunk = np.diff(whole["value_2"]) < 0
    assert (shrunk & (whole["value_2"][1:] > 0)).sum() > 5, "some of those ahead have gone, others have not"
    for upto in range(300, 900, 50):
        first, second = Sampler(series), Sampler(series, NONE, ticks[: upto - 100])
        before = first.apply(ticks[:upto])
        # The books of the second one are behind the tick that the places were remembered at.
        second.values.restore(pack_states(first.values.states(), np.zeros(1, TICK)[0], {}), upto)
        after = np.concatenate([second.apply(part) for part in np.split(ticks[upto - 100 :], [30, 200])])
        assert np.concatenate([before, after]).tobytes() == whole.tobytes(), upto


def test_users_indicators_have_the_same_books_and_one_that_fails_ends_alone() -> None:
    calls: list[int] = []

    def fail(inputs: np.ndarray, *arguments: np.ndarray) -> None:
        calls.append(inputs.shape[2])
        if len(calls) == 9:
            raise DeriveError("it has failed", key="failing")
        DEPTH.kernel(inputs, *arguments)

    own = {
        "mine-3.book_100ms": replace(DEPTH, name="mine"),
        "failing-2.book_100ms": replace(DEPTH, name="failing", kernel=fail),
    }
    names = ("mine-3.book_100ms", "depth-3.book_100ms", "failing-2.book_100ms")
    ticks = feed(5, 3000)
    sampler = Sampler([Series(number, name) for number, name in enumerate(names, 1)], own)
    found = np.concatenate([sampler.apply(part) for part in np.split(ticks, [1000, 1001, 2000])])
    mine, ours, failing = (found[found["series"] == number] for number in (1, 2, 3))
    assert len(ours) > 100
    for name in set(VALUE.names or ()) - {"series"}:
        assert mine[name].tobytes() == ours[name].tobytes()
    assert (np.diff(found["source_seq"].astype(np.int64)) >= 0).all()
    assert (len(calls), max(calls)) == (9, 2), "of the depth that it asks for, and no more after it has failed"
    assert 0 < len(failing) < len(ours)
    assert {number for number, _, _ in sampler.values.states()} == {1, 2}


def test_what_a_feed_says_of_itself_is_of_no_book() -> None:
    ticks = np.zeros(6, TICK)
    ticks["instrument"], ticks["kind"], ticks["flags"] = [2, 5, 2, 5, 2, 5], Kind.GAP, Flag.ON_BOOK
    ticks["ts_recv"], ticks["seq"] = START_NS + np.arange(6) * 10**9, np.arange(6)
    found = Sampler([Series(1, "depth-3.book_1s")]).apply(ticks)
    assert found["instrument"].tolist() == [2, 2]
    assert np.isnan(found["value_1"]).all()
