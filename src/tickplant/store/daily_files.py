"""Daily files: what `<data>/daily` contains, the names of its files, and the manifests that describe their contents.

    DATA/daily/PRODUCER/SCHEMA/FIRST-LAST.DAY/manifest.json          what the span holds: see `Manifest`
                                              VENUE.SYMBOL.tpd       chunks, one after another, as in a journal
                                              VENUE.SYMBOL.tpx       their index: a cache
                               FIRST-LAST.DAY.new/                   a span that is being written
                               FIRST-LAST.DAY.old/                   a span that is being removed

A *span* is all records of one producer and schema from one seq to another, without a hole: the contents of one day's
journal files. The name of its folder gives both seqs. In the folder, each symbol has a file of its own, with records in
the order of their seqs. The folder gets its final name once everything in it is on disk: that rename is the commit. So
a span is there as a whole or not at all, and the name alone tells which seqs no longer need the journal.

A *stripe* is a run of consecutive seqs that were written together; its chunks are in the files of their symbols. No
chunk extends beyond a stripe, so all records from one seq to another can be read in order with one stripe in memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, NamedTuple
from urllib.parse import quote

import msgspec

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import Schema

DAILY_SUFFIX: Final = ".tpd"
MANIFEST: Final = "manifest.json"
VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 64 << 20
DAY_NS: Final = 86_400 * 10**9

_FOLDER: Final = re.compile(r"(\d{20})-(\d{20})\.(\d{4}-\d\d-\d\d)\Z", re.ASCII)
_FILE: Final = re.compile(r"[A-Za-z0-9_.~%-]{1,240}\Z", re.ASCII)
_PART_BYTES: Final = 100
_LAST_SEQ: Final = 2**62

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class DailyFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The records of one symbol in a span."""

    name: str  # of the file, in the folder of the span
    venue: str
    symbol: str
    instruments: tuple[Count, ...]  # ids of the symbol
    rows: Count  # records in the file
    bytes: Count  # size of the file; 0: there is no file, since all its records have been removed
    checksum: Count  # CRC-32 of the records, as `DTYPES[schema]`, one after another
    ts_recv_min: int = 0
    ts_recv_max: int = 0
    doubles: Count = 0  # trades that repeat a venue id of the symbol: they are kept, and counted here
    removed: Count = 0  # records removed on purpose
    removed_channels: tuple[str, ...] = ()  # the channels whose records were removed; empty: all
    exported: bool = False  # a rule of retention may require this


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a span holds. `rows` and `removed` of its files add up to its number of seqs."""

    version: int = VERSION
    producer: str
    schema: str
    day: str  # UTC
    first_seq: Count
    last_seq: Count
    stripes: tuple[Count, ...]  # first seq of each
    files: tuple[DailyFile, ...]


class Span(NamedTuple):
    """A span, as the name of its folder describes it."""

    first_seq: int
    last_seq: int
    day: str
    path: Path


class _Sealed(msgspec.Struct, frozen=True):
    crc32: str
    span: msgspec.Raw


def daily_root(data_dir: Path) -> Path:
    """Folder of all daily files of a store."""
    return data_dir / "daily"


def daily_dir(data_dir: Path, producer: str, schema: Schema) -> Path:
    """Folder of the spans of one producer and schema."""
    return daily_root(data_dir) / producer / schema.name.lower()


def span_name(first_seq: int, last_seq: int, day: str) -> str:
    """Name of a span's folder."""
    return f"{first_seq:020d}-{last_seq:020d}.{day}"


def file_name(venue: str, symbol: str) -> str:
    """Name of a symbol's file: characters that no file name can hold are percent-encoded, long names cut and hashed."""
    return f"{_part(venue)}.{_part(symbol)}{DAILY_SUFFIX}"


def _part(text: str) -> str:
    quoted = quote(text, safe="", errors="surrogatepass").replace(".", "%2E")
    if len(quoted) <= _PART_BYTES:
        return quoted
    return f"{quoted[: _PART_BYTES - 17]}~{blake2b(quoted.encode(), digest_size=8).hexdigest()}"


def day_of(time_ns: int) -> str:
    """The UTC day of a time: `2026-01-31`."""
    return f"{datetime.fromtimestamp(time_ns // DAY_NS * 86_400, UTC):%Y-%m-%d}"


def day_start_ns(day: str) -> int:
    """The start of a UTC day, nanoseconds since the epoch."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_NS


def parse_span(path: Path) -> Span | None:
    """The span that a folder's name describes; None for any other name."""
    found = _FOLDER.match(path.name)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    try:
        date.fromisoformat(found[3])
    except ValueError:
        return None
    return Span(first, last, found[3], path) if first <= last < _LAST_SEQ else None


def spans(directory: Path) -> list[Span]:
    """The spans of one producer and schema, by first seq, without those that another span contains.

    A contained span is left over from a compaction that joined it with others, and was killed before removing it.
    """
    try:
        found = [span for path in directory.iterdir() if (span := parse_span(path))]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", path=directory) from error
    kept: list[Span] = []
    for span in sorted(found, key=lambda span: (span.first_seq, -span.last_seq)):
        if not kept or span.last_seq > kept[-1].last_seq:
            kept.append(span)
    return kept


def superseded(directory: Path) -> list[Span]:
    """The spans that other spans contain."""
    kept = {span.path for span in spans(directory)}
    return [span for path in directory.iterdir() if (span := parse_span(path)) and path not in kept]


def encode_manifest(manifest: Manifest) -> bytes:
    """The contents of the manifest's file."""
    body = msgspec.json.encode(manifest)
    return msgspec.json.encode(_Sealed(f"{zlib.crc32(body):08x}", msgspec.Raw(body))) + b"\n"


def read_manifest(span: Span) -> Manifest:
    """The manifest of a span.

    Raises DamageError if the manifest is missing or damaged, StoreError if it cannot be read. If the whole folder is
    gone, since the span was joined with others meanwhile, the cause of the StoreError is a FileNotFoundError.
    """
    path = span.path / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and span.path.is_dir():
            raise DamageError("the manifest of these daily files is missing", path=path, offset=0) from None
        raise StoreError(f"cannot be read: {error.strerror}", path=path) from error
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        body = bytes(sealed.span)
        if f"{zlib.crc32(body):08x}" != sealed.crc32 or len(data) > MAX_MANIFEST_BYTES:
            raise ValueError("it does not match its checksum")
        version = msgspec.json.decode(body, type=_Version).version
        if version > VERSION:
            why = f"these daily files have version {version}, and this program reads versions up to {VERSION}"
            raise StoreError(f"{why}: update it", path=path)
        manifest = msgspec.json.decode(body, type=Manifest)
        _check(manifest, span)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DamageError(f"the manifest of these daily files is damaged: {error}", path=path, offset=0) from None
    return manifest


class _Version(msgspec.Struct):
    version: int


def _check(manifest: Manifest, span: Span) -> None:
    """Check that a manifest is plausible, since its checksum guards only against accidents. Raises ValueError."""
    if (manifest.first_seq, manifest.last_seq, manifest.day) != (span.first_seq, span.last_seq, span.day):
        raise ValueError("it belongs to another folder")
    stripes = manifest.stripes
    if not stripes or stripes[0] != span.first_seq or stripes[-1] > span.last_seq:
        raise ValueError("its stripes are not those of the span")
    if any(first >= second for first, second in pairwise(stripes)):
        raise ValueError("its stripes are out of order")
    names = [file.name for file in manifest.files]
    if len(set(names)) < len(names) or not all(_is_file(name) for name in names):
        raise ValueError("it names a file that no span has")
    if sum(file.rows + file.removed for file in manifest.files) != span.last_seq - span.first_seq + 1:
        raise ValueError("its files do not hold as many records as the span")


def _is_file(name: str) -> bool:
    return name.endswith(DAILY_SUFFIX) and bool(_FILE.match(name)) and not name.startswith(".")


def files_of(manifest: Manifest, ids: Iterable[int] | None) -> list[DailyFile]:
    """The files that may hold records of these instruments; None: of any instrument."""
    wanted = None if ids is None else frozenset(ids)
    return [
        file for file in manifest.files if file.bytes and (wanted is None or not wanted.isdisjoint(file.instruments))
    ]
