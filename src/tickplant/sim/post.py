"""A POST request as far as the simulated venue needs one: the faults come by it. No I/O."""

from __future__ import annotations

import re
from typing import ClassVar

MAX_BYTES = 1 << 20

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)


class Post:
    """Collects the bytes of one request for a path of the simulation itself."""

    BEGINS: ClassVar = b"POST /sim/"

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> tuple[str, bytes] | None:
        """Take more bytes in; the path and the body once all are there. What is too long ends where it is cut."""
        self._data += data
        head, end, body = bytes(self._data).partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if len(self._data) < MAX_BYTES and (not end or (length is not None and len(body) < int(length[1]))):
            return None
        path = head.split(b" ", 2)[1].decode(errors="replace")
        return path, body
