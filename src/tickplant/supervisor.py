"""Runs a plan: owns rings, instrument table and control socket; starts, watches, restarts and drains the children.

One thread, one poll loop over the control socket, the children's pipes and pidfds, and the signals. The order of a
life: lock the data directory, store and unlink what a dead predecessor left, create the rings, start each stage after
the former said hello, watch, and at the end stop producers before consumers so that every ring is empty when its
reader exits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil
import zmq

from tickplant import plans
from tickplant.child import Child, ChildPlan, orphans
from tickplant.continuation import leave_last_ids
from tickplant.control import (
    Accepted,
    Done,
    GetStatus,
    Heartbeat,
    Hello,
    Message,
    Recall,
    Refused,
    Register,
    Registered,
    Restart,
    Restore,
    Restored,
    Restoring,
    Resync,
    Status,
    Stop,
    decode,
    encode,
    trouble_sentence,
)
from tickplant.errors import ControlError, StoreError, TickplantError
from tickplant.instruments import InstrumentTable
from tickplant.plans import Addresses, Plan
from tickplant.resources import locked, plant_log, signals_as_fd, supervisor_log
from tickplant.rings import Rings
from tickplant.shm.ring import Ring

STAGES: Final = (("sim", "writer"), ("engine",), ("feed", "replay"))
"""Roles in start order. Consumers attach before their producers start; the drain goes the other way round."""

DRAIN_ORDER: Final = ("feed", "replay", "restore", "recall", "engine", "writer", "sim")
TICK_S: Final = 1.0
ORPHAN_S: Final = 3.0  # how long the children of a dead predecessor may take to finish
ORPHAN_LOOK_S: Final = 0.1
DRAIN_LOOK_S: Final = 0.02  # between two looks at the rings once a finite source has ended

Report = Callable[[str, str], None]
"""`(level, sentence)` for whoever watches the plant."""


class Supervisor:
    """One plant from start to end. Use `run()`; `status()` and `request_stop()` may be called from `on_tick`."""

    def __init__(self, plan: Plan, addresses: Addresses | None = None, *, report: Report) -> None:
        self.plan = plan
        self.addresses = addresses or Addresses()
        self._report = report
        self.data_dir = Path(plan.plant.data_dir)
        self.run_dir = Path(plan.plant.run_dir)
        self.children = {child.name: Child(child, plan.settings) for child in plan.children}
        self.done: dict[str, Done] = {}
        self.failed: list[str] = []  # deaths that no restart mends: in a finite plan, or during the drain
        self.started_s = time.monotonic()
        self.running = False  # every child has been ready once
        self._rings = Rings(plan.plant_id, self.data_dir, self.run_dir)
        self._instruments = InstrumentTable.load(self.data_dir / "instruments.jsonl")
        self._stopping = False
        self._stage = 0
        self._identities: dict[str, bytes] = {}
        self._restores = {restore.child.name: restore for restore in plan.restores}
        self._restore_again: set[str] = set()
        self._partial: dict[int, bytes] = {}

    # ------------------------------------------------------------------------------------------------ life

    def run(self, on_tick: Callable[[], None] = lambda: None) -> int:
        """Run until stopped or, where a child is finite, until its source has been drained. Returns the exit code."""
        finite = any(child.finite for child in self.plan.children)
        with contextlib.ExitStack() as stack:
            predecessor = stack.enter_context(locked(self.data_dir)) if self.plan.exclusive else 0
            stack.enter_context(self._sockets())
            self._log_file = stack.enter_context(
                plant_log(self.data_dir / "log" if self.plan.exclusive else self.run_dir)
            )
            self._log = supervisor_log(self._log_file)
            if predecessor:
                self._end_orphans(predecessor)
            self._clean_up_remains()
            stack.callback(self._remove_rings)
            for ring in self.plan.rings:
                self._rings.create(ring)
            try:
                self._supervise(on_tick, until=self._finished if finite else lambda: self._stopping)
            finally:
                self._drain(on_tick)
        return 1 if self.failed else 0

    def _tell(self, level: str, sentence: str) -> None:
        """Log an event, and tell whoever watches."""
        getattr(self._log, level)(sentence)
        self._report(level, sentence)

    def request_stop(self) -> None:
        """Begin the drain at the next turn of the loop."""
        self._stopping = True

    def _finished(self) -> bool:
        """Finite plans: every source has ended, and whoever must not lose anything has taken all of it."""
        if self._stopping or self.failed:
            return True
        return self._sources_ended() and not self._rings.behind()

    def _sources_ended(self) -> bool:
        finite = [child for child in self.children.values() if child.plan.finite]
        return bool(finite) and all(child.state == "done" for child in finite)

    def _supervise(self, on_tick: Callable[[], None], until: Callable[[], bool]) -> None:
        next_tick_s = 0.0
        while not until():
            self._advance()
            now_s = time.monotonic()
            if now_s >= next_tick_s:
                next_tick_s = now_s + TICK_S
                on_tick()
            wakes_s = [next_tick_s, *(c.retry_s for c in self.children.values() if c.state in ("backoff", "fatal"))]
            if self._sources_ended():
                wakes_s.append(now_s + DRAIN_LOOK_S)
            self._turn(max(0.0, min(wakes_s) - time.monotonic()))

    def _advance(self) -> None:
        """Start what may start now, restart what is due, kill what hangs."""
        now_s = time.monotonic()
        for child in self.children.values():
            if child.state in ("backoff", "fatal") and now_s >= child.retry_s:
                self._start(child)
            elif child.hung(now_s):
                self._tell("error", f"{child.name} (pid {child.pid}) has been silent for too long: killed")
                child.kill()
        while not self.running:
            stage = [child for child in self.children.values() if child.plan.role in STAGES[self._stage]]
            for child in stage:
                if child.state == "stopped":
                    self._start(child)
            if not all(child.state in ("running", "done") for child in stage):
                return
            self._stage += 1
            if self._stage == len(STAGES):
                self.running = True

    def _start(self, child: Child) -> None:
        if child.plan.role == "feed":
            # At each start: the ring may have forgotten an instrument that has been quiet for long.
            try:
                leave_last_ids(self.data_dir, child.name, self.run_dir)
            except (StoreError, OSError) as error:
                self._tell("warning", f"{child.name} will not know what it missed: {error}")
        if child.plan.role == "restore":
            self._rings.unlink(self._restores[child.name].ring.ref.name)
            self._rings.create(self._restores[child.name].ring)
        child.start()
        for fd in child.pipes:
            self._poller.register(fd, zmq.POLLIN)
        self._poller.register(child.pidfd, zmq.POLLIN)
        self._log.info("started", name=child.name, pid=child.pid)

    def _drain(self, on_tick: Callable[[], None]) -> None:
        """End the children in data-flow order; each has `drain_s` to finish what is in its inputs."""
        self._stopping = True
        for role in DRAIN_ORDER:
            group = [child for child in self.children.values() if child.plan.role == role and child.alive]
            for child in group:
                child.terminate()
            deadline_s = time.monotonic() + self.plan.settings.drain_s
            while any(child.alive for child in group):
                self._turn(0.2)
                on_tick()
                if time.monotonic() > deadline_s:
                    for child in group:
                        if child.alive:
                            self._tell(
                                "error", f"{child.name} did not finish in {self.plan.settings.drain_s:g} s: killed"
                            )
                            child.kill()
        for child in self.children.values():
            if child.state in ("backoff", "fatal", "starting", "running"):
                child.state = "stopped"

    # ------------------------------------------------------------------------------------------------ the loop

    def _turn(self, timeout_s: float) -> None:
        """Handle whatever has happened, waiting up to `timeout_s` for it."""
        # Rounded up: polling a deadline that is half a millisecond away must not spin.
        events = dict(self._poller.poll(int(timeout_s * 1000) + 1 if timeout_s > 0 else 0))
        if self._control in events:
            self._serve_control()
        if self._signal_fd in events:
            os.read(self._signal_fd, 64)
            self._stopping = True
        for child in list(self.children.values()):
            ended = child.pidfd in events
            for fd, is_stdout in child.pipes.items():
                if ended or fd in events:
                    self._read_pipe(child, fd, is_stdout=is_stdout)
            if ended:
                self._on_exit(child)

    def _read_pipe(self, child: Child, fd: int, *, is_stdout: bool) -> None:
        while True:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    self._poller.unregister(fd)
                return
            *lines, self._partial[fd] = (self._partial.get(fd, b"") + data).split(b"\n")
            for line in lines:
                self._on_line(child, line.decode(errors="replace"), is_stdout=is_stdout)

    def _on_line(self, child: Child, line: str, *, is_stdout: bool) -> None:
        if is_stdout and child.plan.role == "sim" and child.state == "starting":
            with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
                self.addresses.ports[child.name] = int(msgspec.json.decode(line)["port"])
                child.ready()
                return
        if line.startswith("{"):
            self._log_file.info(line)
        else:
            self._log.warning("output", name=child.name, line=line)
            if line.strip():
                child.last_lines.append(line.strip())

    def _on_exit(self, child: Child) -> None:
        for fd in (child.pidfd, *child.pipes):
            with contextlib.suppress(KeyError):
                self._poller.unregister(fd)
            self._partial.pop(fd, None)
        code = child.reap()
        ended_in_order = code == 0 or child.state == "stopping"
        # Its last words may have arrived together with its end.
        self._serve_control()
        if child.plan.role == "restore" and (ended_in_order or child.name in self._restore_again):
            self._end_restore(child)
            return
        if child.plan.role == "recall":
            # Nothing depends on it: whoever still needs one asks again.
            del self.children[child.name]
            if not ended_in_order:
                self._tell("warning", f"{child.name} ended with {_why(child, code)}")
            return
        if self._stopping:
            child.state = "stopped"
            # One that was asked to end before it had learnt to do so in order had nothing to lose yet.
            if code and (child.was_ready or code != -signal.SIGTERM):
                self.failed.append(f"{child.name} ended with {_why(child, code)} while the plant stopped")
                self._tell("error", self.failed[-1])
            return
        if child.plan.finite and code == 0:
            child.state = "done"
            return
        death = f"{child.name} ended with {_why(child, code)}"
        if any(other.plan.finite for other in self.children.values()):
            child.state = "stopped"
            self.failed.append(death)
            self._tell("error", death)
            return
        pause_s = child.schedule_restart(time.monotonic())
        again = "FATAL, next try" if child.state == "fatal" else "started again"
        self._tell("error", f"{death}; {again} in {pause_s:.1f} s")

    # ------------------------------------------------------------------------------------------------ control

    def _serve_control(self) -> None:
        while True:
            try:
                identity, frame = self._control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue  # not two frames: not one of ours
            try:
                reply = self._answer(identity, decode(frame))
            except (ControlError, StoreError, ValueError) as error:
                reply = Refused(str(error))
            except Exception as error:
                # Whoever asks for something must not end the plant, whatever is wrong here.
                self._log.exception("a request failed")
                reply = Refused(f"a fault of tickplant, see its log: {error!r}")
            if reply is not None:
                with contextlib.suppress(zmq.Again, zmq.ZMQError):
                    self._control.send_multipart([identity, encode(reply)], zmq.NOBLOCK)

    def _answer(self, identity: bytes, message: Message) -> Message | None:
        reply: Message | None = None
        match message:
            case Hello(name=name) | Heartbeat(name=name) | Done(name=name) if name in self.children:
                self._from_child(self.children[name], identity, message)
            case Register(venue=venue, symbol=symbol, price_scale=price_scale, size_scale=size_scale):
                reply = Registered(self._instruments.register(venue, symbol, price_scale, size_scale))
            case GetStatus():
                reply = self.status()
            case Stop():
                self._stopping = True
                reply = Accepted()
            case Restart(name=name) if name in self.children:
                self._restart(self.children[name])
                reply = Accepted()
            case Resync(feed=name) if name in self._identities:
                self._control.send_multipart([self._identities[name], encode(message)])
                reply = Accepted()
            case Restore() | Restored() | Restoring():
                self._restore(message)
            case Recall(engine=name) if name in self.plan.recalls:
                self._recall(self.plan.recalls[name])
            case Restart(name=name) | Resync(feed=name):
                reply = Refused(f"there is no {name}; running: {', '.join(self.children)}")
            case _:
                reply = Refused(f"{type(message).__name__} is not for the supervisor")
        return reply

    def _from_child(self, child: Child, identity: bytes, message: Hello | Heartbeat | Done) -> None:
        if isinstance(message, Hello):
            if message.pid == child.pid:
                self._identities[child.name] = identity
                child.ready()
            return
        before = child.counters.get("trouble", "")
        was_off = {account.total for account in child.accounts if account.off}
        child.heard(message.counters, message.accounts)
        for account in message.accounts:
            if account.off and account.total not in was_off:
                self._tell("error", f"{child.name} has miscounted, which is a bug: {account}")
        trouble = child.counters.get("trouble", "")
        if trouble and trouble != before:
            # Its own line in the log may not fit on a disk that is full.
            self._tell("error", trouble_sentence(child.name, child.plan.role, str(trouble)))
        elif before and not trouble and not isinstance(message, Done):
            self._tell("warning", f"{child.name} {'records' if child.plan.role == 'feed' else 'stores'} again")
        if isinstance(message, Done):
            self.done[child.name] = message

    def _restart(self, child: Child) -> None:
        if child.process:
            child.process.terminate()  # its end is then handled like a crash
        else:
            child.retry_s = 0.0
            child.state = "backoff"

    def _restore(self, message: Restore | Restored | Restoring) -> None:
        """An engine wants to be played stored ticks, is offered them, or has had what it needs."""
        restores = self._restores.values()
        plan = next((r for r in restores if (r.engine, r.feed) == (message.engine, message.feed)), None)
        if plan is None or self._stopping:
            return
        child = self.children.get(plan.child.name)
        if isinstance(message, Restoring):
            if identity := self._identities.get(plan.engine):
                self._control.send_multipart([identity, encode(message)])
        elif isinstance(message, Restored):
            if child is not None and child.alive:
                child.terminate()
            elif child is not None:
                self._end_restore(child)
        elif child is not None and child.alive:
            # It plays for the dead predecessor of this engine, or is about to end: a new one when it has.
            self._restore_again.add(child.name)
            child.kill()
        else:
            child = self.children[plan.child.name] = Child(plan.child, self.plan.settings)
            self._start(child)

    def _end_restore(self, child: Child) -> None:
        """One has ended in order, or to make place for another."""
        del self.children[child.name]
        self._rings.unlink(self._restores[child.name].ring.ref.name)
        if child.name in self._restore_again:
            self._restore_again.discard(child.name)
            plan = self._restores[child.name]
            self._restore(Restore(plan.engine, plan.feed))

    def _recall(self, plan: ChildPlan) -> None:
        """An engine needs somebody who reads the store for it; it may ask often."""
        if plan.name not in self.children and not self._stopping:
            child = self.children[plan.name] = Child(plan, self.plan.settings)
            self._start(child)

    def status(self) -> Status:
        """A picture of the plant."""
        now_s = time.monotonic()
        processes = [child.status(now_s) for child in self.children.values()]
        accounts = [account for child in reversed(self.children.values()) for account in child.accounts]
        states_well = all(
            process.state in ("running", "done") and not process.counters.get("trouble")
            for process in processes
            if process.role != "recall"  # it comes and goes with the requests for it
        )
        return Status(
            pid=os.getpid(),
            data_dir=str(self.data_dir),
            uptime_s=round(now_s - self.started_s, 1),
            healthy=self.running and states_well and not any(account.off for account in accounts),
            publish=self.plan.publish,
            processes=processes,
            rings=self._rings.status(self.plan.rings),
            accounts=accounts,
        )

    # ------------------------------------------------------------------------------------------------ resources

    @contextlib.contextmanager
    def _sockets(self) -> Iterator[None]:
        """The control socket, the signals as a readable descriptor, and the poller over both."""
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.run_dir.mkdir(parents=True, mode=0o700)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = context.socket(zmq.ROUTER)
        self._control.set(zmq.LINGER, 500)
        self._poller = zmq.Poller()
        try:
            try:
                self._control.bind(self.plan.plant.control)
            except zmq.ZMQError as error:
                raise ControlError(f"{self.plan.plant.control}: cannot be opened: {error}") from None
            with signals_as_fd(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as self._signal_fd:
                self._poller.register(self._control, zmq.POLLIN)
                self._poller.register(self._signal_fd, zmq.POLLIN)
                yield
        finally:
            self._control.close()
            context.term()
            shutil.rmtree(self.run_dir, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.run_dir.parent.rmdir()

    def _remove_rings(self) -> None:
        for name, behind in self._rings.unlink_stored().items():
            self._tell("warning", f"ring {name} holds {behind} records that are not stored; kept for the next start")

    def _end_orphans(self, predecessor: int) -> None:
        """Let the children of a dead predecessor finish, and kill those that cannot: they hold its rings and ports."""
        deadline_s = time.monotonic() + ORPHAN_S
        while (left := orphans(predecessor)) and not self._stopping:
            if time.monotonic() > deadline_s:
                for process in left:
                    self._tell("warning", f"process {process.pid} has outlived the last plant: killed")
                    with contextlib.suppress(psutil.Error):
                        process.kill()  # psutil compares the start time as well: never a newcomer of that number
                deadline_s += ORPHAN_S
            self._turn(ORPHAN_LOOK_S)

    def _clean_up_remains(self) -> None:
        """Store what the rings of a dead predecessor hold, then unlink them."""
        remains = self._rings.left_over(self._log.warning)
        if not remains:
            return
        self._tell("info", f"storing what {len(remains)} rings of the last run still hold")
        drain = Child(plans.drain(remains, self.data_dir, self.plan.plant_id, self.plan.settings), self.plan.settings)
        children, self.children = self.children, {drain.name: drain}
        try:
            self._start(drain)
            while drain.alive and not self._stopping:
                self._turn(TICK_S)
            if drain.state != "done":
                self._drain(lambda: None)
                detail = self.failed[-1] if self.failed else "it was interrupted"
                raise TickplantError(f"the rings of the last run could not be stored: {detail}; they are kept")
        finally:
            self.children = children
        for ref in remains:
            Ring.unlink_name(ref.name)


def _why(child: Child, code: int) -> str:
    """How it ended, and its last words."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {child.last_lines[-1]}" if child.last_lines else how
