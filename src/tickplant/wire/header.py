"""The header of a message between an engine and its subscribers: `WIRE_HEADER`, 96 bytes, little-endian.

(producer, schema, seq) identifies a record for ever: the header names producer and schema, each record carries its seq.
Topic sequences count within one epoch, so that a subscriber notices missing records.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

MAGIC: Final = int.from_bytes(b"TPWM", "little")
VERSION: Final = 2

PRODUCER_BYTES: Final = 32
"""The name of a feed or engine has at most 31 characters."""

WIRE_HEADER: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("version", "<u2"),
        ("header_bytes", "<u2"),
        ("schema", "<u2"),  # a records.Schema value
        ("record_bytes", "<u2"),
        ("records", "<u4"),  # in this message
        ("epoch", "<u8"),  # start of the engine, microseconds since the Unix epoch: a later life has a greater one
        ("first_seq", "<u8"),  # topic sequence of the first record
        ("publish_ns", "<i8"),  # wall clock of the engine; 0: rebuilt from the store for a subscriber that missed it
        ("instrument", "<u4"),
        ("price_scale", "u1"),
        ("size_scale", "u1"),
        ("reserved_0", "<u2"),  # all reserved fields are 0
        # The feed or engine that counts the `seq` of these records, ASCII, padded with 0. Empty: the records are made
        # for subscribers only, no store holds them, and their `seq` identifies nothing.
        ("producer", f"S{PRODUCER_BYTES}"),
        ("reserved_1", "<u8"),
        ("reserved_2", "<u8"),
    ]
)
"""Second frame of every message."""

HEADER_BYTES: Final = WIRE_HEADER.itemsize

_HEADER: Final = struct.Struct(f"<IHHHHIQQqIBB2x{PRODUCER_BYTES}s16x")  # the same layout; test_wire.py compares the two

_BEGIN: Final = struct.Struct("<IH")
_OURS: Final = MAGIC, VERSION

MESSAGE_RECORDS: Final = 256
"""The most records that a message holds: it makes a bound on messages a bound on bytes."""


class Header(msgspec.Struct, frozen=True, gc=False):
    """The fields of a header."""

    schema: int
    record_bytes: int
    records: int
    epoch: int
    first_seq: int
    publish_ns: int
    instrument: int
    price_scale: int
    size_scale: int
    producer: str = ""


def pack_header(
    schema: int,
    record_bytes: int,
    records: int,
    epoch: int,
    first_seq: int,
    publish_ns: int,
    instrument: int,
    price_scale: int,
    size_scale: int,
    producer: bytes = b"",
) -> bytes:
    """The header frame. `producer` is its name in ASCII, at most `PRODUCER_BYTES` long."""
    return _HEADER.pack(
        MAGIC,
        VERSION,
        HEADER_BYTES,
        schema,
        record_bytes,
        records,
        epoch,
        first_seq,
        publish_ns,
        instrument,
        price_scale,
        size_scale,
        producer,
    )


def unpack_header(frame: bytes) -> Header:
    """The fields of a header frame. Raises ValueError for any other frame, and for another wire version."""
    if len(frame) >= HEADER_BYTES and (found := _HEADER.unpack_from(frame))[:2] == _OURS:
        return Header(*(*found[3:-1], _name(found[-1])))
    magic, version = _BEGIN.unpack_from(frame) if len(frame) >= _BEGIN.size else _OURS
    if magic != MAGIC:
        raise ValueError(f"not a tickplant message: it begins with {frame[:4]!r}")
    if version != VERSION:
        raise ValueError(other_version(version))
    raise ValueError(f"a header of {len(frame)} bytes; {HEADER_BYTES} were expected")


@lru_cache(maxsize=256)
def _name(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii")


def other_version(version: int) -> str:
    """The error for a client whose engine speaks a different wire version."""
    older = "the engine" if version < VERSION else "this client"
    return (
        f"the engine speaks wire version {version}, this client version {VERSION}: {older} is the older side, "
        "and must be updated (docs/wire.md says what changed)"
    )
