"""Batches of outgoing messages, and how they become WebSocket frames. No I/O.

A batch holds the texts of many messages in one buffer, each in all forms of the venue: Binance sends the same message
with and without its stream's name, the latter being a part of the former. Frames are packed straight from there into
one buffer per connection and write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel

MAX_HEADER_BYTES = 10

TEXT: Final = 1
BINARY: Final = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in sending order; one array entry per message. Valid until its maker makes the next one."""

    text: NDArray[np.uint8]
    forms: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]  # where messages begin and end, for each form
    stream: NDArray[np.int64]  # index into the source's streams
    id: NDArray[np.int64]  # the venue's own id: trade id, aggregate id or final update id; 0 if unknown

    @property
    def messages(self) -> int:
        """Number of messages."""
        return int(self.stream.shape[0])

    def part(self, first: int, last: int) -> Batch:
        """Messages first .. last-1."""
        cut = slice(first, last)
        forms = tuple((starts[cut], ends[cut]) for starts, ends in self.forms)
        return Batch(self.text, forms, self.stream[cut], self.id[cut])

    def payload(self, message: int, form: int = 0) -> bytes:
        """Text of one message in one form."""
        starts, ends = self.forms[form]
        return self.text[starts[message] : ends[message]].tobytes()


def batch_of(texts: list[bytes], stream: list[int], ident: list[int]) -> Batch:
    """A batch of messages of one form."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    text = np.frombuffer(b"".join(texts), np.uint8)
    return Batch(text, ((starts, ends),), np.array(stream, np.int64), np.array(ident, np.int64))


@kernel
def pack_frames(
    text: NDArray[np.uint8],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    order: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    """Write `text[first[i]:last[i]]` for every i in `order` as unmasked text frames to `out`; return the bytes used.

    `out` must have room for the payloads and MAX_HEADER_BYTES each. Frame layout: RFC 6455 section 5.2.
    """
    used = 0
    for i in order:
        size = last[i] - first[i]
        out[used] = 0x81  # FIN, text
        if size < 126:
            out[used + 1] = size
            used += 2
        elif size < 65536:
            out[used + 1] = 126
            out[used + 2] = size >> 8
            out[used + 3] = size & 255
            used += 4
        else:
            out[used + 1] = 127
            for byte in range(8):
                out[used + 2 + byte] = (size >> (56 - 8 * byte)) & 255
            used += 10
        out[used : used + size] = text[first[i] : last[i]]
        used += size
    return used


def frames(batch: Batch, order: NDArray[np.int64], form: int = 0) -> bytes:
    """The messages `order` of a batch (any selection, any order, repeats allowed) as WebSocket frames."""
    first, last = batch.forms[form]
    room = int((last - first)[order].sum()) + MAX_HEADER_BYTES * order.shape[0]
    out = np.empty(room, np.uint8)
    used = pack_frames(batch.text, first, last, order, out)
    return out[:used].tobytes()


def frame_header(payload_bytes: int, opcode: int = TEXT) -> bytes:
    """Header of an unmasked, unfragmented frame."""
    first = bytes([0x80 | opcode])
    if payload_bytes < 126:
        return first + bytes([payload_bytes])
    if payload_bytes < 1 << 16:
        return first + b"\x7e" + payload_bytes.to_bytes(2, "big")
    return first + b"\x7f" + payload_bytes.to_bytes(8, "big")


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole unmasked frame."""
    return frame_header(len(payload), opcode) + payload
