"""The header of a message between an engine and its subscribers: `WIRE_HEADER`, 64 bytes, little-endian."""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np

MAGIC: Final = int.from_bytes(b"TPWM", "little")
VERSION: Final = 1

WIRE_HEADER: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("version", "<u2"),
        ("header_bytes", "<u2"),
        ("schema", "<u2"),  # a records.Schema value
        ("record_bytes", "<u2"),
        ("records", "<u4"),  # in this message
        ("epoch", "<u8"),  # microseconds since the Unix epoch when the engine started: a later life has a greater one
        ("first_seq", "<u8"),  # topic sequence of the first record
        ("publish_ns", "<i8"),  # wall clock of the engine; 0: made anew from the store, for somebody who missed it
        ("instrument", "<u4"),
        ("price_scale", "u1"),
        ("size_scale", "u1"),
        ("reserved_0", "<u2"),  # all reserved fields are 0
        ("reserved_1", "<u8"),
        ("reserved_2", "<u8"),
    ]
)
"""Second frame of every message."""

HEADER_BYTES: Final = WIRE_HEADER.itemsize

_HEADER: Final = struct.Struct("<IHHHHIQQqIBB18x")  # the same layout; test_wire.py holds them equal

MESSAGE_RECORDS: Final = 256
"""A message holds no more records than this, so a bound on messages bounds bytes."""


class Header(msgspec.Struct, frozen=True, gc=False):
    """A header, taken apart."""

    schema: int
    record_bytes: int
    records: int
    epoch: int
    first_seq: int
    publish_ns: int
    instrument: int
    price_scale: int
    size_scale: int


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
) -> bytes:
    """The header frame."""
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
    )


def unpack_header(frame: bytes) -> Header:
    """The fields of a header frame. Raises ValueError for another kind of frame, or for another wire version."""
    if len(frame) < HEADER_BYTES:
        raise ValueError(f"a header of {len(frame)} bytes; {HEADER_BYTES} were expected")
    magic, version, _, *fields = _HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise ValueError(f"not a tickplant message: it begins with {frame[:4]!r}")
    if version != VERSION:
        raise ValueError(f"wire version {version}; this tickplant reads version {VERSION}")
    return Header(*fields)
