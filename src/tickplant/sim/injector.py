"""Commits faults at their times: on request, from a script, from a seed. The only part of the faults with a clock."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import structlog

from tickplant.sim.conversation import Answer
from tickplant.sim.dialect import Dialect, Snapshot
from tickplant.sim.fault_state import Armed
from tickplant.sim.faults import (
    Cut,
    Delist,
    Disconnect,
    Fault,
    Halt,
    Refine,
    Rest,
    StaleSnapshot,
    random_faults,
)
from tickplant.sim.outlet import Outlet, Receiver
from tickplant.sim.spec import SimSpec


class Injector:
    """Arms faults in an outlet, and carries out those that need no occasion."""

    def __init__(self, spec: SimSpec, dialect: Dialect, outlet: Outlet) -> None:
        self._spec = spec
        self._dialect = dialect
        self._source = dialect.source
        self._outlet = outlet
        self._snapshots: dict[int, dict[str, Snapshot]] = {}  # old ones, by fault and symbol
        due = sorted(
            ((one.at_message, one.fault) for one in spec.faults if one.at_message is not None), key=lambda one: one[0]
        )
        self._by_message = deque(due)
        outlet.before_batch = self._on_batch
        self._log = structlog.get_logger("sim")

    async def run(self) -> None:
        """Follow the script and the seed, forever."""
        start_s = time.monotonic()
        script = sorted(
            ((one.at_s, one.fault) for one in self._spec.faults if one.at_s is not None), key=lambda one: one[0]
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(start_s, iter(script)))
            if self._spec.fault_seed is not None:
                tasks.create_task(self._follow(start_s, self._mixture(self._spec.fault_seed)))

    def commit(self, fault: Fault) -> Armed:
        """Arm a fault now; one that needs no occasion takes effect at once."""
        outlet = self._outlet
        fault = self._dialect.words.complete(fault)
        now_ns = time.time_ns()
        armed = outlet.arm(fault, now_ns)
        self._log.info("fault", number=armed.number, fault=msgspec.to_builtins(fault))
        match fault:
            case StaleSnapshot():
                self._snapshots[armed.number] = self._dialect.snapshots()
            case Disconnect():
                for receiver in self._open(armed, fault.connection, now_ns):
                    if fault.close_frame:
                        outlet.close(receiver, fault.code, fault.reason)
                    else:
                        outlet.drop(receiver, "cut without a close frame")
            case Cut():
                for receiver in self._open(armed, fault.connection, now_ns):
                    if fault.announced and (notice := receiver.session.shutdown_notice(now_ns)) is not None:
                        outlet.reply(receiver, notice)
                    asyncio.get_running_loop().call_later(
                        fault.after_s, outlet.close, receiver, 1001, "the connection is too old"
                    )
            case Refine():
                self._befall(armed, fault.symbol, self._source.refine(fault.symbol, fault.digits))
            case Halt(status=str(status)):
                self._befall(armed, fault.symbol, self._source.set_life(fault.symbol, status=status, trades=False))
                self._take_back(fault.symbol, fault.for_s)
            case Delist():
                gone = self._source.set_life(
                    fault.symbol, status=self._dialect.words.delisted, trades=False, listed=False
                )
                self._befall(armed, fault.symbol, gone)
                self._take_back(fault.symbol, fault.for_s)
            case _:
                pass
        return armed

    def stale_snapshot(self, symbol: str) -> Snapshot | None:
        """The old snapshot to show instead of a fresh one; None for a fresh one."""
        number = self._outlet.faults.take_stale_snapshot(symbol, time.time_ns())
        return None if number is None else self._snapshots[number].get(symbol)

    async def answer(self, endpoint: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `ask` to a REST request, or what faults make of it."""
        fault = self._outlet.faults.take_rest(endpoint, time.time_ns())
        if fault is None:
            return await ask()
        answer = await ask() if fault.status == 200 and not fault.cut else self._refusal(fault)
        await asyncio.sleep(fault.delay_s)
        return answer

    # Inner.

    def _befall(self, armed: Armed, symbol: str, done: bool) -> None:
        if done:
            self._outlet.faults.hit(armed, time.time_ns(), stream=symbol)

    def _take_back(self, symbol: str, for_s: float | None) -> None:
        """Resume trading of a symbol after some time."""
        if for_s is not None:
            trade = functools.partial(self._source.set_life, symbol, status=self._dialect.words.trading, trades=True)
            asyncio.get_running_loop().call_later(for_s, trade)

    def _open(self, armed: Armed, connection: int, now_ns: int) -> Iterator[Receiver]:
        for receiver in list(self._outlet.receivers.values()):
            if connection in (0, receiver.number) and receiver.is_open:
                self._outlet.faults.hit(armed, now_ns, receiver.number)
                yield receiver

    def _on_batch(self, frames_sent: int) -> None:
        while self._by_message and self._by_message[0][0] <= frames_sent:
            self.commit(self._by_message.popleft()[1])

    async def _follow(self, start_s: float, plan: Iterator[tuple[float, Fault]]) -> None:
        for at_s, fault in plan:
            await asyncio.sleep(start_s + at_s - time.monotonic())
            self.commit(fault)

    def _mixture(self, seed: int) -> Iterator[tuple[float, Fault]]:
        at_s = 0.0
        spec = self._spec
        mixture = random_faults(seed, spec.faults_per_s, self._source.streams, self._dialect.words, spec.fault_kinds)
        for wait_s, fault in mixture:
            at_s += wait_s
            yield at_s, fault

    def _refusal(self, fault: Rest) -> Answer:
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return Answer(fault.status, self._dialect.rest_refusal(fault.status), headers, cut=fault.cut)
