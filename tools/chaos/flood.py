"""A process that floods an engine with requests and reads no answer: `python -m chaos.flood ADDRESS TOPIC …`."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from typing import Final

import zmq

from tickplant.wire import GetRange, GetSnapshot, GetTopics, encode

SOCKETS: Final = 8
NAP_S: Final = 0.001


def main() -> None:
    """Run the process."""
    address, topics = sys.argv[1], sys.argv[2:]
    stopping: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = [context.socket(zmq.DEALER) for _ in range(SOCKETS)]
    for socket in sockets:
        socket.set(zmq.LINGER, 0)
        socket.connect(address)
    requests = [
        encode(request)
        for topic in topics
        for request in (
            GetTopics(1, ""),
            GetSnapshot(topic, 2),
            GetRange(topic, 0, 0, 1),
            GetSnapshot("no.such.topic", 3),
        )
    ]
    for socket, request in zip(itertools.cycle(sockets), itertools.cycle([*requests, b"no request"]), strict=False):
        if stopping:
            break
        try:
            socket.send(request, zmq.NOBLOCK)
        except zmq.Again:
            time.sleep(NAP_S)
    context.destroy(0)


if __name__ == "__main__":
    main()
