"""The gateway's line to its supervisor, whose child it is: reports, status, an admin's commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import zmq

from tickplant.errors import ControlError
from tickplant.runtime.control import Accepted, Command, Counters, GetStatus, Message, Refused, Status, Stop
from tickplant.runtime.control_client import ControlClient
from tickplant.runtime.job_specs import Plant

ANSWER_S: Final = 5.0
_TURNS: Final = 10
"""The wait for an answer has this many turns: a standstill of this process, however long, costs only one."""

STATUS_S: Final = 0.5
"""How long a status stays fresh: its shares of a core cover the time since the previous status."""


class PlantLine:
    """One line, in the loop's thread; commands are answered in the order of sending."""

    def __init__(self, plant: Plant, name: str, counters: Callable[[], Counters]) -> None:
        self.stopped = asyncio.Event()  # the supervisor wants the process to end
        self._counters = counters
        self._heartbeat_s = plant.heartbeat_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Message]] = deque()
        self._status: Status | None = None
        self._status_s = float("-inf")
        self._asking: asyncio.Task[Status] | None = None
        self._client = ControlClient(plant.control, name)
        self._fd = int(self._client.socket.get(zmq.FD))
        self._loop.add_reader(self._fd, self._listen)
        self._beat()

    def hello(self) -> None:
        """Report that the gateway listens."""
        self._client.hello()

    def close(self) -> None:
        """Report the last numbers, and close the line."""
        self._timer.cancel()
        self._loop.remove_reader(self._fd)
        self._client.heartbeat(self._counters())
        self._client.close()

    async def status(self) -> Status:
        """The plant's status, at most STATUS_S old. Raises ControlError."""
        if self._status is not None and self._loop.time() - self._status_s < STATUS_S:
            return self._status
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_status())
        return await asyncio.shield(self._asking)

    async def _ask_status(self) -> Status:
        reply = await self._request(GetStatus())
        if not isinstance(reply, Status):
            raise ControlError(f"the supervisor answered {type(reply).__name__} when asked for its status")
        self._status, self._status_s = reply, self._loop.time()
        return reply

    async def order(self, command: Command) -> None:
        """Give the supervisor a command. Raises ControlError if it refuses or does not answer."""
        reply = await self._request(command)
        if isinstance(reply, Refused):
            raise ControlError(reply.reason)

    async def _request(self, command: Command) -> Message:
        future: asyncio.Future[Message] = self._loop.create_future()
        self._waiting.append(future)
        self._client.send(command)
        self._loop.call_soon(self._listen)  # sending may have consumed an edge of the descriptor
        for _ in range(_TURNS):
            await asyncio.wait([future], timeout=ANSWER_S / _TURNS)
            if future.done():
                return future.result()
        raise ControlError(f"the supervisor does not answer within {ANSWER_S:g} s")

    def _listen(self) -> None:
        if self._client.socket.closed:
            return
        for message in self._client.receive():
            if isinstance(message, Stop):
                self.stopped.set()
            elif isinstance(message, Status | Accepted | Refused) and self._waiting:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(message)

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._heartbeat_s, self._beat)
        self._client.heartbeat(self._counters())
        self._listen()
