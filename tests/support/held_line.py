"""A connection to a port that carries nothing until it is opened, like a stalled network."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class HeldLine:
    """A context manager in front of a `tcp://` address. Connections to it succeed, but their bytes wait for `open`."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("tcp://").split(":")
        self._behind = host, int(port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._carry)

    def open(self) -> None:
        """Pass on the waiting bytes and everything that follows, in both directions."""
        self._thread.start()

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        for other in [entry.data for entry in selector.get_map().values() if entry.data]:
                            other.close()
                        return
                    if key.fileobj is self._listening:
                        ends = self._listening.accept()[0], socket.create_connection(self._behind)
                        for end, other in (ends, ends[::-1]):
                            selector.register(end, selectors.EVENT_READ, other)
                    elif not _pass_on(key.fileobj, key.data):
                        for end in (key.fileobj, key.data):
                            selector.unregister(end)
                            end.close()
                        break  # what was selected may be about these

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._stopped.close()
        self._listening.close()


def _pass_on(source: socket.socket, target: socket.socket) -> bool:
    """Pass bytes on; returns whether both ends are still open."""
    try:
        part = source.recv(1 << 16)
        target.sendall(part)
    except OSError:
        return False
    return bool(part)
