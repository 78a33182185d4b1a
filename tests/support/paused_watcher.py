"""A process that watches others and stands still: it stops itself, and says whom it blames when it looks again.

`python paused_watcher.py WATCHER FOLDER`: once it is stopped (state T), whoever started it continues it. What it blames
goes to its stdout as JSON. Between the beginning of a client's silence and the stop it waits for nothing, so that the
silence to be judged is that of the pause alone, however slowly the process runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

import zmq
from small_engine import small_engine

from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.stream_member import Member
from tickplant.runtime.client_guard import Guard
from tickplant.runtime.config import EngineConfig
from tickplant.store.flight_answers import Address, Answers

ALLOWED_S: Final = 2.5
"""How long a client may be silent: longer than the 2 s without a look that are no pause, shorter than the pause."""


def stand_still() -> None:
    """Until somebody continues this process."""
    os.kill(os.getpid(), signal.SIGSTOP)


class SweptMember(Member):
    """A client of the gateway that says when it was looked after."""

    def __init__(self, *words: object, **options: object) -> None:
        super().__init__(*words, **options)
        self.swept = asyncio.Event()

    def sweep(self, now_s: float, stood_s: float) -> None:
        super().sweep(now_s, stood_s)
        self.swept.set()


async def hub(folder: Path) -> int:
    """Clients that a gateway's hub cuts off in its next sweep, of one that has not taken what it was given."""
    async with small_engine(folder) as engine:
        engine.trade(1, 100)
        watching = LiveHub([engine.addresses])
        stream = await watching.open(("venue",), 0)
        member = SweptMember(stream, websocket=False, queue_bytes=1 << 20, stalled_s=ALLOWED_S)
        assert await member.take()  # the cursor; `sent` is not called
        member.swept.clear()
        stand_still()
        await member.swept.wait()
        watching.close()
        return int(member.stalled)


def guard() -> int:
    """Clients that an engine's guard cuts off in its next sweep, of one that has not read its reply."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as listening:
        watching = Guard(EngineConfig(unread_s=ALLOWED_S), lambda: 0)
        port = listening.bind_to_random_port("tcp://127.0.0.1")
        watching.watch(context, listening)
        with socket.create_connection(("127.0.0.1", port)):
            while not watching.connections:
                select.select([watching], [], [], 0.1)
                watching.attend()
            (client,) = watching._clients
            watching.sweep()
            assert watching.may_reply(client, [100])
            stand_still()
            watching.sweep()
            watching.close()
            return watching.cut.total()


class CountedAnswers(Answers):
    """A server's answers, and how often they were looked at."""

    looks = 0

    def _idle(self) -> set[Address]:
        self.looks += 1
        return super()._idle()


def flight() -> int:
    """How often a Flight server looks before it cuts off a client that takes nothing of its answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.connect(listening.getsockname())
        link, (host, port) = listening.accept()
        watching = CountedAnswers(1, ALLOWED_S)
        with link, watching.place(f"ipv4:{host}:{port}") as answer, answer.handed_over():
            watching.looks = 0
            stand_still()
            while not watching.cut_off:
                time.sleep(0.01)
            looks = watching.looks
            assert not client.recv(1)
        watching.close(port)
        return looks


def main() -> None:
    which, folder = sys.argv[1:]
    blamed = asyncio.run(hub(Path(folder))) if which == "hub" else {"guard": guard, "flight": flight}[which]()
    sys.stdout.write(json.dumps(blamed))


if __name__ == "__main__":
    main()
