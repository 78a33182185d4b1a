"""The part of POST requests that a simulated venue needs: for faults, and for posts to the venue. No I/O."""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

MAX_BYTES = 1 << 20

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)


class Posted(NamedTuple):
    """A whole request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Post:
    """Collects the bytes of one request."""

    BEGINS: ClassVar = b"POST /"

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Posted | None:
        """Add bytes; returns the request once it is complete. A request that is too long is truncated."""
        self._data += data
        head, end, body = bytes(self._data).partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if len(self._data) < MAX_BYTES and (not end or (length is not None and len(body) < int(length[1]))):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.title(): value.strip() for name, _, value in pairs}
        return Posted(first.split(" ", 2)[1], headers, body)
