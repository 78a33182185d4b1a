"""Repairs what can be repaired in a store, and reports it. No plant may write to the store meanwhile.

Nothing is deleted: a torn tail is durably copied to a file next to its journal, and then cut off. Journal recovery does
the same, but only for the last file. An index that disagrees with its file is rebuilt. Damage in the middle of a file
stays: readers name it, and its records cannot be restored.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.plant.durable_file import sync_folder, write_durably
from tickplant.plant.lock_file import locked
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.writer.format.chunk_bounds import Bounds, bounds_of
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import LISTED_BEYOND, FileIndex, index_path, load_index, sealed

_COPY_BYTES: Final = 1 << 20


class Repair(msgspec.Struct, frozen=True):
    """One repair, or one fault that cannot be repaired."""

    kind: Literal["index", "torn", "left"]
    path: str
    text: str

    def __str__(self) -> str:
        return f"{'not mended' if self.kind == 'left' else 'mended'}: {self.path}: {self.text}"


def repair(data_dir: Path | str) -> Iterator[Repair]:
    """Repair journals and daily files, one after another as this is iterated, under the lock of the data directory.

    A repetition changes nothing, nor does a kill midway. Raises StoreError: a plant writes here, or a file cannot be
    read or written.
    """
    store = Store(data_dir)
    with locked(store.data_dir):
        for schema in Schema:
            for producer in store.producers(schema):
                for path, within in _files(store, producer, schema):
                    try:
                        yield from _mend(path, within)
                    except OSError as error:
                        why = f"cannot be mended: {error.strerror}"
                        raise StoreError(why, path=error.filename or path) from error


def _files(store: Store, producer: str, schema: Schema) -> Iterator[tuple[Path, tuple[int, int] | None]]:
    """Journal files, and daily files with the seqs that they may hold; files of a damaged manifest are left out."""
    for path in store.files(producer, schema):
        yield path, None
    for segment in store.segments(producer, schema):
        if segment.span is not None and (manifest := store.indexes.manifest_of(segment)) is not None:
            for file in manifest.files:
                if file.bytes and (segment.path / file.name).exists():
                    yield segment.path / file.name, (segment.span.first_seq, segment.span.last_seq)


def _mend(path: Path, within: tuple[int, int] | None) -> Iterator[Repair]:
    """Repair one file: every byte is scanned, whatever its index says."""
    scanned, listed = load_index(path, use_index=False, within=within), load_index(path, within=within)
    whole = True
    for part in listed.damage or scanned.damage:
        # What the index lists was durable once: cutting it off would hide the loss. A daily file has no tail.
        at_end = part.offset == scanned.end == listed.end and not part.reason.startswith(LISTED_BEYOND)
        if at_end and within is None:
            target = _move_aside(path, scanned)
            yield Repair("torn", str(path), f"a torn tail of {part.length_bytes:,} bytes is in {target.name} now")
        else:
            whole = False
            yield Repair("left", str(path), str(part).removeprefix(f"{path}: "))
    for entry in listed.entries[~np.isin(listed.entries["offset"], scanned.entries["offset"])]:
        whole = False
        header = entry["header"]
        text = f"the chunk at {entry['offset']} is damaged; seq {header['first_seq']} to {header['last_seq']}"
        yield Repair("left", str(path), text)
    index, entries = index_path(path), _with_bounds(path, scanned.entries).tobytes()
    found = index.read_bytes() if index.exists() else b""
    if whole and found != entries:
        write_durably(index, entries)
        was = "did not say what the file holds" if found else "was missing"
        yield Repair("index", str(index), f"{was}: made anew, {len(scanned.entries):,} chunks")


def _with_bounds(path: Path, entries: NDArray[np.void]) -> NDArray[np.void]:
    """Entries with the bounds of their chunks' content."""
    decoder = ChunkDecoder()
    found: list[Bounds | None] = []
    with path.open("rb") as file:
        for entry in entries:
            file.seek(int(entry["offset"]))
            try:
                columns, header, _ = decoder.columns(file.read(int(entry["header"]["length_bytes"])), path=path)
                found.append(bounds_of(columns, Schema(header.schema)))
            except DamageError:  # the checksums are right; a reader reports more
                found.append(None)
    return sealed(entries.copy(), found)


def _move_aside(path: Path, scanned: FileIndex) -> Path:
    """Copy what follows the last chunk to a file of its own, then cut it off."""
    start = scanned.end
    temporary = path.with_suffix(".torn.new")
    with path.open("r+b") as file:
        file.seek(start)
        with temporary.open("wb") as copy:
            while data := file.read(_COPY_BYTES):
                copy.write(data)
            copy.flush()
            os.fsync(copy.fileno())
        number = 0
        while (target := path.with_suffix(f".{start}.{number}.torn")).exists():
            if filecmp.cmp(temporary, target, shallow=False):
                break  # an earlier repair was killed before the cut
            number += 1
        temporary.replace(target)
        sync_folder(path.parent)
        file.truncate(start)
        os.fsync(file.fileno())
    return target
