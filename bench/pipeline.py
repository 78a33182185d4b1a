"""A whole plant at rates from a thousand messages per second to beyond its limit: delivered, lost, latency, CPU time.

    venue ══ws══> feed ──ring──> engine ══ZeroMQ PUB══> subscriber       (the plant)
          ══ws══> feed ──ring──╯╰──> writer ──> disk
    venue ══ws══> websockets + json ══ZeroMQ PUB══> json subscriber      (the rival, up to 50,000; it stores nothing)
      ts_event    ts_recv      published_ns             received

The venue sends a fixed number of trades and best prices, printed beforehand, with new ids and times. Latency is
`received - ts_recv` of every record: what the system adds. A system that cannot keep up lets frames wait in the socket,
which this does not show, so the age of trades, `received - ts_event`, is measured as well. The plant's latency is split
by stage: until the records are in the ring (samples, `ring_watch`), until the engine has made the message, until the
subscriber has it; and until the writer has them on disk. It is taken over windows of a few seconds; the median counts.

The check: the venue's ledger against what was decoded, received and stored, stream by stream. GAPs, overruns or holes
in the positions of a topic must report anything missing. Up to 50,000 messages/s, nothing may be missing.

`python -m bench.pipeline --rate 500000 --seconds 60` measures a single rate. Table and plot: build/pipeline.txt, .svg.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from bench import pipeline_report
from bench import plant as plants
from bench.harness import Result, host
from bench.pipeline_report import Run, Window
from bench.plant import RIVAL_NAME, SYMBOLS, Plant, ProcessError, Running, Sent, Sim, Usage
from bench.ring_watch import RingWatch
from bench.subscriber import TOPICS
from tickplant.records.layouts import Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

Rows = NDArray[np.void]  # of dtype subscriber.ROW


class Load(NamedTuple):
    """One load: messages/s of the venue, feeds that share its symbols, whether the rival is measured too."""

    rate: int
    feeds: int
    beside_rival: bool = False


LOADS: Final = (
    Load(1_000, 1, beside_rival=True),
    Load(10_000, 1, beside_rival=True),
    Load(50_000, 1, beside_rival=True),
    Load(100_000, 2),
    Load(200_000, 2),
    Load(500_000, 2),
)
QUICK_LOADS: Final = (Load(20_000, 2, beside_rival=True),)
NOTHING_LOST_BELOW: Final = 50_001
WINDOW_S: Final = 2.0
WARM_UP_S: Final = 2.0
ATTACH_S: Final = 4.0  # from the feed's subscription to the venue's first message: for the subscriber to come
MOST_ROWS_PER_S: Final = 20_000  # of the subscriber's notes: an engine that has much to do makes large messages
MOST_MESSAGES_PER_S: Final = 100_000  # of the rival
SPARE_S: Final = 0.5  # that the venue goes on after the last window
DRAIN_S: Final = 30.0
QUANTILES: Final = (50.0, 99.0, 99.9)
PREPARED_MESSAGES: Final = 1 << 16
BUFFER_BYTES: Final = 64 << 20  # that the venue lets wait for a client before it cuts it off

PLANT: Final = """
[plant]
data = "data"
log_level = "warning"

[engines.engine]
publish = "tcp://127.0.0.1:{port}"
max_connections = 1000

[writers.writer]
"""
FEED: Final = """
[feeds.{name}]
venue = "binance"
ws_url = "{venue.ws_url}"
rest_url = "{venue.rest_url}"
symbols = {symbols}
channels = ["trade", "quote"]
{options}
"""


@contextlib.contextmanager
def plant(venue: Sim, feeds: int, options: str = "", *, symbols: Sequence[str] = SYMBOLS) -> Iterator[Plant]:
    """A plant that records symbols of the venue, divided among `feeds` feeds; `options` are lines of each feed."""
    shares = [list(symbols[number::feeds]) for number in range(feeds)]
    texts = [
        FEED.format(name=f"feed{number}", venue=venue, symbols=str(share).replace("'", '"'), options=options)
        for number, share in enumerate(shares, 1)
    ]
    with plants.up(PLANT + "".join(texts)) as running:
        yield running


def measure(load: Load, *, windows: int, window_s: float, rival: bool = False, options: str = "") -> Run:
    """Start everything, wait until the venue has sent all, check and sum up. Raises ProcessError, AssertionError."""
    rate, seconds = load.rate, WARM_UP_S + windows * window_s
    limit = int(rate * (seconds + SPARE_S))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tickplant-bench-"))
        venue = stack.enter_context(
            plants.sim(
                rate,
                prepared_messages=PREPARED_MESSAGES,
                settle_s=ATTACH_S,
                limit_messages=limit,
                max_buffer_bytes=BUFFER_BYTES,
            )
        )
        system = plants.rival(venue) if rival else plant(venue, load.feeds, options)
        running: Running = stack.enter_context(system)
        file = f"{folder}/rows.npz"
        rows_per_s = MOST_MESSAGES_PER_S if rival else MOST_ROWS_PER_S
        capacity = int(min(2.5 * limit, rows_per_s * seconds)) + 100_000
        words = ("-m", "bench.subscriber", running.form, running.publish, str(capacity), file)
        subscriber = stack.enter_context(plants.child(*words, stdin=subprocess.PIPE))
        plants.read_line(subscriber, "the subscriber", plants.START_S)
        if venue.sent().happened:
            raise ProcessError(f"the subscriber was not there within {ATTACH_S:g} s: this machine is too busy")
        pids = running.pids | {"venue": venue.pid, "subscriber": subscriber.pid}
        while not venue.sent().happened:
            time.sleep(0.05)
        time.sleep(WARM_UP_S)
        before, start_ns, used = venue.sent(), time.time_ns(), _usage(pids)
        watch = None if rival else RingWatch(cast("Plant", running), "feed1", "writer")
        with watch or contextlib.nullcontext():
            time.sleep(windows * window_s)
        end_ns, more, after = time.time_ns(), _usage(pids), venue.sent()
        sent = drained(venue, running)
        time.sleep(1.0)  # for what was under way to the subscriber
        losses = {} if rival else _losses(cast("Plant", running), sent)
        assert subscriber.stdin is not None
        subscriber.stdin.close()
        subscriber.wait(plants.STOP_S)
        data = np.load(file)
        rows, topics = data["rows"], data["topics"].tolist()
    per_quote = 2 if running.form == "ticks" else 1  # records
    losses |= _received(rows, topics, sent, per_quote=per_quote)
    starts = range(start_ns, end_ns - int(0.5e9 * window_s), int(window_s * 1e9))
    found = [window for start in starts if (window := _window(rows, topics, start, start + starts.step, watch))]
    wall_s = (end_ns - start_ns) / 1e9
    delivered = _delivered(rows, topics, start_ns, end_ns, per_quote=per_quote)
    if not found or not delivered:
        raise ProcessError("nothing reached the subscriber")
    return Run(
        rate=rate,
        offered_per_s=(after.happened - before.happened) / wall_s,
        delivered_per_s=delivered / wall_s,
        windows=found,
        cpu_us={name: (more[name].cpu_ns - used[name].cpu_ns) / 1000 / delivered for name in pids},
        cpu_share={name: (more[name].cpu_ns - used[name].cpu_ns) / 1e9 / wall_s for name in pids},
        switches_per_s={name: (more[name].switches - used[name].switches) / wall_s for name in pids},
        rss_bytes={name: more[name].rss_bytes for name in pids},
        losses=losses,
    )


def _usage(pids: dict[str, int]) -> dict[str, Usage]:
    return {name: plants.usage(pid) for name, pid in pids.items()}


def drained(venue: Sim, running: Running) -> Sent:
    """The ledger once the venue has fallen silent, and the plant has processed what it could."""
    deadline_s = time.monotonic() + DRAIN_S
    while not venue.ledger()["source"]["ended"]:
        if time.monotonic() > deadline_s:
            raise ProcessError(f"the venue did not end within {DRAIN_S:g} s")
        time.sleep(0.5)
    sent = venue.sent()
    while isinstance(running, Plant) and time.monotonic() < deadline_s:
        status = running.status()
        if all(sum(ring.lag.values()) == 0 for ring in status.rings) and _wants(running, sent) <= 0:
            break
        time.sleep(0.2)
    return sent


def _wants(running: Plant, sent: Sent) -> int:
    """How many frames were sent and not decoded."""
    decoded = running.decoded()
    return sum(sent.frames_of(stream) - decoded[name] for name, stream in plants.STREAM_OF.items())


def _losses(running: Plant, sent: Sent) -> dict[str, int]:
    """What the plant lost on the way, by its own reports and by its store. Raises AssertionError."""
    status = running.status()
    if off := [str(account) for account in status.accounts if account.off]:
        raise AssertionError(f"the plant's accounts do not add up: {off}")
    if not status.healthy or any(one.restarts for one in status.processes):
        raise AssertionError("the plant is not healthy")
    decoded = running.decoded()
    stored = _stored(running)
    frames = sum(sent.frames_of(stream) for stream in plants.STREAM_OF.values())
    made = decoded["trade"] + decoded["quote"]
    dropped = sum(cast("int", counters["ring_dropped"]) for counters in running.counters("feed"))
    if stored["trade"] + 2 * stored["quote"] + dropped != decoded["trade"] + 2 * decoded["quote"]:
        raise AssertionError(f"decoded {decoded}, of which the ring had no room for {dropped}, but stored {stored}")
    return {
        "not decoded": frames - made,
        "dropped, ring full": dropped,
        "GAPs": decoded["gap"],
        "cut off by the venue": sent.connections - len(running.counters("feed")),
        "overrun, engine": sum(ring.lost.get("engine", 0) for ring in status.rings),
        "not stored": frames - stored["trade"] - stored["quote"],
    }


def _stored(running: Plant) -> dict[str, int]:
    """Frames in the store."""
    store = Store(running.data)
    kinds = np.zeros(256, np.int64)
    for producer in store.producers():
        for block in store.blocks(producer, Schema.TICK, Selection(), ("kind",)):
            kinds += np.bincount(block.columns["kind"], minlength=256)
    return {"trade": int(kinds[Kind.TRADE]), "quote": int(kinds[Kind.QUOTE]) // 2}


def _received(rows: Rows, topics: list[str], sent: Sent, *, per_quote: int) -> dict[str, int]:
    """What the subscriber missed: records in the ledger, and how many of them holes in the positions show.

    The publisher numbers the records of a topic from 0, so there are as many as frames in the ledger (a quote is
    `per_quote` records), except for those that were never published.
    """
    missing = holes = 0
    for name in TOPICS:
        _, symbol, channel = name.split(".")
        expected = sent.frames[f"{symbol.lower()}@{plants.STREAM_OF[channel]}"]
        expected *= per_quote if channel == "quote" else 1
        mine = rows[rows["topic"] == topics.index(name)] if name in topics else rows[:0]
        got = int(mine["records"].sum())
        missing += expected - got
        if len(mine):
            holes += int(mine["position"][-1] + mine["records"][-1]) - got
    return {"not received": missing, "of these, holes in topics": holes}


def _weighted(values: NDArray[np.int64], weights: NDArray[np.uint32]) -> tuple[float, ...]:
    """Weighted quantiles of values, in ms."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order], dtype=np.int64)
    places = np.searchsorted(sums, np.array(QUANTILES) / 100 * sums[-1])
    return tuple((values[order][np.minimum(places, len(values) - 1)] / 1e6).tolist())


def _window(rows: Rows, topics: list[str], start_ns: int, end_ns: int, watch: RingWatch | None) -> Window | None:
    """One window; None if nothing came: after the venue cuts it off, the rival takes seconds to reconnect."""
    rows = rows[(rows["received_ns"] >= start_ns) & (rows["received_ns"] < end_ns)]
    trades = rows[np.isin(rows["topic"], [i for i, name in enumerate(topics) if name.endswith(".trade")])]
    if not len(trades):
        return None
    stages = {
        "frame to subscriber": _weighted(rows["received_ns"] - rows["ts_recv"], rows["records"]),
        "age of trades": _weighted(trades["received_ns"] - trades["ts_event"], trades["records"]),
    }
    if watch:
        stages |= {
            "frame to engine's message": _weighted(rows["published_ns"] - rows["ts_recv"], rows["records"]),
            "message to subscriber": _weighted(rows["received_ns"] - rows["published_ns"], rows["records"]),
        }
        # Samples of the whole time: too few for windows.
        for name, samples in (("frame to ring", watch.published_ns), ("frame to disk", watch.durable_ns)):
            if samples:
                stages[name] = _weighted(np.array(samples), np.ones(len(samples), np.uint32))
    return stages


def _delivered(rows: Rows, topics: list[str], start_ns: int, end_ns: int, *, per_quote: int) -> float:
    """Trades and quotes that reached the subscriber in this time."""
    rows = rows[(rows["received_ns"] >= start_ns) & (rows["received_ns"] < end_ns)]
    counts = np.bincount(rows["topic"], rows["records"], minlength=len(topics))
    sizes = [per_quote if name.endswith(".quote") else 1 for name in topics]
    return float((counts / sizes).sum())


def checked(run: Run) -> Run:
    """Raise AssertionError if a loss is not allowed, or is not reported."""
    lost = {name: count for name, count in run.losses.items() if count}
    if run.rate < NOTHING_LOST_BELOW and lost:
        raise AssertionError(f"at {run.rate:,} messages/s: {lost}")
    reported = run.losses["GAPs"] + run.losses["overrun, engine"] + run.losses["of these, holes in topics"]
    if lost and not reported:
        raise AssertionError(f"at {run.rate:,} messages/s nothing reports {lost}")
    return run


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure each load, and the rival if it can keep up."""
    results: list[Result] = []
    runs: list[Run] = []
    for load in QUICK_LOADS if quick else LOADS:
        windows, window_s = (2, 1.0) if quick else (repeats, WINDOW_S)
        mine = checked(measure(load, windows=windows, window_s=window_s))
        rival = measure(load, windows=windows, window_s=window_s, rival=True) if load.beside_rival else None
        runs.append(mine)
        results += _compared(mine, rival)
    pipeline_report.write(runs, Path("build"), host())
    return results


def _compared(mine: Run, rival: Run | None) -> list[Result]:
    trouble = [f"lost {rival.losses['not received']} messages"] if rival and rival.losses["not received"] else []

    def result(what: str, unit: str, value: float, other: float | None = None) -> Result:
        beside = "" if other is None else f"{RIVAL_NAME} ({', '.join([f'{other:,.3g}', *trouble])})"
        ratio = None if other is None else other / value
        name = f"pipeline at {mine.rate:,} messages/s: {what}"
        return Result(name=name, value=value, unit=unit, compared_with=beside, ratio=ratio, host=host())

    results = []
    for stage, quantiles in (("frame to subscriber", QUANTILES), ("age of trades", (99.0,))):
        for quantile in quantiles:
            place = QUANTILES.index(quantile)
            other = rival.median_ms(stage)[place] if rival else None
            results.append(result(f"{stage}, p{quantile:g}", "ms", mine.median_ms(stage)[place], other))
    results.append(result("CPU of all processes", "µs/message", mine.own_cpu_us, rival.own_cpu_us if rival else None))
    results += [
        result(f"CPU of the {role}", "µs/message", sum(spent))
        for role in ("feed", "engine", "writer")
        if (spent := [us for name, us in mine.cpu_us.items() if name.partition("-")[0] == role])
    ]
    results.append(result("delivered", "messages/s", mine.delivered_per_s))
    results.append(result("not received, each of them reported", "records", float(mine.losses["not received"])))
    return results


def main() -> int:
    """A single load."""
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline")
    parser.add_argument("--rate", type=int, action="append", help="messages/s of the venue; may be repeated")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--feeds", type=int, default=2, choices=range(1, len(SYMBOLS) + 1))
    parser.add_argument("--option", action="append", default=[], help="a line of each feed's configuration")
    parser.add_argument("--rival", action="store_true", help="the rival in place of the plant")
    arguments = parser.parse_args()
    runs = []
    for rate in arguments.rate or [50_000]:
        windows = max(1, round(arguments.seconds / WINDOW_S))
        options = "\n".join(arguments.option)
        load = Load(rate, arguments.feeds)
        runs.append(measure(load, windows=windows, window_s=WINDOW_S, rival=arguments.rival, options=options))
        print(pipeline_report.table(runs[-1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
