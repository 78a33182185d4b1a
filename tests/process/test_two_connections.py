"""A feed with `connections = 2` whose connections are cut one after the other: not one trade is missing or doubled.

At every venue of the catalogue that allows two connections, with the channels whose repeats its ids tell.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feed_process import FeedProcess, feed_process
from sim_process import SimProcess, sim_process
from venue_sample import VenueSample
from venue_samples import SAMPLES

from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.runtime.job_specs import Live
from tickplant.venues import VENUES

pytestmark = pytest.mark.usefixtures("unmeasured")

EVERY_S = 1.0
DOUBLED = [sample for sample in SAMPLES.values() if VENUES[sample.venue].numbered and not VENUES[sample.venue].single]
CHANNELS = ("trade", "quote", "book")


def open_connections(sim: SimProcess) -> list[int]:
    """Numbers of the sockets that are open, the oldest first."""
    return [each["connection"] for each in sim.ledger()["connections"] if each["closed_ns"] is None]


def streams_of(sim: SimProcess) -> list[set[str]]:
    """The streams of which each open connection has sent something."""
    connections = [each for each in sim.ledger()["connections"] if each["closed_ns"] is None]
    return [{name for name, sent in each["streams"].items() if sent["frames"]} for each in connections]


def wait_until_doubled(sim: SimProcess, feed: FeedProcess) -> None:
    """Two connections deliver, the younger one all that the older one does; and the feed is as far as that."""

    def deliver() -> bool:
        streams = streams_of(sim)
        return len(streams) == 2 and streams[1] >= streams[0]

    feed.wait_for("both connections", deliver)
    now_ns, instruments = time.time_ns(), len(np.unique(feed.of_kind(Kind.TRADE)["instrument"]))

    def is_as_far() -> bool:
        trades = feed.of_kind(Kind.TRADE)
        return len(np.unique(trades["instrument"][trades["ts_recv"] > now_ns])) == instruments

    feed.wait_for("trades of both", is_as_far)


def cut_one_after_the_other(sim: SimProcess, feed: FeedProcess, cuts: int) -> None:
    """The older connection of the two is cut, so many times, when both have delivered for a second."""
    for number in range(cuts):
        wait_until_doubled(sim, feed)
        began_s = time.monotonic()
        feed.wait_for("the next second", lambda began_s=began_s: time.monotonic() > began_s + EVERY_S)
        sim.fault("disconnect", connection=open_connections(sim)[0], close_frame=number % 2 == 0)


def runs() -> list[Any]:
    """Each venue for a minute, and some of them for a few seconds."""
    short = [pytest.param(sample, 4, id=f"{sample.venue}-4") for sample in DOUBLED[:1]]
    return short + [pytest.param(sample, 60, id=f"{sample.venue}-60", marks=pytest.mark.proof) for sample in DOUBLED]


@pytest.mark.parametrize(("sample", "cuts"), runs())
def test_not_one_trade_is_missing_or_doubled(sample: VenueSample, cuts: int, tmp_path: Path) -> None:
    venue, symbols = sample.venue, sample.symbols
    channels = [channel for channel in CHANNELS if channel in VENUES[venue].numbered]
    with sim_process(venue=venue, symbols=symbols, messages_per_s=2000.0, depth_levels=50) as sim:
        source = Live(ws_url=sim.ws_url, rest_url=sim.rest_url)
        config = {"venue": venue, "symbols": symbols, "connections": 2, "reconnect_cap_s": 0.2, "channels": channels}
        with feed_process(tmp_path, source, capacity_records=1 << 18, **config) as feed:
            feed.wait_for("trades", lambda: len(np.unique(feed.of_kind(Kind.TRADE)["instrument"])) == len(symbols))
            if "book" in channels:
                feed.wait_for("books", lambda: len(np.unique(feed.of_kind(Kind.CLEAR)["instrument"])) == len(symbols))
            feed.wait_for("both connections", lambda: len(open_connections(sim)) == 2)
            wait_until_doubled(sim, feed)
            told_before = len(feed.records)
            cut_one_after_the_other(sim, feed, cuts)
            wait_until_doubled(sim, feed)
            told = feed.records[told_before:]
            assert feed.stop() == 0
    codes = told["price"][told["kind"] == Kind.STATUS].tolist()
    assert StatusCode.DISCONNECTED not in codes
    assert codes.count(StatusCode.HANDOVER) >= cuts
    gaps = told[told["kind"] == Kind.GAP]
    assert not (gaps["flags"] & (Flag.ON_TRADE | Flag.ON_BOOK)).any(), [GapCause(cause) for cause in gaps["price"]]
    trades_of: dict[str, int] = {}
    for symbol in symbols:
        (instrument,) = feed.instruments.find(venue, symbol)
        trades = feed.records[(feed.records["instrument"] == instrument.id) & (feed.records["kind"] == Kind.TRADE)]
        assert not (trades["flags"] & Flag.BACKFILL).any()
        ids = trades["venue_seq"].tolist()
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(ids) > 20 * cuts
        trades_of[symbol] = len(ids)
    counters = feed.counters
    assert counters["connections"] == 2
    assert counters["connections_lost"] >= cuts
    assert counters["duplicates"] > counters["published"] / 10
    assert [account for account in feed.accounts if account.off] == []
    quotes = int((gaps["flags"] & Flag.ON_QUOTE != 0).sum())
    print(f"\n{venue}: {cuts} cuts, trades {trades_of}, missing or doubled 0, repeats dropped {counters['duplicates']}")
    print(f"GAPs on quotes {quotes}, hand-overs {codes.count(StatusCode.HANDOVER)}")
    assert counters["frames"] == counters["parsed"] + counters["ignored"] + counters["rejected"]
