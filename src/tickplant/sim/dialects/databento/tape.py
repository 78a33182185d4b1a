"""A DBN file of one schema to play: its records, moved in time and given other ids in each round.

The layout of DBN is restated here, as far as needed, so that the feed does not test itself.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.errors import FeedError

ZSTD: Final = b"\x28\xb5\x2f\xfd"
NO_TIME: Final = 2**64 - 1
NO_PRICE: Final = 2**63 - 1
MBO: Final = 0xA0
SCHEMAS: Final = {
    MBO: ("mbo",),
    0x00: ("trades",),
    0x01: ("mbp-1", "tbbo"),
    0x0A: ("mbp-10",),
    0x20: ("ohlcv-1s",),
    0x21: ("ohlcv-1m",),
    0x22: ("ohlcv-1h",),
    0x23: ("ohlcv-1d",),
    0x12: ("status",),
    0x18: ("statistics",),
}
"""Schemas that have it, by type of record."""

_RECV: Final = {MBO: 40, 0x00: 32, 0x01: 32, 0x0A: 32, 0x12: 16, 0x18: 16}
_SEQUENCE: Final = {MBO: 52, 0x00: 44, 0x01: 44, 0x0A: 44}
_ACK, _NO_SYMBOL = 1, 4


class Tape:
    """The content to play. Raises FeedError if a file is not DBN, or has records of several kinds."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        if data.startswith(ZSTD):
            data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
        if not data.startswith(b"DBN") or len(data) < 8 or data[3] not in (1, 2, 3):
            raise FeedError(f"{path}: not a DBN file of version 1 to 3")
        self.version = data[3]
        self.dataset = data[8:24].rstrip(b"\0").decode()
        end = 8 + int.from_bytes(data[4:8], "little")
        self.symbols = _symbols(data, self.version)
        if len(data) <= end:
            raise FeedError(f"{path}: the file has no records to play")
        self.kind, self.size = data[end + 1], 4 * data[end]
        self.count, rest = divmod(len(data) - end, self.size)
        self._records: NDArray[np.uint8] = np.frombuffer(data, np.uint8, self.count * self.size, end)
        heads = self._records.reshape(-1, self.size)
        if rest or not ((heads[:, 0] == data[end]) & (heads[:, 1] == self.kind)).all() or self.kind not in SCHEMAS:
            raise FeedError(f"{path}: cannot be played: the file must hold complete records of a single market schema")
        self.idents = self.column(self._records, "<u4", 4)
        times = self.times()
        self.first_ns, self.last_ns = int(times[0]), int(times[-1])
        self._ids = [
            (offset, dtype, _span(self.column(self._records, dtype, offset))) for offset, dtype in self._id_places()
        ]

    def times(self) -> NDArray[np.int64]:
        """When each record is due, in the file's time, ns."""
        return self.column(self._records, "<i8", _RECV.get(self.kind, 8))

    def column(self, records: NDArray[np.uint8], dtype: str, offset: int) -> NDArray[np.int64]:
        """A field of these records; a view."""
        return np.ndarray((len(records) // self.size,), dtype, records.data, offset, (self.size,))

    def part(self, start: int, stop: int, turn: int, *, shift_ns: int = 0, now_ns: int = 0) -> NDArray[np.uint8]:
        """Records start to stop, in the round with this number: their ids occur in no other round.

        Their times are moved by `shift_ns`, or all are `now_ns`.
        """
        part = self._records[start * self.size : stop * self.size].copy()
        for offset in dict.fromkeys((8, _RECV.get(self.kind, 8))):
            column = self.column(part, "<i8", offset)
            if now_ns:
                column[:] = now_ns
            else:
                column[column != -1] += shift_ns
        for offset, dtype, span in self._ids if turn else ():
            column = self.column(part, dtype, offset)
            if dtype == "<u8":
                column[column != 0] += np.uint64(turn * span)
            else:
                column[:] = column + np.uint32(turn * span & 0xFFFFFFFF)
        return part

    def only(self, part: NDArray[np.uint8], idents: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The records of these instruments."""
        mine = np.isin(self.column(part, "<u4", 4), idents)
        return part if mine.all() else part.reshape(-1, self.size)[mine].reshape(-1)

    def _id_places(self) -> list[tuple[int, str]]:
        places = [(_SEQUENCE[self.kind], "<u4")] if self.kind in _SEQUENCE else []
        return [*places, (16, "<u8")] if self.kind == MBO else places

    # A gateway's messages besides the market, in the version of the file.

    def session_metadata(self, now_ns: int) -> bytes:
        """Metadata of a live session: of any schema, without an end."""
        head = self.dataset.encode().ljust(16, b"\0") + struct.pack("<HQQQ", 0xFFFF, now_ns, NO_TIME, 0)
        if self.version == 1:
            head += struct.pack("<Q", NO_TIME)
        head += bytes((0xFF, 0, 0))
        if self.version > 1:
            head += struct.pack("<H", 71)
        body = head.ljust(100, b"\0") + struct.pack("<IIIII", 0, 0, 0, 0, 0)
        return b"DBN" + bytes((self.version,)) + struct.pack("<I", len(body)) + body

    def mapping(self, ident: int, symbol: str, now_ns: int) -> bytes:
        """States the symbol of an instrument id."""
        width = 22 if self.version == 1 else 71
        text = symbol.encode().ljust(width, b"\0")
        kinds = (b"\xff", b"\xff") if self.version > 1 else (b"", b"")
        body = kinds[0] + text + kinds[1] + text
        body = body.ljust(48 if self.version == 1 else 144, b"\0") + struct.pack("<QQ", now_ns, NO_TIME)
        return self._record(0x16, ident, now_ns, body)

    def system(self, text: str, code: int, now_ns: int) -> bytes:
        """A notice, such as a heartbeat (code 0)."""
        return self._record(0x17, 0, now_ns, self._words(text, code))

    def error(self, text: str, code: int, now_ns: int) -> bytes:
        """An error."""
        body = self._words(text, code)
        if self.version > 1:
            body = body[:302] + bytes((code, 1))
        return self._record(0x15, 0, now_ns, body)

    def clear(self, ident: int, now_ns: int) -> bytes:
        """Begins and ends the snapshot of a book of orders: the book is empty."""
        body = struct.pack("<QqIBBccQiI", 0, NO_PRICE, 0, 32 | 8 | 128, 0, b"R", b"N", now_ns, 0, 0)
        return self._record(MBO, ident, now_ns, body)

    def _words(self, text: str, code: int) -> bytes:
        if self.version == 1:
            return text.encode()[:63].ljust(64, b"\0")
        return text.encode()[:302].ljust(303, b"\0") + bytes((code,))

    def _record(self, kind: int, ident: int, now_ns: int, body: bytes) -> bytes:
        return struct.pack("<BBHIQ", (16 + len(body)) // 4, kind, 1, ident, now_ns) + body


def _span(column: NDArray[np.int64]) -> int:
    used = column[column != 0]
    return int(used.max()) - int(used.min()) + 1 if len(used) else 1


def _symbols(data: bytes, version: int) -> dict[str, list[int]]:
    """The instrument ids of each symbol in the metadata."""
    width = 22 if version == 1 else int.from_bytes(data[53:55], "little")
    at = 108 + 4 + int.from_bytes(data[108:112], "little")
    for _ in range(3):
        at += 4 + width * int.from_bytes(data[at : at + 4], "little")
    found: dict[str, list[int]] = {}
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    for _ in range(count):
        symbol = data[at : at + width].partition(b"\0")[0].decode()
        (intervals,) = struct.unpack_from("<I", data, at + width)
        at += width + 4
        for _ in range(intervals):
            ident = data[at + 8 : at + 8 + width].partition(b"\0")[0]
            if ident.isdigit():
                found.setdefault(symbol, []).append(int(ident))
            at += 8 + width
    return found
