"""Chunks as a forger would make them: with any content, but correct lengths and checksums."""

from __future__ import annotations

import zlib
from random import Random

import numpy as np
from numpy.typing import NDArray

from tickplant.writer.format.chunk_layout import COLUMN, COMMIT_MARK, HEADER, header_checksum

Records = NDArray[np.void]


def seal(header: bytes, directory: Records, sections: list[bytes]) -> bytes:
    """A chunk of these parts, with matching lengths and checksums."""
    directory["stored_bytes"] = [len(section) for section in sections]
    payload = b"".join(sections)
    length = HEADER.itemsize + directory.nbytes + len(payload) + 12
    made = np.frombuffer(bytearray(header), HEADER)
    made["length_bytes"], made["columns"], made["payload_checksum"] = length, len(directory), zlib.crc32(payload)
    made["header_checksum"] = header_checksum(made.tobytes() + directory.tobytes())
    return made.tobytes() + directory.tobytes() + payload + length.to_bytes(4, "little") + COMMIT_MARK


def taken_apart(chunk: bytes) -> tuple[bytes, Records, list[bytes]]:
    """Header, directory and sections of a chunk."""
    count = int.from_bytes(chunk[12:14], "little")
    directory = np.frombuffer(bytearray(chunk), COLUMN, count, HEADER.itemsize)
    ends = HEADER.itemsize + directory.nbytes + np.cumsum(directory["stored_bytes"].astype(np.int64))
    starts = np.append(HEADER.itemsize + directory.nbytes, ends[:-1])
    return chunk[: HEADER.itemsize], directory, [chunk[a:b] for a, b in zip(starts, ends, strict=True)]


def mutated(chunk: bytes, random: Random) -> bytes:
    """A chunk with a few changed bytes in header, directory or sections, and correct checksums."""
    header, directory, sections = taken_apart(chunk)
    head, table = bytearray(header), bytearray(directory.tobytes())
    for _ in range(random.randint(1, 4)):
        value = random.choice([0, 1, 2, 3, 4, 8, 0x7F, 0x80, 0xFF, random.randrange(256)])
        where = random.random()
        if where < 0.25:
            head[random.choice([*range(10, 12), *range(16, 100)])] = value
        elif where < 0.7:
            place = random.randrange(len(table) // 8) * 8 + random.randrange(4)  # not the lengths, which `seal` makes
            table[place] = value
        else:
            place = random.randrange(len(sections))
            changed = bytearray(sections[place])
            if changed and random.random() < 0.7:
                changed[random.randrange(len(changed))] = value
            else:
                changed = changed[: random.randrange(len(changed) + 1)] + bytes(random.choice([0, 0, 1, 9]))
            sections[place] = bytes(changed)
    return seal(bytes(head), np.frombuffer(table, COLUMN).copy(), sections)
