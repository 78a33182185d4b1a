"""A subscriber without any of the project's own client code."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import zmq
from callers import Callers
from plant_process import DEADLINE_S

from tickplant.wire import unpack_header


class Listener:
    """A plain SUB socket that keeps everything it receives, by topic. Connects before anything is published."""

    def __init__(self, address: str) -> None:
        self.received: dict[str, bytearray] = defaultdict(bytearray)
        self.next_seq: dict[str, int] = {}
        self._stop = threading.Event()
        self._patient_until_s = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.RECONNECT_IVL, 10)
        self._socket.subscribe(b"")
        self._callers = Callers(self._socket)
        self._socket.connect(address)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set() or not self._has_ended() or self._socket.poll(0):
            if self._socket.poll(50):
                name, header, payload = self._socket.recv_multipart()
                topic, fields = name.decode(), unpack_header(header)
                assert fields.first_seq == self.next_seq.get(topic, 0), f"a hole in {topic}"
                self.next_seq[topic] = fields.first_seq + fields.records
                self.received[topic] += payload

    def _has_ended(self) -> bool:
        """Whether nothing more is on its way; after a failure, the publisher may still be alive."""
        return self._callers.gone() or time.monotonic() > self._patient_until_s

    def close(self) -> dict[str, bytes]:
        """Receive what is still on its way from publishers that have ended, and close."""
        self._patient_until_s = time.monotonic() + DEADLINE_S / 2
        self._stop.set()
        self._thread.join(DEADLINE_S)
        self._callers.close()
        self._socket.close()
        self._context.term()
        return {topic: bytes(payload) for topic, payload in self.received.items()}
