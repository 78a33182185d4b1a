"""One chaos run: a plant on a simulated venue, a seeded mixture of faults, a quiet end, and then the proof."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from chaos.chaos_plant import CHILDREN, COMPACTOR, FEED, ChaosPlant, Sample, Settings, chaos_plant, sample
from chaos.crowd import EVENTS, Crowd, Verdict
from chaos.ending import Ending, end, until
from chaos.mixture import Surgeon, Times, times
from chaos.proof import Case, Proof, prove_files
from tickplant.sim.dialects.binance.venue import WORDS
from tickplant.sim.faults import random_faults

TURN_S: Final = 0.02
SAMPLE_S: Final = 1.0

ACTIONS: Final[dict[str, float]] = {
    "venue": 10,
    "kill feed": 2,
    "kill engine": 2,
    "kill writer": 2,
    "kill compactor": 3,
    "kill supervisor": 1,
    "kill all": 1,
    "hang": 1,
    "pause": 2,
    "subscriber joins": 2,
    "subscriber stalls": 1,
    "subscriber dies": 1,
}
"""Kinds of faults and their relative frequencies."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run."""

    seconds: float = 60.0
    seed: int = 1
    every_s: float = 2.0  # on average, from one fault to the next
    quiet_s: float = 15.0  # at the end, for the books to get back in sync
    messages_per_s: float = 400.0
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    actions: tuple[str, ...] = ()  # only these; empty: all
    ring_records: int = 1 << 18  # a small ring is full before a hung writer is noticed


class Use(msgspec.Struct, frozen=True):
    """Memory and descriptors of one process over its longest life, and the maximum of any life."""

    name: str
    lives: int
    longest_s: float
    own_first: int  # resident bytes that are not shared
    own_half: int  # halfway
    own_last: int
    own_max: int
    fds_first: int
    fds_last: int
    fds_max: int


class Report(msgspec.Struct, kw_only=True):
    """The outcome. `ok` says whether the plant can be trusted."""

    ok: bool
    options: Options
    seconds: float
    faults: dict[str, int]
    venue_faults: dict[str, int]  # armed, by kind
    recoveries: list[Times]
    longest_outage_s: float  # between two records in the tick ring
    proof: Proof
    ending: Ending
    subscribers: list[Verdict]
    use: list[Use]
    failures: list[str]


class _Watch:
    """Samples memory and descriptors, and measures how long no record reached the ring."""

    def __init__(self, plant: ChaosPlant) -> None:
        self._plant = plant
        self._next_s = 0.0
        self._head = 0
        self._moved_s = time.monotonic()
        self.longest_s = 0.0
        self.samples: list[Sample] = []

    def turn(self) -> None:
        now_s = time.monotonic()
        ring = self._plant.ring()
        if ring is not None and ring.head > self._head:
            self.longest_s = max(self.longest_s, now_s - self._moved_s)
            self._head, self._moved_s = ring.head, now_s
        if now_s >= self._next_s:
            self._next_s = now_s + SAMPLE_S
            self.samples += sample(self._plant.pids(), now_s)

    def use(self) -> list[Use]:
        lives: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        for one in self.samples:
            lives[one.name][one.pid].append(one)
        table = []
        for name, by_pid in lives.items():
            longest = max(by_pid.values(), key=len)
            # The first seconds are imports and loading of compiled code.
            settled = longest[min(5, len(longest) - 1) :]
            everything = [one for life in by_pid.values() for one in life]
            table.append(
                Use(
                    name=name,
                    lives=len(by_pid),
                    longest_s=round(longest[-1].time_s - longest[0].time_s, 1),
                    own_first=settled[0].own_bytes,
                    own_half=settled[len(settled) // 2].own_bytes,
                    own_last=settled[-1].own_bytes,
                    own_max=max(one.own_bytes for one in everything),
                    fds_first=settled[0].fds,
                    fds_last=settled[-1].fds,
                    fds_max=max(one.fds for one in everything),
                )
            )
        return table


class _Mixture:
    """Chooses the next fault; the same for the same seed, except for faults that the plant cannot take just then."""

    def __init__(self, surgeon: Surgeon, crowd: Crowd, options: Options, say: Callable[[str], None]) -> None:
        self._surgeon = surgeon
        self._crowd = crowd
        self._stalled: dict[str, float] = {}  # until when
        self._chance = random.Random(options.seed)
        self._say = say
        weights = {name: weight for name, weight in ACTIONS.items() if not options.actions or name in options.actions}
        self._names, self._weights = list(weights), list(weights.values())
        suffixes = ("trade", "bookTicker", "depth@100ms")
        streams = [f"{symbol.lower()}@{suffix}" for symbol in options.symbols for suffix in suffixes]
        self._venue = random_faults(options.seed, 1.0, streams, WORDS)
        self._every_s = options.every_s
        self.done: Counter[str] = Counter()

    def wait_s(self) -> float:
        return self._chance.expovariate(1 / self._every_s)

    def strike(self) -> None:
        name = self._chance.choices(self._names, self._weights)[0]
        plant, surgeon = self._surgeon.plant, self._surgeon
        verb, _, victim = name.partition(" ")
        target = self._chance.choice(CHILDREN)
        pause_s = self._chance.uniform(0.1, 1.5)
        if name == "venue":
            _, fault = next(self._venue)
            raw = msgspec.to_builtins(fault)
            plant.sim.fault(raw.pop("fault"), **raw)
            self._say(f"venue: {json.dumps(msgspec.to_builtins(fault))}")
            done = True
        elif verb == "subscriber":
            done = self._disturb(victim)
        elif victim == COMPACTOR:
            done = surgeon.kill_passing(victim)
        elif verb == "kill" and victim in CHILDREN:
            done = surgeon.strike(victim)
        elif verb == "kill":
            done = surgeon.strike_supervisor(everybody=victim == "all")
        elif name == "hang":
            name = f"hang {target}"
            done = surgeon.strike(target, signal.SIGSTOP, "hang")
        else:
            name = f"pause {target}"
            done = surgeon.pause(target, pause_s)
        if done:
            self.done[name] += 1
            if name != "venue":
                self._say(name)

    def _disturb(self, how: str) -> bool:
        if how == "joins":
            self._crowd.join()
            return True
        victims = self._crowd.victims
        if not victims:
            return False
        name = self._chance.choice(victims)
        if how == "dies":
            self._crowd.die(name)
        else:
            self._crowd.signal(name, signal.SIGSTOP)
            self._stalled[name] = time.monotonic() + self._chance.uniform(1.0, 10.0)
        return True

    def turn(self) -> None:
        """Release subscribers that have stalled for long enough."""
        for name, until_s in list(self._stalled.items()):
            if time.monotonic() > until_s:
                del self._stalled[name]
                self._crowd.signal(name, signal.SIGCONT)


def run(options: Options, folder: Path, say: Callable[[str], None]) -> Report:
    """Perform a run. `say` takes progress lines. Raises AssertionError if the plant does not come back at all."""
    settings = Settings(
        symbols=options.symbols,
        messages_per_s=options.messages_per_s,
        seed=options.seed,
        ring_records=options.ring_records,
    )
    started_s = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - started_s:7.1f} s  {text}")

    with contextlib.ExitStack() as stack:
        plant = stack.enter_context(chaos_plant(folder, settings))
        plant.running.wait_until_up()
        tell("the plant is up")
        surgeon, watch = Surgeon(plant), _Watch(plant)
        crowd = stack.enter_context(Crowd(plant.running.publish, folder))
        crowd.join("steady")
        mixture = _Mixture(surgeon, crowd, options, tell)

        def turn() -> None:
            known = len(surgeon.pending)
            surgeon.turn()
            mixture.turn()
            watch.turn()
            if len(surgeon.pending) < known:
                for one in surgeon.recoveries[-known - 1 :]:
                    if one.took_s is not None and time.monotonic() - one.began_s - one.took_s < TURN_S:
                        tell(f"{one.process} is back after {one.took_s:.1f} s")
            time.sleep(TURN_S)

        end_s = time.monotonic() + options.seconds
        next_s = time.monotonic() + mixture.wait_s()
        while time.monotonic() < end_s:
            turn()
            if time.monotonic() >= next_s:
                mixture.strike()
                next_s = time.monotonic() + mixture.wait_s()
        tell("no more faults; waiting for everything to be in order")
        quiet_until_s = time.monotonic() + options.quiet_s
        calm = until(lambda: not surgeon.pending and plant.is_healthy(), turn)
        until(lambda: time.monotonic() >= quiet_until_s, turn)
        failures = [] if calm else [f"not back at the end: {[one.process for one in surgeon.pending]}"]
        ledger = plant.sim.ledger()
        surgeon.note_heads()
        crowd.dismiss()
        ending = end(plant, surgeon.reached, turn)
        watch.turn()
        tell("stopped; proving")
        proof = prove_files(plant.log, plant.data_dir, FEED)
        subscribers = crowd.judge(plant.data_dir, EVENTS)
    failures += ending.failures
    failures += [f"{count} messages are {kind}" for kind, count in proof.wrong.items()]
    failures += [f"subscriber {one.name}: {text}" for one in subscribers for text in one.wrong]
    return Report(
        ok=not failures,
        options=options,
        seconds=round(time.monotonic() - started_s, 1),
        faults=dict(mixture.done),
        venue_faults=dict(Counter(one["fault"]["fault"] for one in ledger["faults"])),
        recoveries=times(surgeon.recoveries),
        longest_outage_s=round(watch.longest_s, 2),
        proof=proof,
        ending=ending,
        subscribers=subscribers,
        use=watch.use(),
        failures=failures,
    )


def shown(case: Case) -> str:
    """A case in one line."""
    return f"{case.kind}: {case.symbol} {case.channel} {case.id}: {case.text}"
