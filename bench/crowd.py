"""`python -m bench.crowd ADDRESS COUNT`: COUNT subscribers of everything, each with a connection of its own.

They receive each message, and read only the number of records in its header. When stdin is closed, the process prints
the smallest and the largest number of records that any subscriber got.
"""

from __future__ import annotations

import resource
import sys

import numpy as np
import zmq

from tickplant.runtime.lineage import die_with_parent
from tickplant.wire import WIRE_HEADER

MESSAGES_PER_TURN = 1000
FIELDS = WIRE_HEADER.fields or {}
AT, SIZE = FIELDS["records"][1], FIELDS["records"][0].itemsize


def main() -> None:
    """See the module."""
    die_with_parent()
    address, count = sys.argv[1], int(sys.argv[2])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, count + 10)
    poller = zmq.Poller()
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    places = {}
    for place in range(count):
        socket = context.socket(zmq.SUB)
        socket.set(zmq.RCVHWM, 100_000)
        socket.connect(address)
        socket.subscribe(b"")
        poller.register(socket, zmq.POLLIN)
        places[socket] = place
    records = np.zeros(count, np.int64)
    print("ready", flush=True)
    while True:
        ready = dict(poller.poll())
        for socket in ready.keys() & places.keys():
            for _ in range(MESSAGES_PER_TURN):
                try:
                    _, header, _ = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                records[places[socket]] += int.from_bytes(header[AT : AT + SIZE], "little")
        if sys.stdin.fileno() in ready:
            break
    print(records.min(), records.max(), flush=True)
    context.destroy(0)


if __name__ == "__main__":
    main()
