"""Many subscribers of a busy plant, one of which stops reading, one is killed, one floods and one comes late.

Each of the others must have every record of its topics: without a hole in the topic sequences, from before the trouble
began to where the engine stood at the end, and equal to the store. So must the one that stopped reading, except for
losses that were reported to it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from plant_process import tickplant, wait_for

from chaos.chaos_plant import ENGINE, FEED, ChaosPlant, Settings, chaos_plant
from chaos.crowd import Crowd, Verdict, tools_environment
from tickplant.client.follower import SNAPSHOT_CHANNELS
from tickplant.client.request_line import RequestLine
from tickplant.runtime.config import beside
from tickplant.wire import GetTopics, Topics, split_topic

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "TRXUSDT")
TICKS_PER_MESSAGE: Final = 2.1
"""Minimum for the simulated venue: a trade is one tick, a quote two, a change of a book one per level."""

PER_PROCESS: Final = 20
"""Subscriptions in one process, each with sockets of its own. An interpreter for each would measure the machine."""

CALM_LOOKS: Final = 5

SPARE_CONNECTIONS: Final = 100
"""For misbehaving clients: the flood has sockets of its own."""


class SubscribersOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run."""

    others: int = 50
    ticks_per_s: float = 20_000.0
    stall_s: float = 10.0
    seed: int = 1
    symbols: tuple[str, ...] = SYMBOLS
    high_water_messages: int = 10_000
    recovery_mib: int = 64


class SubscribersReport(msgspec.Struct, kw_only=True):
    """The outcome. `ok` if nobody lost anything without a report, and the others lost nothing at all."""

    ok: bool
    options: SubscribersOptions
    measured_ticks_per_s: float
    subscribers: list[Verdict]
    engine: dict[str, int]  # its counters
    gap_causes: dict[str, int]  # of the feed: only those of the venue's end
    failures: list[str]


def disturb(options: SubscribersOptions, folder: Path, say: Callable[[str], None]) -> SubscribersReport:
    """Perform a run. `say` takes progress lines. Raises AssertionError if the plant or a subscriber does not start."""
    settings = Settings(
        symbols=options.symbols,
        messages_per_s=options.ticks_per_s / TICKS_PER_MESSAGE,
        seed=options.seed,
        log=False,
        hang_s=60.0,
        handover_s=3600.0,
        high_water_messages=options.high_water_messages,
        recovery_mib=options.recovery_mib,
        max_connections=options.others + SPARE_CONNECTIONS,
    )
    with contextlib.ExitStack() as stack:
        plant = stack.enter_context(chaos_plant(folder, settings))
        plant.running.wait_until_up()
        wait_for("all books", lambda: _engine(plant).get("books_live") == len(options.symbols))
        crowd = stack.enter_context(Crowd(plant.running.publish, folder))
        wanted = _wanted(options)
        names = [f"others-{start // PER_PROCESS + 1}" for start in range(0, len(wanted), PER_PROCESS)]
        for number, name in enumerate(names):
            crowd.start(name, *wanted[number * PER_PROCESS : (number + 1) * PER_PROCESS])
        crowd.start("stalled", ["binance"])
        crowd.start("killed", ["binance"])
        for name in (*names, "stalled", "killed"):
            wait_for(f"{name} to be attached", lambda name=name: crowd.is_ready(name))
        before = _heads(plant)  # a stream begins no later than its subscription, see docs/wire.md
        began_s, began_head = time.monotonic(), _head(plant)
        say(f"{options.others} subscribers are attached, and one of each kind that misbehaves")

        crowd.signal("stalled", signal.SIGSTOP)
        with _flood(plant, options.symbols):
            crowd.start("late", ["binance"])
            _run_on(plant, options, options.stall_s / 2)
            crowd.die("killed")
            _run_on(plant, options, options.stall_s / 2)
        crowd.signal("stalled", signal.SIGCONT)
        say("the stalled one reads again")
        _run_on(plant, options, options.stall_s / 2)
        wait_for("the late one", lambda: crowd.is_ready("late"))
        late = _heads(plant)
        measured = (_head(plant) - began_head) / (time.monotonic() - began_s)

        plant.sim.stop()
        heads = {topic: head for topic, head in _calm_heads(plant).items() if head > before.get(topic, 0)}
        engine = _engine(plant)
        feed = plant.process(FEED)
        gap_causes = feed.counters.get("gap_causes", {}) if feed else {}
        crowd.heads.write_bytes(msgspec.json.encode(heads))
        crowd.dismiss()
        plant.forget()
        failures = [] if plant.running.stop() == 0 else ["the plant did not end in order"]
        say("stopped; comparing")
        done = tickplant("verify", "--data", plant.data_dir, timeout_s=600.0)
        if done.returncode:
            failures.append(f"verify found problems: {done.stdout}")
        subscribers = crowd.judge(plant.data_dir)
        failures += _incomplete(crowd, names, before, late, heads)
    failures += [f"{one.name}: {text}" for one in subscribers for text in one.wrong]
    failures += [f"{one.name} lost something" for one in subscribers if one.name.startswith("others") and one.losses]
    failures += [f"the engine has {name} {engine[name]}" for name in ("overruns", "rebuilds") if engine.get(name)]
    return SubscribersReport(
        ok=not failures,
        options=options,
        measured_ticks_per_s=round(measured, 1),
        subscribers=subscribers,
        engine={
            name: engine.get(name, 0)
            for name in (
                "records",
                "messages",
                "requests",
                "requests_refused",
                "replies_unread",
                "requests_recalled",
                "overruns",
                "rebuilds",
            )
        },
        gap_causes=gap_causes if isinstance(gap_causes, dict) else {},
        failures=failures,
    )


def _wanted(options: SubscribersOptions) -> list[list[str]]:
    """The subscriptions of the others: the first one takes everything, the rest one instrument each, as users do.

    Everything for everybody would be more messages than Python takes on two cores.
    """
    symbols = options.symbols
    return [["binance"], *([f"binance.{symbols[i % len(symbols)]}"] for i in range(options.others - 1))]


def _incomplete(
    crowd: Crowd, names: Sequence[str], before: dict[str, int], late: dict[str, int], heads: dict[str, int]
) -> Iterator[str]:
    """Topics that a subscriber did not have to the end, and events that the others lack from before the trouble on.

    A state begins with its snapshot, which a process that attaches twenty subscriptions may take later. The late one
    need not have topics without records after its arrival.
    """
    for process, accounts in crowd.accounts().items():
        for account in accounts:
            mine = [topic for topic in heads if any(f"{topic}.".startswith(f"{one}.") for one in account.topics)]
            last = {stretch.topic: stretch.until for stretch in account.stretches}
            first = {stretch.topic: stretch.first for stretch in reversed(account.stretches)}
            for topic in mine:
                if process == "late" and heads[topic] <= late.get(topic, 0):
                    continue
                if last.get(topic, 0) < heads[topic]:
                    yield f"{process} has {topic} up to {last.get(topic, 0)} of {heads[topic]}"
                event = split_topic(topic)[2] not in SNAPSHOT_CHANNELS
                if process in names and event and first.get(topic, 0) > before.get(topic, 0):
                    yield f"{process} has {topic} only from {first[topic]} on, which was at {before.get(topic, 0)}"


def _run_on(plant: ChaosPlant, options: SubscribersOptions, seconds: float) -> None:
    """Let time pass and, on a machine too slow for the rate, the corresponding number of ticks."""
    until_s, until_head = time.monotonic() + seconds, _head(plant) + seconds * options.ticks_per_s
    wait_for("ticks", lambda: time.monotonic() >= until_s and _head(plant) >= until_head, timeout_s=90 + 10 * seconds)


def _engine(plant: ChaosPlant) -> dict[str, int]:
    process = plant.process(ENGINE)
    return {name: value for name, value in process.counters.items() if isinstance(value, int)} if process else {}


def _head(plant: ChaosPlant) -> int:
    ring = plant.ring()
    return ring.head if ring else 0


def _heads(plant: ChaosPlant) -> dict[str, int]:
    """The head of each topic."""
    line = RequestLine(plant.running.publish, beside(plant.running.publish))
    try:
        reply, _ = line.ask(GetTopics(), 30.0)
    finally:
        line.close()
    assert isinstance(reply, Topics)
    return {info.topic: info.next_seq for info in reply.topics}


def _calm_heads(plant: ChaosPlant) -> dict[str, int]:
    """The heads once no topic has moved for a few checks, except those about the connection."""
    looks: list[dict[str, int]] = []

    def calm() -> bool:
        heads = _heads(plant)
        looks.append({topic: head for topic, head in heads.items() if not topic.endswith(".status")})
        time.sleep(0.3)
        return len(looks) >= CALM_LOOKS and all(look == looks[-1] for look in looks[-CALM_LOOKS:])

    wait_for("the topics to stand still", calm)
    return looks[-1]


@contextlib.contextmanager
def _flood(plant: ChaosPlant, symbols: Sequence[str]) -> Iterator[None]:
    """Flood the engine with requests during the block."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "chaos.flood", beside(plant.running.publish)),
            *(f"binance.{symbol}.book" for symbol in symbols),
        ],
        env=tools_environment(),
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
