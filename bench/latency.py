"""From a frame on the venue's socket to a subscriber's array: the plant and a rival, at several rates.

    sim ══ws══> feed ──ring──> engine ══ZeroMQ PUB══> subscriber        (the plant; its writer stores meanwhile)
    sim ══ws══> websockets + json ══ZeroMQ PUB══> json subscriber       (the rival; it stores nothing)
        ts_event    ts_recv                              received

Latency is `received - ts_recv` of every trade and quote: what the system adds. A system that cannot keep up lets
frames wait in the socket, which that does not show; so there is also the age of trades, `received - ts_event`, which
includes the venue's own batching (2 ms in the simulated one). Both over a few seconds of steady state, repeated in
windows; the median window counts. All processes share the machine's clock.

The check: what came is held against the venue's ledger. A plant that lost a record has no latency to report.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import tempfile
import time
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import plant as plants
from bench.harness import Result, host, main
from bench.plant import RIVAL_NAME, ProcessError, Sent, System
from bench.subscriber import TOPICS

Rows = NDArray[np.void]  # of dtype subscriber.ROW

RATES: Final = (1_000, 10_000, 50_000)  # messages/s of the venue: trades, quotes and book changes together
QUICK_RATES: Final = (50_000,)
WINDOW_S: Final = 2.0
WARM_UP_S: Final = 2.0
QUANTILES: Final = (50.0, 99.0, 99.9)


class Window(NamedTuple):
    """A few seconds of steady state, times in nanoseconds."""

    latency: tuple[float, ...]  # from ts_recv to the subscriber, at QUANTILES
    age: tuple[float, ...]  # of trades, from the venue's own time to the subscriber, at QUANTILES


class Run(NamedTuple):
    """One system at one rate."""

    windows: list[Window]
    cpu_us: dict[str, float]  # CPU time by process for each message delivered, µs
    missing: int  # records of what the venue has sent that the subscriber never got
    behind: bool  # the last ones had not come half a second after they were sent
    disconnects: int  # by the venue, because too much was waiting


def measure(system: System, rate: int, *, windows: int, window_s: float) -> Run:
    """Start everything, let it run for the warm-up and all windows, check and sum up. Raises ProcessError."""
    capacity = int(rate * (WARM_UP_S + windows * window_s + 5) * 2.5) + 100_000
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tickplant-bench-"))
        venue = stack.enter_context(plants.sim(rate))
        running = stack.enter_context(system(venue))
        file = f"{folder}/rows.npz"
        words = ("-m", "bench.subscriber", running.form, running.publish, str(capacity), file)
        subscriber = stack.enter_context(plants.child(*words, stdin=subprocess.PIPE))
        plants.read_line(subscriber, "the subscriber", plants.START_S)
        time.sleep(WARM_UP_S)
        before, start_ns, cpu = venue.sent(), time.time_ns(), _cpu(running.pids)
        time.sleep(windows * window_s)
        cpu = {name: spent - cpu[name] for name, spent in _cpu(running.pids).items()}
        end_ns, after = time.time_ns(), venue.sent()
        time.sleep(0.5)  # for what was under way when the venue was asked
        running.check(venue)
        assert subscriber.stdin is not None
        subscriber.stdin.close()
        subscriber.wait(plants.STOP_S)
        data = np.load(file)
        rows, topics = data["rows"], data["topics"].tolist()
    happened_per_s = (after.happened - before.happened) / (end_ns - start_ns) * 1e9
    if happened_per_s < 0.9 * rate:
        raise ProcessError(f"the simulated venue made {happened_per_s:.0f} messages/s instead of {rate}: too few cores")
    per_quote = 2 if running.form == "ticks" else 1  # records
    missing, behind = _compare(rows, topics, after, per_quote=per_quote)
    starts = range(start_ns, start_ns + int(windows * window_s * 1e9), int(window_s * 1e9))
    found = [_window(rows, topics, start, start + starts.step) for start in starts]
    delivered = _delivered(rows, topics, start_ns, end_ns, per_quote=per_quote)
    return Run(
        [window for window in found if window],
        {name: spent / 1000 / delivered for name, spent in cpu.items()},
        missing,
        behind,
        after.connections - 1,
    )


def _cpu(pids: dict[str, int]) -> dict[str, int]:
    return {name: plants.cpu_ns(pid) for name, pid in pids.items()}


def _window(rows: Rows, topics: list[str], start_ns: int, end_ns: int) -> Window | None:
    """None where nothing came: after it was cut off by the venue, the rival takes seconds to connect again."""
    rows = rows[(rows["received_ns"] >= start_ns) & (rows["received_ns"] < end_ns)]
    trades = rows[np.isin(rows["topic"], [i for i, name in enumerate(topics) if name.endswith(".trade")])]
    if not len(trades):
        return None
    return Window(
        tuple(np.percentile(rows["received_ns"] - rows["ts_recv"], QUANTILES).tolist()),
        tuple(np.percentile(trades["received_ns"] - trades["ts_event"], QUANTILES).tolist()),
    )


def _delivered(rows: Rows, topics: list[str], start_ns: int, end_ns: int, *, per_quote: int) -> float:
    """Trades and quotes that reached the subscriber in this time. Raises ProcessError where none did."""
    rows = rows[(rows["received_ns"] >= start_ns) & (rows["received_ns"] < end_ns)]
    counts = np.bincount(rows["topic"], minlength=len(topics))
    sizes = [per_quote if name.endswith(".quote") else 1 for name in topics]
    if not len(rows):
        raise ProcessError("nothing reached the subscriber")
    return float((counts / sizes).sum())


def _compare(rows: Rows, topics: list[str], sent: Sent, *, per_quote: int) -> tuple[int, bool]:
    """Hold what came against the venue's ledger: how many records are missing, and whether some had not come yet.

    The publishing side numbers the records of a topic from 0. So the one with the last id in the ledger must bear
    the number that follows from the count of frames in it (a quote is `per_quote` records), and no number before it
    may be absent, from the first that the subscriber got.
    """
    missing, behind = 0, False
    for name in TOPICS:
        _, symbol, channel = name.split(".")
        stream = f"{symbol.lower()}@{plants.STREAM_OF[channel]}"
        if name not in topics or stream not in sent.frames:
            raise ProcessError(f"nothing came on {name}")
        mine = rows[rows["topic"] == topics.index(name)]
        jumps = np.diff(mine["position"].astype(np.int64)) - 1
        missing += int(np.abs(jumps).sum())
        last = np.flatnonzero(mine["id"] == sent.last_ids[stream])
        if len(last):
            expected = sent.frames[stream] * (per_quote if channel == "quote" else 1)
            missing += abs(expected - 1 - int(mine["position"][last[-1]]))
        else:
            behind = True
    return missing, behind


def run(repeats: int, quick: bool) -> list[Result]:
    """Latency at each rate, with the CPU time a message and proof that the plant kept up."""
    results: list[Result] = []
    for rate in QUICK_RATES if quick else RATES:
        windows, window_s = (2, 1.0) if quick else (repeats, WINDOW_S)
        mine, rival = (
            measure(system, rate, windows=windows, window_s=window_s) for system in (plants.plant, plants.rival)
        )
        if mine.missing or mine.behind or mine.disconnects:
            raise AssertionError(f"the plant lost {mine.missing} records at {rate}/s, or did not keep up")
        results += _compared(rate, mine, rival)
    return results


def _compared(rate: int, mine: Run, rival: Run) -> list[Result]:
    trouble = []
    if rival.behind:
        trouble.append("does not keep up")
    if rival.disconnects:
        trouble.append(f"cut off by the venue {rival.disconnects} x")
    if rival.missing:
        trouble.append(f"lost {rival.missing} messages")

    def result(what: str, unit: str, value: float, other: float) -> Result:
        return Result(
            name=f"latency at {rate:,} messages/s: {what}",
            value=value,
            unit=unit,
            compared_with=f"{RIVAL_NAME} ({', '.join([f'{other:,.3g}', *trouble])})",
            ratio=other / value,
            host=host(),
        )

    def median_ms(times_ns: list[float]) -> float:
        if not times_ns:
            raise ProcessError(f"nothing came at {rate:,} messages/s")
        return statistics.median(times_ns) / 1e6

    both = (mine, rival)
    results = [
        result(f"frame to subscriber, p{q:g}", "ms", *(median_ms([w.latency[i] for w in run.windows]) for run in both))
        for i, q in enumerate(QUANTILES)
    ]
    ages = (median_ms([window.age[QUANTILES.index(99.0)] for window in run.windows]) for run in both)
    results.append(result("age of trades, p99", "ms", *ages))
    costs = [sum(run.cpu_us.values()) for run in both]
    feed = Result(
        name=f"latency at {rate:,} messages/s: CPU of the feed process, socket to ring",
        value=mine.cpu_us["feed"],
        unit="µs/message",
        host=host(),
    )
    return [*results, result("CPU of all processes", "µs/message", *costs), feed]


if __name__ == "__main__":
    main(run)
