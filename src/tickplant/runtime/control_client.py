"""The child's end of the control socket; commands use it too."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

import zmq

from tickplant.errors import ControlError
from tickplant.instruments import Instrument
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import (
    MAX_MESSAGE_BYTES,
    Accepted,
    Command,
    Counters,
    Done,
    Heartbeat,
    Hello,
    Message,
    Refused,
    Register,
    Registered,
    Status,
    SymbolsChanged,
    decode,
    encode,
)

_TOGETHER: Final = 500
"""Registrations in flight at a time: the line holds twice as many messages."""


class ControlClient:
    """A child's line to its supervisor. Not thread-safe; never blocks, except in `register`.

    `socket` can be polled (its `FD` in asyncio, edge-triggered: drain with `receive`).
    """

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self._address = address
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 1000)
        self.socket.set(zmq.SNDHWM, 1000)
        self.socket.set(zmq.MAXMSGSIZE, 4 * MAX_MESSAGE_BYTES)
        self.socket.connect(address)
        self._pending: list[Message] = []
        self._introduced = False

    def send(self, message: Message) -> None:
        """Queue a message; dropped if the supervisor has not taken any for very long."""
        if not (self._introduced or isinstance(message, Hello | Heartbeat | Done | Command)):
            self.heartbeat({})  # introduces this process: the supervisor listens only to its own children
        try:
            self.socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return

    def hello(self) -> None:
        """Say that this process is attached and ready."""
        self._introduced = True
        self.send(Hello(self.name, os.getpid()))

    def heartbeat(self, counters: Counters, accounts: Sequence[Account] = ()) -> None:
        """Report; call it every `Plant.heartbeat_s`."""
        self._introduced = True
        self.send(Heartbeat(self.name, counters, list(accounts), os.getpid()))

    def done(self, counters: Counters, accounts: Sequence[Account] = ()) -> None:
        """Report that the source has ended."""
        self.send(Done(self.name, counters, list(accounts), os.getpid()))

    def receive(self) -> list[Message]:
        """Messages that have arrived since the last call, oldest first; never waits."""
        messages, self._pending = self._pending, []
        while True:
            try:
                messages.append(decode(self.socket.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return messages

    def register(
        self, venue: str, symbol: str, price_scale: int, size_scale: int, *, timeout_s: float = 10.0
    ) -> Instrument:
        """The instrument of a symbol, registered if new. Waits for the supervisor. Raises ControlError."""
        return self.register_all([Register(venue, symbol, price_scale, size_scale)], timeout_s=timeout_s)[0]

    def register_all(self, wanted: Sequence[Register], *, timeout_s: float = 10.0) -> list[Instrument]:
        """The instruments of many symbols, in order, registered if new. Waits for the supervisor. Raises ControlError.

        The supervisor makes all registrations that it finds durable together; sent one by one, each would wait for the
        disk. `timeout_s` applies to each part of them that may be in flight.
        """
        found: list[Instrument] = []
        for begin in range(0, len(wanted), _TOGETHER):
            part = wanted[begin : begin + _TOGETHER]
            for one in part:
                self.send(one)
            deadline = time.monotonic() + timeout_s
            replies = [
                self._wait_for(
                    (Registered, Refused), deadline - time.monotonic(), f"registering {one.venue} {one.symbol}"
                )
                for one in part  # all of them, whatever they say: none must answer a later question
            ]
            for one, reply in zip(part, replies, strict=True):
                if not isinstance(reply, Registered):
                    raise ControlError(f"{one.venue} {one.symbol}: {getattr(reply, 'reason', reply)}")
                found.append(reply.instrument)
        return found

    def request(self, message: Message, *, timeout_s: float = 5.0) -> Message:
        """Send a command and wait for its answer. Raises ControlError if none comes or the command is refused."""
        self.send(message)
        reply = self._wait_for((Accepted, Status, SymbolsChanged, Refused), timeout_s, type(message).__name__)
        if isinstance(reply, Refused):
            raise ControlError(reply.reason)
        return reply

    def _wait_for(self, kinds: tuple[type, ...], timeout_s: float, what: str) -> Message:
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if self.socket.poll(max(1, int(left_s * 1000))):
                message = decode(self.socket.recv())
                if isinstance(message, kinds):
                    return message
                self._pending.append(message)
        raise ControlError(f"{self._address}: no answer within {timeout_s:g} s ({what}); is the plant up?")

    def close(self) -> None:
        """Send what is queued, for a second at most, and close the socket."""
        self.socket.close()
        self._context.term()
