"""Runs a plan: owns rings, instrument table and control socket; starts, watches, restarts and drains the children.

One thread, one poll loop over the control socket, the children's pipes and pidfds, the fork server and the signals. The
order of a life: lock the data directory, store and unlink what a dead predecessor left, create the rings, start each
stage after the former said hello, watch, and at the end stop producers before consumers so that every ring is empty
when its reader exits. It reads neither ticks nor the store, and imports neither numba nor what its children run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import psutil
import zmq

from tickplant.errors import ControlError, StoreError, TickplantError
from tickplant.instruments import InstrumentTable
from tickplant.plant import plans, run_folder
from tickplant.plant.child import READY_TIMEOUT_S, Child, ChildPlan, orphans
from tickplant.plant.fork_server import Progress, Ready
from tickplant.plant.launcher import ForkServer
from tickplant.plant.lock_file import DataLock, Holder, locked
from tickplant.plant.plans import Addresses, Plan
from tickplant.plant.resources import SupervisorLog, plant_log, signals_as_fd
from tickplant.plant.rings import Rings, unlink_unstored
from tickplant.plant.switchboard import LAST_WORDS, Switchboard
from tickplant.runtime.control import (
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
    trouble_sentence,
)
from tickplant.runtime.job_specs import FeedSpec
from tickplant.runtime.lineage import PR_SET_CHILD_SUBREAPER, prctl
from tickplant.runtime.redaction import redact
from tickplant.shm.view import RingView

STAGES: Final = (("sim", "writer"), ("engine",), ("feed", "replay"))
"""Roles in start order. Consumers attach before their producers start; the drain goes the other way round."""

DRAIN_ORDER: Final = ("survey", "feed", "replay", "restore", "recall", "engine", "writer", "sim")
TICK_S: Final = 1.0
ORPHAN_S: Final = 3.0  # how long the children of a dead predecessor may take to finish
ORPHAN_LOOK_S: Final = 0.1
PROGRESS_S: Final = 1.0  # between two lines about the kernels that are being compiled
REST_TRIES: Final = 2  # writers started one after another for what a stopped plant has not stored
STATUS_S: Final = 0.05  # as often a status is made anew; sooner, the shares of a core would mean nothing
DRAIN_LOOK_S: Final = 0.02  # between two looks at the rings once a finite source has ended

Report = Callable[[str, str], None]
"""`(level, sentence)` for whoever watches the plant."""


class Supervisor:
    """One plant from start to end. Use `run()`; `status()` and `request_stop()` may be called from `on_tick`."""

    def __init__(
        self, plan: Plan, addresses: Addresses | None = None, *, report: Report, server: ForkServer | None = None
    ) -> None:
        """`server`: one that has been started already, to be ended with the plant."""
        self.plan = plan
        self._server = server
        self.addresses = addresses or Addresses()
        self._report = report
        self.data_dir = Path(plan.plant.data_dir)
        self.run_dir = Path(plan.plant.run_dir)
        self.children = {child.name: Child(child, plan.settings) for child in plan.children}
        self.done: dict[str, Done] = {}
        self.failed: list[str] = []  # deaths that no restart mends: in a finite plan, or during the drain
        self.started_s = time.monotonic()
        self.running = False  # every child has been ready once
        self._rings = Rings(plan.plant_id, self.run_dir)
        self._instruments = InstrumentTable.load(self.data_dir / "instruments.jsonl")
        self._stopping = False
        self._stage = 0
        self._asked_s = float("-inf")
        self._restores = {restore.child.name: restore for restore in plan.restores}
        self._restore_again: set[str] = set()
        self._partial: dict[int, bytes] = {}
        self._compiled = 0  # kernels, by the fork server since it was last ready
        self._told_s = 0.0  # when a line about kernels was last said
        self._starts: dict[str, int] = {}  # by ring, what the survey has found

    # ------------------------------------------------------------------------------------------------ life

    def run(self, on_tick: Callable[[], None] = lambda: None) -> int:
        """Run until stopped or, where a child is finite, until its source has been drained. Returns the exit code."""
        finite = any(child.finite for child in self.plan.children)
        os.umask(int(self.plan.settings.umask, 8))  # of the children as well
        with contextlib.ExitStack() as stack:
            server = self._server = self._server or ForkServer()
            stack.callback(server.close)
            server.warm(plans.modules(self.plan))
            # Children that the fork server has forked are this process's, and so are those that nobody waits for.
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            lock = stack.enter_context(locked(self.data_dir)) if self.plan.exclusive else None
            stack.enter_context(run_folder.held(self.run_dir))
            run_folder.clear_dead(self.run_dir.parent, unlink_unstored)
            stack.enter_context(self._sockets())
            self._log_file = stack.enter_context(
                plant_log(self.data_dir / "log" if self.plan.exclusive else self.run_dir)
            )
            self._log = SupervisorLog(self._log_file)
            for fd in server.fds:
                self._poller.register(fd, zmq.POLLIN)
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
                self._supervise(on_tick, until=self._finished if finite else lambda: self._stopping)
            finally:
                self._drain(on_tick)
        return 1 if self.failed else 0  # the rings have been looked at by now

    def longest_stop_s(self) -> float:
        """How long the plant may take to end once it is asked to: every stage, and writers for what is left."""
        writers = REST_TRIES * sum(child.role == "writer" for child in self.plan.children)
        return (len(DRAIN_ORDER) + writers) * self.plan.settings.drain_s + writers * READY_TIMEOUT_S

    def _let_go(self, lock: DataLock) -> None:
        """Leave behind how it ended, for `tickplant stop`."""
        lock.say(Holder(trouble="; ".join(self.failed)))

    def _tell(self, level: str, sentence: str) -> None:
        """Log an event, and tell whoever watches."""
        sentence = redact(sentence)
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
            was_running = self.running
            self._advance()
            now_s = time.monotonic()
            if now_s >= next_tick_s or self.running != was_running:
                next_tick_s = now_s + TICK_S
                on_tick()
            wakes_s = [
                next_tick_s,
                self._server_retry_s,
                *(c.retry_s for c in self.children.values() if c.state in ("backoff", "fatal")),
            ]
            if self._sources_ended():
                wakes_s.append(now_s + DRAIN_LOOK_S)
            self._turn(max(0.0, min(wakes_s) - time.monotonic()))

    def _advance(self) -> None:
        """Start what may start now, restart what is due, kill what hangs."""
        now_s = time.monotonic()
        for child in self.children.values():
            if child.state in ("backoff", "fatal") and now_s >= child.retry_s:
                self._start(child)
            elif child.channel and self._server and now_s - child.seen_s > self._fork_limit_s:
                self._tell("error", f"the fork server (pid {self._server.pid}) does not answer: killed")
                self._server.kill()  # whoever waits for it learns of that from its channel
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
        if child.plan.role == "restore":
            self._rings.unlink(self._restores[child.name].ring.ref.name)
            self._rings.create(self._restores[child.name].ring, 0)
        if self._server is None:
            raise RuntimeError("a child is started while the plant runs")
        child.start(self._server)
        self._watch(child)

    def _watch(self, child: Child) -> None:
        """Poll what belongs to a child; once it is there, say so and hear it."""
        for fd in child.fds:
            self._poller.register(fd, zmq.POLLIN)
        if child.pid:
            self._board.expect(child.name, child.pid)
            self._log.info("started", name=child.name, pid=child.pid)

    def _drain(self, on_tick: Callable[[], None]) -> None:
        """End the children in data-flow order; each has `drain_s` to finish what is in its inputs."""
        self._stopping = True
        for role in DRAIN_ORDER:
            group = [child for child in self.children.values() if child.plan.role == role and child.alive]
            for child in group:
                child.terminate()
            self._await_end(group, on_tick)
            if role == "writer":
                self._store_rest(on_tick)
        for child in self.children.values():
            if child.state in ("backoff", "fatal", "starting", "running"):
                child.state = "stopped"

    def _await_end(self, group: list[Child], on_tick: Callable[[], None]) -> None:
        """Until all of these have ended; one that takes longer than `drain_s` is killed."""
        allowed_s = self.plan.settings.drain_s
        deadline_s = time.monotonic() + allowed_s
        while any(child.alive for child in group):
            self._turn(0.2)
            on_tick()
            now_s = time.monotonic()
            if any(child.state == "starting" and now_s < child.started_s + READY_TIMEOUT_S for child in group):
                deadline_s = now_s + allowed_s  # its work has not begun
            if now_s > deadline_s:
                for child in group:
                    if child.alive:
                        self._tell("error", f"{child.name} did not finish in {allowed_s:g} s: killed")
                        child.kill()

    def _store_rest(self, on_tick: Callable[[], None]) -> None:
        """What a writer has left in its rings, being in backoff or killed just now, another one stores."""
        for child in [child for child in self.children.values() if child.plan.role == "writer"]:
            for _ in range(REST_TRIES):
                behind = self._rings.behind_of(child.name)
                if not behind or child.alive:
                    break
                self._tell("info", f"{child.name} is started again to store the last {behind} records")
                plan, child.plan = child.plan, plans.storing_rest(child.plan)
                self._start(child)
                self._await_end([child], on_tick)
                child.plan = plan

    # ------------------------------------------------------------------------------------------------ the loop

    def _turn(self, timeout_s: float) -> None:
        """Handle whatever has happened, waiting up to `timeout_s` for it."""
        if any(child.withdrawn for child in self.children.values()):
            timeout_s = 0.0
        # Rounded up: polling a deadline that is half a millisecond away must not spin.
        events = dict(self._poller.poll(int(timeout_s * 1000) + 1 if timeout_s > 0 else 0))
        if self._board.socket in events:
            self._serve_control()
        if self._signal_fd in events:
            os.read(self._signal_fd, 64)
            self._stopping = True
        for child in list(self.children.values()):
            if child.channel and (channel := child.channel.fileno()) in events and child.adopt():
                self._poller.unregister(channel)
                self._watch(child)
                continue  # its descriptors are new: `events` speaks of those that had their numbers before
            ended = child.pidfd in events or child.withdrawn > 0
            for fd, is_stdout in child.pipes.items():
                if ended or fd in events:
                    self._read_pipe(child, fd, is_stdout=is_stdout)
            if ended:
                self._on_exit(child)
        self._attend_server(events)  # last: it closes descriptors, whose numbers others are then given

    @property
    def _fork_limit_s(self) -> float:
        """How long a fork may take: one that still compiles reports each kernel, and may take longer."""
        ready = self._server is not None and self._server.ready
        return self.plan.settings.hang_s if ready else READY_TIMEOUT_S / 2

    @property
    def _server_retry_s(self) -> float:
        return self._server.retry_s if self._server else float("inf")

    def _attend_server(self, events: Mapping[int, int]) -> None:
        """Hear what the fork server says; bury it where it has died, and start the next one when that is due."""
        server = self._server
        if server is None:
            return
        if any(fd in events for fd in server.fds):
            if words := server.words().strip():
                self._log.warning("output", name="fork server", line=words.splitlines()[-1])
            messages = server.receive()
            for message in messages or []:
                self._on_compiled(message)
            if messages is None:
                for fd in server.fds:
                    self._poller.unregister(fd)
                server.bury()
                self._log.warning("the fork server has ended: until it is back, processes start as new interpreters")
        if time.monotonic() >= server.retry_s:
            server.start()
            for fd in server.fds:
                self._poller.register(fd, zmq.POLLIN)
        # Children of its that have ended before they began. Others are reaped by their pidfd.
        known = {child.pid for child in self.children.values()} | {server.pid}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in known:
                os.waitpid(ended.si_pid, 0)

    def _on_compiled(self, message: Progress | Ready) -> None:
        """The first start after an installation or a change compiles; whoever waits for that sees how far it is."""
        now_s = time.monotonic()
        for child in self.children.values():
            if child.channel:
                child.seen_s = now_s
        if isinstance(message, Ready):
            self._log.info("the fork server is ready")
            if self._compiled:
                self._tell("info", f"{self._compiled} kernels are compiled: the next start finds them in the cache")
            self._compiled = 0
            return
        self._compiled += 1
        if now_s - self._told_s > PROGRESS_S:
            self._told_s = now_s
            what = message.module.removeprefix("tickplant.")
            self._tell(
                "info", f"compiling, once after installation: {what}, kernel {message.kernel} of {message.kernels}"
            )

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
        if is_stdout and child.plan.role == "survey":
            self._starts = msgspec.json.decode(line, type=dict[str, int])
            return
        if is_stdout and child.plan.role == "sim" and child.state == "starting":
            with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
                self.addresses.ports[child.name] = int(msgspec.json.decode(line)["port"])
                child.ready()
                return
        if line.startswith("{"):
            self._log_file.info(line)
        else:
            line = redact(line)
            self._log.warning("output", name=child.name, line=line)
            if line.strip():
                child.last_lines.append(line.strip())

    def _on_exit(self, child: Child) -> None:
        for fd in child.fds:
            with contextlib.suppress(KeyError):
                self._poller.unregister(fd)
            self._partial.pop(fd, None)
        code = child.reap()
        ended_in_order = code == 0 or child.state == "stopping"
        # Its last words may have arrived together with its end.
        self._serve_control(turns=LAST_WORDS)
        self._board.forget(child.name)
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
            # One that was asked to end before it had learnt to do so in order had nothing to lose yet; what a writer
            # has left in its rings, another one stores.
            if code and child.plan.role == "writer" and self._rings.behind_of(child.name):
                self._tell("warning", f"{child.name} ended with {_why(child, code)} while the plant stopped")
            elif code and (child.was_ready or code != -signal.SIGTERM):
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

    def _serve_control(self, *, turns: int = 1) -> None:
        """Answer what has come in; what a flood brings beyond a turn waits for the next one."""
        registrations: list[tuple[bytes, Register]] = []
        for line, frame in self._board.incoming(turns=turns):
            try:
                message = self._board.admit(line, frame)
                if isinstance(message, Register):
                    registrations.append((line, message))
                    continue
                reply = None if message is None else self._answer(message)
            except (ControlError, StoreError, ValueError) as error:
                reply = Refused(str(error))
            except Exception as error:
                # Whoever asks for something must not end the plant, whatever is wrong here.
                self._log.exception("a request failed")
                reply = Refused(f"a fault of tickplant, see its log: {error!r}")
            if reply is not None:
                self._board.reply(line, reply)
        if registrations:
            self._register(registrations)

    def _register(self, registrations: list[tuple[bytes, Register]]) -> None:
        """Answer what has arrived together with one write: a feed may bring thousands of symbols."""
        rows = [(one.venue, one.symbol, one.price_scale, one.size_scale) for _, one in registrations]
        try:
            instruments = self._instruments.register_all(rows)
        except (StoreError, ValueError) as error:
            if len(registrations) == 1:
                self._board.reply(registrations[0][0], Refused(str(error)))
            else:
                for registration in registrations:  # one of them is at fault, or the disk for all
                    self._register([registration])
            return
        for (line, _), instrument in zip(registrations, instruments, strict=True):
            self._board.reply(line, Registered(instrument))

    def _answer(self, message: Message) -> Message | None:
        reply: Message | None = None
        match message:
            case Hello(name=name) | Heartbeat(name=name) | Done(name=name) if name in self.children:
                self._from_child(self.children[name], message)
            case GetStatus():
                if time.monotonic() > self._asked_s + STATUS_S:
                    self._asked_s, self._asked = time.monotonic(), self.status()
                reply = self._asked
            case Stop():
                self._stopping = True
                reply = Accepted()
            case Restart(name=name) if name in self.children:
                self._restart(self.children[name])
                reply = Accepted()
            case Resync(feed=name) if name in self.children:
                reply = self._resync(self.children[name], message)
            case Restore() | Restored() | Restoring():
                self._restore(message)
            case Recall(engine=name) if name in self.plan.recalls:
                self._recall(self.plan.recalls[name])
            case Restart(name=name) | Resync(feed=name):
                reply = Refused(f"there is no {name}; running: {', '.join(self.children)}")
            case _:
                reply = Refused(f"{type(message).__name__} is not for the supervisor")
        return reply

    def _from_child(self, child: Child, message: Hello | Heartbeat | Done) -> None:
        if isinstance(message, Hello):
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
        if child.alive:
            child.signal(signal.SIGTERM)  # its end is then handled like a crash
        else:
            child.retry_s = 0.0
            child.state = "backoff"

    def _resync(self, child: Child, message: Resync) -> Message:
        """Pass it on to a feed that has such a book."""
        spec = child.plan.spec()
        if not isinstance(spec, FeedSpec):
            return Refused(f"{child.name} is no feed; feeds fetch books")
        if "book" not in spec.config.channels:
            return Refused(f"{child.name} records no books: its channels are {', '.join(spec.config.channels)}")
        symbols = {symbol.upper(): symbol for symbol in spec.config.symbols}
        if message.symbol and message.symbol.upper() not in symbols:
            return Refused(f"{child.name} has no symbol {message.symbol}; it has {', '.join(symbols)}")
        told = self._board.tell(child.name, message)
        return Accepted() if told else Refused(f"{child.name} is not running at the moment; try again when it is")

    def _restore(self, message: Restore | Restored | Restoring) -> None:
        """An engine wants to be played stored ticks, is offered them, or has had what it needs."""
        restores = self._restores.values()
        plan = next((r for r in restores if (r.engine, r.feed) == (message.engine, message.feed)), None)
        if plan is None or self._stopping:
            return
        child = self.children.get(plan.child.name)
        if isinstance(message, Restoring):
            self._board.tell(plan.engine, message)
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
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._board = Switchboard(context, lambda sentence: self._tell("warning", sentence))
        self._poller = zmq.Poller()
        try:
            self._board.open(self.plan.plant.control)
            with signals_as_fd(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as self._signal_fd:
                self._poller.register(self._board.socket, zmq.POLLIN)
                self._poller.register(self._signal_fd, zmq.POLLIN)
                yield
        finally:
            self._board.close()
            context.term()

    def _remove_rings(self) -> None:
        for name, behind in self._rings.unlink_stored().items():
            self.failed.append(
                f"ring {name} holds {behind} records that are not stored; they are kept in shared memory, "
                "and the next `tickplant up` on this data stores them"
            )
            self._tell("error", self.failed[-1])

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
        drain = plans.drain(remains, self.data_dir, self.plan.plant_id, self.plan.settings)
        if why := self._run_first(drain):
            raise TickplantError(f"the rings of the last run could not be stored: {why}; they are kept")
        for ref in remains:
            RingView.unlink_name(ref.name)

    def _survey(self) -> dict[str, int]:
        """Where each ring begins, by name: a process that reads the store says it. Raises TickplantError."""
        stored = [ring.ref for ring in self.plan.rings if ring.stored]
        if stored and not self._stopping:
            why = self._run_first(plans.survey(stored, self.plan.plant))
            if why and not self._stopping:
                raise TickplantError(why)
        return self._starts

    def _run_first(self, plan: ChildPlan) -> str:
        """Run one process to its end before the plant begins. Why that failed; empty where it did not."""
        child = Child(plan, self.plan.settings)
        children, self.children = self.children, {child.name: child}
        try:
            self._start(child)
            while child.alive and not self._stopping:
                self._turn(TICK_S)
            if child.state != "done":
                self._drain(lambda: None)
                return self.failed[-1] if self.failed else "it was interrupted"
        finally:
            self.children = children
        return ""


def _why(child: Child, code: int) -> str:
    """How it ended, and its last words."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {child.last_lines[-1]}" if child.last_lines else how
