"""Retention: daily files that are old, or too many, are removed on purpose, and their manifests say so.

Only daily files can be removed, so never records that are not compacted yet. The manifest is replaced first, durably,
and then the file is deleted: a kill in between leaves a file that no manifest names, which the next run removes. The
seqs stay accounted for: `verify` reports the records as removed, not as missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import Flag, Kind, Schema
from tickplant.records.schemas import DERIVED, FACTS
from tickplant.runtime.config import RetentionConfig
from tickplant.store.daily_file_writer import DailyFileWriter
from tickplant.store.daily_files import (
    DAILY_SUFFIX,
    DAY_NS,
    MANIFEST,
    DailyFile,
    Manifest,
    Span,
    daily_dir,
    day_start_ns,
    read_manifest,
    spans,
)
from tickplant.store.span_writer import NEW, write_manifest
from tickplant.writer.format.chunk_layout import producer_id
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import INDEX_SUFFIX, index_path, load_index
from tickplant.writer.journal import Files, sync_path

Records = NDArray[np.void]

SCHEMA_CHANNELS: Final[dict[str, Schema]] = {FACTS[schema].name: schema for schema in DERIVED}
"""Channels that are a schema of their own, and so have their own files. The others share the file of their symbol."""

_KINDS: Final = {
    "trade": {Kind.TRADE},
    "agg_trade": {Kind.TRADE},
    "quote": {Kind.QUOTE},
    "book": {Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM},
    "partial_book": {Kind.LEVEL, Kind.CLEAR},
    "orders": {Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL, Kind.CLEAR, Kind.CHECKSUM},
    "venue_bar": {Kind.VENUE_BAR},
    "statistic": {Kind.STATISTIC},
    "liquidation": {Kind.LIQUIDATION},
}

_FLAGS: Final = {
    "trade": (Flag.AGGREGATE, 0),
    "agg_trade": (Flag.AGGREGATE, Flag.AGGREGATE),
    "book": (Flag.PARTIAL | Flag.ON_ORDERS, 0),
    "partial_book": (Flag.PARTIAL, Flag.PARTIAL),
}
"""Mask and value of `flags` in a channel's records, where the kind alone does not tell the channel."""


class Removed(NamedTuple):
    """What was removed."""

    records: int
    bytes: int


def of_channel(ticks: Records, channel: str) -> NDArray[np.bool_]:
    """Which ticks are data of a channel. A GAP or STATUS belongs to no channel, and stays."""
    chosen = np.isin(ticks["kind"], [int(kind) for kind in _KINDS[channel]])
    if channel in _FLAGS:
        bits, value = _FLAGS[channel]
        chosen &= (ticks["flags"] & np.uint16(bits)) == value
    if channel == "orders":
        chosen &= (ticks["kind"] >= Kind.ORDER_ADD) & (ticks["kind"] <= Kind.ORDER_FILL) | (
            ticks["flags"] & np.uint16(Flag.ON_ORDERS) != 0
        )
    return chosen


class _Candidate(NamedTuple):
    """A daily file to which a rule applies."""

    span: Span
    producer: str
    schema: Schema
    file: DailyFile


class Removal:
    """Applies rules to a store. The caller must hold the compaction lock."""

    def __init__(
        self,
        data_dir: Path,
        producers: Mapping[Schema, list[str]],
        *,
        files: Files,
        beat: Callable[[], None] = lambda: None,
        level: int,
    ) -> None:
        self._data_dir = data_dir
        self._producers = producers
        self._disk = files
        self._beat = beat
        self._level = level

    def clean(self) -> None:
        """Remove files that no manifest names. Raises OSError."""
        for span, _, _ in self._spans():
            manifest = self._manifest(span)
            if manifest is None:
                continue
            named = {file.name for file in manifest.files if file.bytes}
            named |= {str(Path(name).with_suffix(INDEX_SUFFIX)) for name in named} | {MANIFEST}
            for path in sorted(span.path.iterdir()):
                if path.name not in named:
                    self._disk.remove(path)

    def apply(self, rule: RetentionConfig, now_ns: int) -> Removed:
        """Remove what a rule does not keep, oldest first, but nothing of a symbol after a day that the rule keeps.

        So no book spans removed records. Raises StoreError, OSError.
        """
        channels = [channel for channel in rule.channels if channel not in SCHEMA_CHANNELS]
        found = sorted(self._matching(rule), key=lambda one: (one.span.day, one.span.first_seq, one.file.name))
        left = sum(one.file.bytes for one in found)
        records = size = 0
        kept: set[tuple[str, Schema, str, str]] = set()
        for one in found:
            over = day_start_ns(one.span.day) + DAY_NS
            old = bool(rule.keep_days) and over + rule.keep_days * DAY_NS <= now_ns
            much = bool(rule.keep_gib) and left > rule.keep_gib * 2**30
            whose = one.producer, one.schema, one.file.venue, one.file.symbol
            # The current day stays: the next compaction may have to join it with the rest of the day.
            if not (old or much) or over > now_ns or whose in kept or (rule.exported and not one.file.exported):
                kept.add(whose)
                continue
            self._beat()
            part = channels if one.schema is Schema.TICK else []
            after = self._without(one, part) if part else _emptied(one.file)
            self._replace(one.span, one.file, after)
            left -= one.file.bytes - after.bytes
            records += after.removed - one.file.removed
            size += one.file.bytes - after.bytes
        return Removed(records, size)

    def mark_exported(self, last_day: str, venue: str = "", symbols: tuple[str, ...] = ()) -> int:
        """Mark the files of these symbols up to a day as exported; returns how many were not yet.

        Raises StoreError, OSError.
        """
        rule = RetentionConfig(venue=venue, symbols=symbols)
        found = [one for one in self._matching(rule) if one.span.day <= last_day and not one.file.exported]
        for one in found:
            self._replace(one.span, one.file, msgspec.structs.replace(one.file, exported=True))
        return len(found)

    def _spans(self) -> list[tuple[Span, str, Schema]]:
        return [
            (span, producer, schema)
            for schema, names in self._producers.items()
            for producer in names
            for span in spans(daily_dir(self._data_dir, producer, schema))
        ]

    def _manifest(self, span: Span) -> Manifest | None:
        """A span's manifest; None if it is damaged: then nothing is removed, and `verify` says why."""
        try:
            return read_manifest(span)
        except DamageError:
            return None

    def _matching(self, rule: RetentionConfig) -> list[_Candidate]:
        ticks = set(rule.channels) - set(SCHEMA_CHANNELS)
        schemas = {SCHEMA_CHANNELS[channel] for channel in rule.channels if channel in SCHEMA_CHANNELS}
        schemas |= {Schema.TICK} if ticks else set()
        found = []
        for span, producer, schema in self._spans():
            if rule.channels and schema not in schemas:
                continue
            manifest = self._manifest(span)
            for file in manifest.files if manifest else ():
                wanted = not rule.venue or file.venue == rule.venue
                wanted &= not rule.symbols or file.symbol in rule.symbols
                done = schema is Schema.TICK and bool(ticks) and ticks <= set(file.removed_channels)
                if wanted and file.bytes and not done:
                    found.append(_Candidate(span, producer, schema, file))
        return found

    def _replace(self, span: Span, before: DailyFile, after: DailyFile) -> None:
        """Replace an entry of a manifest, durably, and remove the file if the manifest no longer names it."""
        manifest = read_manifest(span)
        files = tuple(after if file.name == before.name else file for file in manifest.files)
        new = msgspec.structs.replace(manifest, files=files)
        write_manifest(span.path, new, self._disk, name=MANIFEST + NEW)
        self._disk.rename(span.path / (MANIFEST + NEW), span.path / MANIFEST)
        sync_path(span.path, self._disk, os.O_RDONLY | os.O_DIRECTORY)
        if not after.bytes or after.name != before.name:
            self._disk.remove(span.path / before.name)
            self._disk.remove(index_path(span.path / before.name))

    def _without(self, one: _Candidate, channels: Sequence[str]) -> DailyFile:
        """Write a copy of a file without the records of some channels, chunk by chunk, next to the old file.

        Raises StoreError if the old file cannot be read: then it stays.
        """
        file, path = one.file, one.span.path / one.file.name
        stem = file.name.removesuffix(DAILY_SUFFIX).partition("~r")[0]
        number = int(file.name.removesuffix(DAILY_SUFFIX).partition("~r")[2] or 0) + 1
        target = path.with_name(f"{stem}~r{number}{DAILY_SUFFIX}")
        index = load_index(path, while_reading=self._beat, within=one.span[:2])
        writer = DailyFileWriter(
            target,
            one.schema,
            one.span[:2],
            producer=producer_id(one.producer),
            level=self._level,
            files=self._disk,
            beat=self._beat,
        )
        writer.remove()  # the remains of a killed run
        decoder = ChunkDecoder()
        with path.open("rb") as opened:
            for entry in index.entries:
                header = entry["header"]
                opened.seek(int(entry["offset"]))
                records, _, _ = decoder.decode(opened.read(int(header["length_bytes"])), path=path)
                dropped = np.zeros(len(records), np.bool_)
                for channel in channels:
                    dropped |= of_channel(records, channel)
                writer.append(records[~dropped], int(header["epoch"]))
        if index.damage or sum(int(entry["header"]["rows"]) for entry in index.entries) != file.rows:
            raise StoreError("is damaged: nothing of it is removed; `tickplant verify` says more", path=path)
        removed_channels = tuple(sorted({*file.removed_channels, *channels}))
        if writer.rows == file.rows:  # there were no such records
            writer.remove()
            return msgspec.structs.replace(file, removed_channels=removed_channels)
        left = writer.finish(file.venue, file.symbol, file.instruments) if writer.rows else _emptied(file)
        return msgspec.structs.replace(
            left,
            removed=file.removed + file.rows - writer.rows,
            removed_channels=removed_channels,
            exported=file.exported,
        )


def _emptied(file: DailyFile) -> DailyFile:
    removed = file.removed + file.rows
    return msgspec.structs.replace(file, rows=0, bytes=0, checksum=0, removed=removed, removed_channels=())
