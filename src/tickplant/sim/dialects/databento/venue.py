"""The simulated gateway: plays a DBN file over TCP to each client that logs in, subscribes and starts its session.

It plays in the recording's own time, `speed` times as fast, or at `recording_per_s` records a second; with `loop` it
repeats, each round with other order ids and sequences, so that losses can be counted. At a rate, the times in the
records are those of sending. Each book of orders begins with a CLEAR, and so does each round. The gateway waits for
clients that read slowly. Its faults are those of script.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.sim.dialects.databento.script import GARBAGE, Script
from tickplant.sim.dialects.databento.tape import MBO, SCHEMAS, Tape
from tickplant.sim.faults import Disconnect, Drop, Garbage, Stall, Truncate
from tickplant.sim.spec import SimSpec

GREETING: Final = "lsg_version=0.4.2\ncram={challenge}\n"
HEARTBEAT_S: Final = 30.0
MOST_RECORDS: Final = 1 << 15
"""Most records of one write."""

ACKNOWLEDGED: Final = 1
NO_SUCH_SYMBOL: Final = 4
INVALID_SUBSCRIPTION: Final = 5
SKIPPED: Final = 7
REST_S: Final = 0.1
"""Pause between two checks of the script when everything is sent."""

LINE_BYTES: Final = 1 << 16


class Gateway:
    """What all sessions share."""

    def __init__(self, spec: SimSpec, tape: Tape) -> None:
        """Raises FeedError if the spec contains a fault that cannot occur."""
        self.spec, self.tape = spec, tape
        self.script = Script(spec.faults)
        self.sessions: set[Session] = set()
        self.sent = 0  # records of the market, over all sessions


class Session(asyncio.Protocol):
    """One client."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._spec, self._tape = gateway, gateway.spec, gateway.tape
        self._challenge = secrets.token_hex(16)
        self._transport: asyncio.Transport | None = None
        self._text = b""
        self._logged_in = False
        self._heartbeat_s = HEARTBEAT_S
        self._wanted: set[int] = set()  # instrument ids
        self._unknown: list[str] = []
        self._refused: list[str] = []  # schemas
        self._requests = 0
        self._playing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._written_s = 0.0
        self.sent = 0  # records of the market
        self._log = structlog.get_logger("sim")

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._spec.max_buffer_bytes)
        self._gateway.sessions.add(self)
        self._gateway.script.due(self._gateway.sent)
        if self._gateway.script.refuses_connection():
            self.close()
            return
        self._write(GREETING.format(challenge=self._challenge).encode())

    def data_received(self, data: bytes) -> None:
        """Handle lines of the client."""
        *lines, self._text = (self._text + data).split(b"\n")
        if len(self._text) > LINE_BYTES:
            self.close()
        for line in lines:
            fields = dict(part.partition("=")[::2] for part in line.decode(errors="replace").strip().split("|"))
            self._on_line(fields)

    def pause_writing(self) -> None:
        """Pause: the client is far behind."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Continue: the client has caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after a lost connection."""
        self._gateway.sessions.discard(self)
        self._writable.set()
        if self._playing is not None:
            self._playing.cancel()
        self._log.info("session ended", records=self.sent)

    def close(self, *, in_order: bool = True) -> None:
        """Close the connection once everything is sent, or at once."""
        if self._transport is not None:
            (self._transport.close if in_order else self._transport.abort)()

    # -- the conversation

    def _on_line(self, fields: dict[str, str]) -> None:
        if "auth" in fields:
            self._log_in(fields)
        elif not self._logged_in:
            self.close()
        elif "schema" in fields:
            self._subscribe(fields)
        elif "start_session" in fields and self._playing is None:
            self._playing = asyncio.get_running_loop().create_task(self._play())

    def _log_in(self, fields: dict[str, str]) -> None:
        key = self._spec.key
        proof = hashlib.sha256(f"{self._challenge}|{key}".encode()).hexdigest()
        if fields["auth"] != f"{proof}-{key[-5:]}":
            self._refuse("Authentication failed.")
        elif fields.get("dataset") != self._tape.dataset:
            self._refuse(f"Dataset {fields.get('dataset')} is not played here: {self._tape.dataset} is.")
        else:
            self._logged_in = True
            self._heartbeat_s = float(fields.get("heartbeat_interval_s") or HEARTBEAT_S)
            self._write(b"success=1|session_id=1\n")

    def _refuse(self, reason: str) -> None:
        self._write(f"success=0|error={reason}\n".encode())
        self.close()

    def _subscribe(self, fields: dict[str, str]) -> None:
        if self._gateway.script.refuses_request():
            self._refused.append(fields["schema"])
            return
        self._requests += 1
        known = self._tape.symbols
        symbols = fields.get("symbols", "").split(",")
        symbols = [*known] if symbols == ["ALL_SYMBOLS"] else symbols
        self._unknown += [symbol for symbol in symbols if symbol not in known]
        if fields["schema"] in SCHEMAS[self._tape.kind]:
            self._wanted |= {ident for symbol in symbols for ident in known.get(symbol, ())}

    # -- the play

    async def _play(self) -> None:
        tape = self._tape
        now_ns = time.time_ns()
        self._write(tape.session_metadata(now_ns))
        for number in range(self._requests):
            self._write(tape.system(f"Subscription request {number + 1} succeeded", ACKNOWLEDGED, now_ns))
        if self._unknown:
            self._write(tape.error(f"Failed to resolve symbols: {','.join(self._unknown)}", NO_SUCH_SYMBOL, now_ns))
        for schema in self._refused:
            self._write(tape.error(f"Invalid subscription: {schema}", INVALID_SUBSCRIPTION, now_ns))
        names = {ident: symbol for symbol, idents in tape.symbols.items() for ident in idents}
        idents = np.intersect1d(tape.idents, np.array(sorted(self._wanted), np.int64))
        for ident in idents.tolist():
            self._write(tape.mapping(ident, names[ident], now_ns))
        if len(idents):
            await self._send(idents)
        while True:
            await self._beat(REST_S)
            await self._befallen(np.empty(0, np.uint8))

    async def _send(self, idents: NDArray[np.int64]) -> None:
        spec, tape = self._spec, self._tape
        limit = spec.limit_messages or 2**63
        turn = 0
        begin_s = time.monotonic()
        while turn == 0 or spec.loop:
            if tape.kind == MBO:
                self._write(b"".join(tape.clear(ident, time.time_ns()) for ident in idents.tolist()))
            for start, stop, due_s, shift_ns in self._schedule(turn, begin_s):
                while (wait_s := due_s - time.monotonic()) > 0:
                    await self._beat(wait_s)
                await self._writable.wait()
                now_ns = time.time_ns() if spec.recording_per_s else 0
                part = tape.only(tape.part(start, stop, turn, shift_ns=shift_ns, now_ns=now_ns), idents)
                room = limit - self.sent
                part = await self._befallen(part[: room * tape.size])
                self._count(len(part) // tape.size)
                self._write(part.tobytes())
                if self.sent >= limit or self._is_closing:
                    return
                await asyncio.sleep(0)
            turn += 1

    def _schedule(self, turn: int, begin_s: float) -> Iterator[tuple[int, int, float, int]]:
        """First and last record of each write, when it is due, and how far its times are moved."""
        spec, tape = self._spec, self._tape
        if rate := spec.recording_per_s:
            start = 0
            while start < tape.count:
                done = turn * tape.count + start
                due = int((time.monotonic() - begin_s) * rate) - done
                count = min(max(due, int(rate * spec.tick_ms / 1e3), 1), MOST_RECORDS, tape.count - start)
                yield start, start + count, begin_s + (done + count) / rate, 0
                start += count
            return
        speed = 1e9 if spec.speed == "max" else float(spec.speed)
        length_ns = tape.last_ns - tape.first_ns + 10**9
        epoch_ns = time.time_ns() - int((time.monotonic() - begin_s) * 1e9)
        times = tape.times()
        start = 0
        while start < tape.count:
            at_ns = int(times[start]) - tape.first_ns + turn * length_ns
            until_ns = int(times[start]) + int(spec.tick_ms * 1e6 * speed)
            stop = min(max(int(np.searchsorted(times, until_ns, "right")), start + 1), start + MOST_RECORDS)
            shift_ns = epoch_ns - tape.first_ns + turn * length_ns
            yield start, stop, begin_s + at_ns / 1e9 / speed, shift_ns
            start = stop

    async def _befallen(self, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The remaining records to send next, after the faults that are due."""
        size = self._tape.size
        for fault in self._gateway.script.due(self._gateway.sent):
            match fault:
                case Drop(count=count):
                    # They count: nobody gets them later.
                    left_out = min(count, len(part) // size)
                    self._count(left_out)
                    part = part[left_out * size :]
                    text = f"Skipped {left_out} records: the client reads too slowly"
                    self._write(self._tape.error(text, SKIPPED, time.time_ns()))
                case Garbage(text=text):
                    self._write(GARBAGE if text is None else text.encode())
                case Truncate():
                    self._write(part[: size // 2].tobytes())
                    self.close()
                case Disconnect(close_frame=in_order):
                    self.close(in_order=in_order)
                case Stall(for_s=for_s, pings=pings):
                    end_s = time.monotonic() + (for_s or 2**31)
                    while (wait_s := end_s - time.monotonic()) > 0:
                        await (self._beat if pings else asyncio.sleep)(min(wait_s, 1.0))
                case _:
                    pass
            if self._is_closing:
                return part[:0]
        return part

    def _count(self, records: int) -> None:
        self.sent += records
        self._gateway.sent += records

    @property
    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    async def _beat(self, wait_s: float) -> None:
        """Wait, sending heartbeats."""
        left_s = self._written_s + self._heartbeat_s - time.monotonic()
        await asyncio.sleep(min(wait_s, max(left_s, 0.001)))
        if time.monotonic() >= self._written_s + self._heartbeat_s:
            self._write(self._tape.system("Heartbeat", 0, time.time_ns()))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._written_s = time.monotonic()
            self._transport.write(data)


async def serve(spec: SimSpec, on_ready: Callable[[str, int], object]) -> None:
    """Run the gateway until cancelled; see `server.serve`. Raises FeedError."""
    if spec.recording is None:
        raise FeedError("simulated venue: databento has no synthetic market: name a DBN file to play")
    try:
        tape = Tape(Path(spec.recording))
    except OSError as error:
        raise FeedError(f"{spec.recording}: cannot be read: {error.strerror}") from None
    gateway = Gateway(spec, tape)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Session(gateway), spec.host, spec.port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise FeedError(f"simulated venue: cannot listen on {spec.host}:{spec.port}: {reason}") from None
    host, port = server.sockets[0].getsockname()[:2]
    structlog.get_logger("sim").info("listening", host=host, port=port, venue=spec.venue, recording=spec.recording)
    try:
        on_ready(host, port)
        await asyncio.Event().wait()
    finally:
        server.close()
        for session in list(gateway.sessions):
            session.close()
