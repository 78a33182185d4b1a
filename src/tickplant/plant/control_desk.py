"""The supervisor's answers at its control socket: to reports and requests of children, and to commands."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from tickplant.errors import ControlError, StoreError
from tickplant.instruments import InstrumentTable
from tickplant.plant.child import Child
from tickplant.plant.plans import Plan
from tickplant.plant.pool import Pool
from tickplant.plant.store_helpers import StoreHelpers
from tickplant.plant.symbol_requests import SymbolRequests
from tickplant.runtime.control import (
    Accepted,
    ChangeSymbols,
    Done,
    GetStatus,
    Heartbeat,
    Hello,
    Message,
    Playback,
    Refused,
    Register,
    Registered,
    Restart,
    Resync,
    Status,
    Stop,
    SymbolChanged,
    WantHistory,
    duty,
    trouble_sentence,
)
from tickplant.runtime.job_specs import FeedSpec

STATUS_S: Final = 0.05  # a status is renewed this often; sooner, the shares of a core would mean nothing


class ControlDesk:
    """The control desk of one plant. `done` holds the last report of each source that has ended."""

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        helpers: StoreHelpers,
        instruments: InstrumentTable,
        status: Callable[[], Status],
    ) -> None:
        self.done: dict[str, Done] = {}
        self.symbols = SymbolRequests(plan.symbols, pool)
        self._plan = plan
        self._pool = pool
        self._helpers = helpers
        self._instruments = instruments
        self._status = status
        self._asked_s = float("-inf")

    def serve(self, *, turns: int = 1) -> None:
        """Answer what has arrived; what exceeds a turn waits for the next one."""
        board = self._pool.board
        registrations: list[tuple[bytes, Register]] = []
        for line, frame in board.incoming(turns=turns):
            try:
                message = board.admit(line, frame)
                if isinstance(message, Register):
                    registrations.append((line, message))
                    if (child := self._pool.children.get(board.speaker(line))) is not None:
                        child.asked()
                    continue
                if isinstance(message, ChangeSymbols):
                    reply = self.symbols.ask(line, message)
                else:
                    reply = None if message is None else self._answer(message)
            except (ControlError, StoreError, ValueError) as error:
                reply = Refused(str(error))
            except Exception as error:
                # A request must not end the plant, whatever bug it hits here.
                self._pool.log.exception("a request failed")
                reply = Refused(f"a bug in tickplant, see its log: {error!r}")
            if reply is not None:
                board.reply(line, reply)
        if registrations:
            self._register(registrations)

    def _register(self, registrations: list[tuple[bytes, Register]]) -> None:
        """Answer all registrations that have arrived with one write: a feed may bring thousands of symbols."""
        rows = [(one.venue, one.symbol, one.price_scale, one.size_scale) for _, one in registrations]
        try:
            instruments = self._instruments.register_all(rows)
        except (StoreError, ValueError) as error:
            if len(registrations) == 1:
                self._pool.board.reply(registrations[0][0], Refused(str(error)))
            else:
                for registration in registrations:  # one of them is at fault, or the disk for all
                    self._register([registration])
            return
        for (line, _), instrument in zip(registrations, instruments, strict=True):
            self._pool.board.reply(line, Registered(instrument))

    def _answer(self, message: Message) -> Message | None:
        reply: Message | None = None
        match message:
            case Hello(name=name) | Heartbeat(name=name) | Done(name=name) if name in self._pool.children:
                self._from_child(self._pool.children[name], message)
            case GetStatus():
                if time.monotonic() > self._asked_s + STATUS_S:
                    self._asked_s, self._asked = time.monotonic(), self._status()
                reply = self._asked
            case Stop():
                self._pool.stopping = True
                reply = Accepted()
            case Restart(name=name) if name in self._pool.children:
                self._restart(self._pool.children[name])
                reply = Accepted()
            case Resync(feed=name) if name in self._pool.children:
                reply = self._resync(self._pool.children[name], message)
            case Playback():
                reply = self._play(message)
            case SymbolChanged():
                self.symbols.heard(message)
            case WantHistory() if self._plan.history:
                self._helpers.want_history(self._plan.history)
            case Restart(name=name) | Resync(feed=name):
                reply = Refused(f"no process is named {name}; running: {', '.join(self._pool.children)}")
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
                self._pool.tell("error", f"{child.name} has miscounted, which is a bug: {account}")
        trouble = child.counters.get("trouble", "")
        if trouble and trouble != before:
            # The child's own log line may not fit on a full disk.
            self._pool.tell("error", trouble_sentence(child.name, child.plan.role, str(trouble)))
        elif before and not trouble and not isinstance(message, Done):
            self._pool.tell("warning", f"{child.name} {duty(child.plan.role)}s again")
        if isinstance(message, Done):
            self.done[child.name] = message

    def _restart(self, child: Child) -> None:
        if child.alive:
            child.signal(signal.SIGTERM)  # its end is then handled like a crash
        else:
            child.retry_s = 0.0
            child.state = "backoff"

    def _play(self, message: Playback) -> Message:
        """Pass a message on to the replay, if the plant is one."""
        replay = next((child for child in self._pool.children.values() if child.plan.role == "replay"), None)
        if replay is None:
            return Refused("this plant is not a replay")
        told = replay.alive and self._pool.board.tell(replay.name, message)
        return Accepted() if told else Refused(f"{replay.name} does not play at the moment")

    def _resync(self, child: Child, message: Resync) -> Message:
        """Pass a message on to a feed that has such a book."""
        spec = child.plan.spec()
        if not isinstance(spec, FeedSpec):
            return Refused(f"{child.name} is not a feed; only feeds fetch books")
        if "book" not in spec.config.channels:
            return Refused(f"{child.name} records no books: its channels are {', '.join(spec.config.channels)}")
        symbols = {symbol.upper(): symbol for symbol in spec.config.symbols}
        if message.symbol and message.symbol.upper() not in symbols:
            return Refused(f"{child.name} has no symbol {message.symbol}; it has {', '.join(symbols)}")
        told = self._pool.board.tell(child.name, message)
        return Accepted() if told else Refused(f"{child.name} is not running at the moment; try again when it is")
