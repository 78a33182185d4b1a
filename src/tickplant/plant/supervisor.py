"""Runs a plan: owns rings, instrument table and control socket; starts, watches, restarts and drains the children.

One thread, one poll loop (`pool.py`). The order of a life: lock the data directory, store and unlink what a dead
predecessor left, create the rings, start each stage once the previous one has said hello, watch, and finally stop
producers before consumers, so that every ring is empty when its reader exits. The supervisor reads neither ticks nor
the store, and imports neither numba nor the modules of its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import psutil

from tickplant.errors import StoreError, TickplantError
from tickplant.instruments import InstrumentTable
from tickplant.plant import plans, run_folder
from tickplant.plant.child import READY_TIMEOUT_S, Child, ChildPlan, orphans
from tickplant.plant.control_desk import ControlDesk
from tickplant.plant.launcher import ForkServer
from tickplant.plant.lock_file import DataLock, Holder, locked
from tickplant.plant.plans import Addresses, Plan
from tickplant.plant.pool import Pool, Report
from tickplant.plant.rings import Rings, unlink_unstored
from tickplant.plant.roles import ROLES, STAGES
from tickplant.plant.store_helpers import StoreHelpers
from tickplant.plant.switchboard import LAST_WORDS
from tickplant.runtime.control import Done, Status
from tickplant.runtime.lineage import PR_SET_CHILD_SUBREAPER, prctl
from tickplant.runtime.standstill import Standstill
from tickplant.shm.view import RingView

TICK_S: Final = 1.0
ORPHAN_S: Final = 3.0  # how long the children of a dead predecessor may take to finish
ORPHAN_LOOK_S: Final = 0.1
REST_TRIES: Final = 2  # attempts of a writer to store what a stopped plant has not stored
DRAIN_LOOK_S: Final = 0.02  # between two checks of the rings after a finite source has ended


class Supervisor:
    """One plant from start to end. Use `run()`; `status()` and `request_stop()` may be called from `on_tick`."""

    def __init__(
        self, plan: Plan, addresses: Addresses | None = None, *, report: Report, server: ForkServer | None = None
    ) -> None:
        """`server`: one already started, to be ended with the plant."""
        self.plan = plan
        self._server = server
        self.addresses = addresses or Addresses()
        self.data_dir = Path(plan.plant.data_dir)
        self.run_dir = Path(plan.plant.run_dir)
        self.failed: list[str] = []  # deaths that no restart repairs: in a finite plan, or during the drain
        self.started_s = time.monotonic()
        self.running = False  # every child has been ready once
        self._pool = Pool(self, report)
        self._pool.children = {child.name: Child(child, plan.settings) for child in plan.children}
        self._rings = Rings(plan.plant_id, self.run_dir)
        self._helpers = StoreHelpers(plan, self._pool)
        instruments = InstrumentTable.load(self.data_dir / "instruments.jsonl")
        self._desk = ControlDesk(plan, self._pool, self._helpers, instruments, self.status)
        self._stage = 0
        self._starts: dict[str, int] = {}  # by ring: start found by the survey

    @property
    def children(self) -> dict[str, Child]:
        """The children by name."""
        return self._pool.children

    @property
    def done(self) -> dict[str, Done]:
        """The last report of each source that has ended, by name."""
        return self._desk.done

    # ------------------------------------------------------------------------------------------------ life

    def run(self, on_tick: Callable[[], None] = lambda: None) -> int:
        """Run until stopped or, with a finite child, until its source has been drained. Returns the exit code."""
        pool, settings = self._pool, self.plan.settings
        finite = any(child.finite for child in self.plan.children)
        os.umask(int(settings.umask, 8))  # applies to the children too
        with contextlib.ExitStack() as stack:
            server = self._server or ForkServer()
            stack.callback(server.close)
            server.warm(plans.modules(self.plan))
            # Children forked by the fork server belong to this process, as do those that nobody waits for.
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            lock = stack.enter_context(locked(self.data_dir)) if self.plan.exclusive else None
            stack.enter_context(run_folder.held(self.run_dir))
            run_folder.clear_dead(self.run_dir.parent, unlink_unstored)
            log_dir = self.data_dir / "log" if self.plan.exclusive else self.run_dir
            stack.enter_context(pool.opened(self.plan.plant.control, log_dir, server, settings.hang_s))
            if lock:
                stack.callback(self._let_go, lock)
                lock.say(Holder(os.getpid(), str(self.run_dir), self.longest_stop_s()))
                if lock.predecessor:
                    self._end_orphans(lock.predecessor)
            self._clean_up_remains()
            stack.callback(self._remove_rings)
            starts = self._survey()
            for ring in self.plan.rings:
                self._rings.create(ring, starts.get(ring.ref.name, 0))
            try:
                self._supervise(on_tick, until=self._finished if finite else lambda: pool.stopping)
                if not finite:
                    pool.tell("info", f"stopping: storing the data in flight in {self.data_dir}")
            finally:
                self._drain(on_tick)
        return 1 if self.failed else 0  # the rings have been checked by now

    def longest_stop_s(self) -> float:
        """How long the plant may take to end after a request: all stages, and writers for what is left."""
        writers = REST_TRIES * sum(ROLES[child.role].stores for child in self.plan.children)
        return (len(ROLES) + writers) * self.plan.settings.drain_s + writers * READY_TIMEOUT_S

    def _let_go(self, lock: DataLock) -> None:
        """Leave a note of how the plant ended, for `tickplant stop`."""
        with contextlib.suppress(StoreError):  # a full disk must not spoil an orderly end
            lock.say(Holder(trouble="; ".join(self.failed)))

    @property
    def stopping(self) -> bool:
        """Whether the drain has begun."""
        return self._pool.stopping

    def request_stop(self) -> None:
        """Begin the drain at the next turn of the loop."""
        self._pool.stopping = True

    def _finished(self) -> bool:
        """Finite plans: every source has ended, and each reader that must not lose anything has taken everything."""
        if self._pool.stopping or self.failed:
            return True
        return self._sources_ended() and not self._rings.behind()

    def _sources_ended(self) -> bool:
        finite = [child for child in self.children.values() if child.plan.finite]
        return bool(finite) and all(child.state == "done" for child in finite)

    def _supervise(self, on_tick: Callable[[], None], until: Callable[[], bool]) -> None:
        next_tick_s = 0.0
        standstill = Standstill(2 * TICK_S)
        while not until():
            was_running = self.running
            self._pool.excuse(standstill.look())
            self._advance()
            now_s = time.monotonic()
            if now_s >= next_tick_s or self.running != was_running:
                next_tick_s = now_s + TICK_S
                on_tick()
            wakes_s = [
                next_tick_s,
                self._pool.forks.retry_s,
                *(c.retry_s for c in self.children.values() if c.state in ("backoff", "fatal")),
            ]
            if self._sources_ended():
                wakes_s.append(now_s + DRAIN_LOOK_S)
            self._pool.turn(max(0.0, min(wakes_s) - time.monotonic()))

    def _advance(self) -> None:
        """Start what may start now, restart what is due, kill what hangs."""
        now_s = time.monotonic()
        for child in self.children.values():
            if child.state in ("backoff", "fatal") and now_s >= child.retry_s:
                self._pool.start(child)
        self._pool.kill_hung(now_s)
        self._desk.symbols.look()
        self._helpers.compact()
        while self._stage <= STAGES:
            stage = [child for child in self.children.values() if ROLES[child.plan.role].stage == self._stage]
            for child in stage:
                if child.state == "stopped":
                    self._pool.start(child)
            if not (self.running or all(child.state in ("running", "done") for child in stage)):
                return
            self._stage += 1
            self.running = self._stage >= STAGES

    def _drain(self, on_tick: Callable[[], None]) -> None:
        """End the children in data-flow order; each has `drain_s` to finish its inputs."""
        self._pool.stopping = True
        for role, traits in ROLES.items():
            group = [child for child in self.children.values() if child.plan.role == role and child.alive]
            for child in group:
                child.terminate()
            self._pool.await_end(group, self.plan.settings.drain_s, on_tick)
            if traits.stores:
                for child in [child for child in self.children.values() if child.plan.role == role]:
                    self._store_rest(child, on_tick)
        for child in self.children.values():
            if child.state in ("backoff", "fatal", "starting", "running"):
                child.state = "stopped"

    def _store_rest(self, child: Child, on_tick: Callable[[], None]) -> None:
        """Have another writer store what this one, in backoff or just killed, has left in its rings."""
        for _ in range(REST_TRIES):
            behind = self._rings.behind_of(child.name)
            if not behind or child.alive:
                break
            self._pool.tell("info", f"{child.name} is started again to store the last {behind} records")
            plan, child.plan = child.plan, plans.storing_rest(child.plan)
            self._pool.start(child)
            self._pool.await_end([child], self.plan.settings.drain_s, on_tick)
            child.plan = plan

    # ------------------------------------------------------------------------------------------------ children

    def on_output(self, child: Child, line: str) -> bool:
        """Handle a line of a child's stdout that is not a log line."""
        prints = ROLES[child.plan.role].prints
        if prints == "ends":
            self._starts = msgspec.json.decode(line, type=dict[str, int])
            return True
        if prints == "port" and child.state == "starting":
            with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
                self.addresses.ports[child.name] = int(msgspec.json.decode(line)["port"])
                child.ready()
                return True
        return False

    def on_exit(self, child: Child, code: int) -> None:
        """Decide what the end of a child means."""
        in_order = code == 0 or child.state == "stopping"
        # Its last messages may have arrived together with its end.
        self._desk.serve(turns=LAST_WORDS)
        self._pool.board.forget(child.name)
        why = _why(child, code)
        if self._helpers.ended(child, in_order=in_order, why=why):
            return
        if self._pool.stopping:
            child.state = "stopped"
            # A child told to end before it could handle that in order had nothing to lose yet. What a writer has left
            # in its rings is stored by another one.
            if code and ROLES[child.plan.role].stores and self._rings.behind_of(child.name):
                self._pool.tell("warning", f"{child.name} ended with {why} while the plant stopped")
            elif code and (child.was_ready or code != -signal.SIGTERM):
                self._fail(f"{child.name} ended with {why} while the plant stopped")
            return
        if child.plan.finite and code == 0:
            child.state = "done"
            return
        death = f"{child.name} ended with {why}"
        if any(other.plan.finite for other in self.children.values()):
            child.state = "stopped"
            self._fail(death)
            return
        pause_s = child.schedule_restart(time.monotonic())
        again = "FATAL, next try" if child.state == "fatal" else "started again"
        self._pool.tell("error", f"{death}; {again} in {pause_s:.1f} s")

    def _fail(self, sentence: str) -> None:
        """Note a failure that no restart repairs."""
        self.failed.append(sentence)
        self._pool.tell("error", sentence)

    def on_control(self) -> None:
        """Answer what has arrived at the control socket."""
        self._desk.serve()

    def status(self) -> Status:
        """The status of the plant."""
        now_s = time.monotonic()
        processes = [child.status(now_s) for child in self.children.values()]
        accounts = [account for child in reversed(self.children.values()) for account in child.accounts]
        reports = {child.name: child.counters.get("most_behind") for child in self.children.values()}
        most = {name: report for name, report in reports.items() if isinstance(report, dict)}
        states_well = all(
            (
                process.state in ("running", "done")
                or (process.state == "starting" and ROLES[process.role].stage == STAGES)
            )
            and not process.counters.get("trouble")
            for process in processes
            if not self._helpers.is_optional(process.name)
        )
        return Status(
            pid=os.getpid(),
            data_dir=str(self.data_dir),
            uptime_s=round(now_s - self.started_s, 1),
            healthy=self.running and states_well and not any(account.off for account in accounts),
            publish=self.plan.publish,
            processes=processes,
            rings=self._rings.status(self.plan.rings, most),
            accounts=accounts,
            symbols=self.plan.symbols.report() if self.plan.symbols else {},
            gateways=self.plan.gateways,
        )

    # ------------------------------------------------------------------------------------------------ before and after

    def _remove_rings(self) -> None:
        for name, behind in self._rings.unlink_stored().items():
            self._fail(
                f"ring {name} holds {behind} records that are not stored; they are kept in shared memory, "
                "and the next `tickplant up` on this data stores them"
            )

    def _end_orphans(self, predecessor: int) -> None:
        """Let the children of a dead predecessor finish, and kill those that cannot: they hold its rings and ports."""
        deadline_s = time.monotonic() + ORPHAN_S
        while (left := orphans(predecessor)) and not self._pool.stopping:
            if time.monotonic() > deadline_s:
                for process in left:
                    self._pool.tell("warning", f"process {process.pid} has outlived the last plant: killed")
                    with contextlib.suppress(psutil.Error):
                        process.kill()  # psutil compares the start time too: never kills a newcomer with that pid
                deadline_s += ORPHAN_S
            self._pool.turn(ORPHAN_LOOK_S)

    def _clean_up_remains(self) -> None:
        """Store what the rings of a dead predecessor hold, then unlink them."""
        remains = self._rings.left_over(self._pool.log.warning)
        if not remains:
            return
        self._pool.tell("info", f"storing what {len(remains)} rings of the last run still hold")
        drain = plans.drain(remains, self.plan.plant)
        if why := self._run_first(drain):
            raise TickplantError(f"the rings of the last run could not be stored: {why}; they are kept")
        for ref in remains:
            RingView.unlink_name(ref.name)

    def _survey(self) -> dict[str, int]:
        """Where each ring begins, by name, as read from the store by a process. Raises TickplantError."""
        stored = [ring.ref for ring in self.plan.rings if ring.stored]
        if stored and not self._pool.stopping:
            why = self._run_first(plans.survey(stored, self.plan.plant))
            if why and not self._pool.stopping:
                raise TickplantError(why)
        return self._starts

    def _run_first(self, plan: ChildPlan) -> str:
        """Run one process to its end before the plant begins. Returns why it failed; empty on success."""
        child = Child(plan, self.plan.settings)
        children, self._pool.children = self._pool.children, {child.name: child}
        try:
            self._pool.start(child)
            while child.alive and not self._pool.stopping:
                self._pool.turn(TICK_S)
            if child.state != "done":
                self._drain(lambda: None)
                return self.failed[-1] if self.failed else "it was interrupted"
        finally:
            self._pool.children = children
        return ""


def _why(child: Child, code: int) -> str:
    """How the child ended, and the last line of its stderr."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {child.last_lines[-1]}" if child.last_lines else how
