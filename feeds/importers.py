"""Importers: files of others, which are no lines, as the source of a feed.

An importer turns a file, or a folder of them, into events for the adapter of its venue: frames of the link FILE_LINK,
each a piece of whole records with the time of its last one. How a file is cut into pieces depends on its content
alone, not on how it is compressed. Which files are whose tells how they begin: see `find`.

    IMPORTERS: venue -> how its files begin, and `module:name` of what opens one: (path) -> Import
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

import zstandard

from tickplant.feeds.contract import Frames
from tickplant.runtime.recorded_lines import content_pieces

FILE_LINK: Final = "file"
"""Link that the frames of a file come over: what is recorded of them has the times of the file."""

HEAD_BYTES: Final = 16


class Import(Protocol):
    """A file of others, open for reading: as often as wanted, from its beginning each time."""

    path: Path
    damage: str
    """After `pieces`: where a file broke off or was spoilt, empty where none was."""

    def pieces(self) -> Iterator[tuple[int, Frames]]:
        """Time in ns, and frames. Raises FeedError where the disk fails."""
        ...


class Importer(NamedTuple):
    """How the files of a venue are known and read."""

    begins: str  # `module:name` of what tells, from the first HEAD_BYTES bytes of the content, whether a file is one
    opens: str


_DBN: Final = "tickplant.feeds.venues.databento.dbn_file"
IMPORTERS: Final[dict[str, Importer]] = {"databento": Importer(f"{_DBN}:is_dbn", f"{_DBN}:DbnFiles")}


def find(path: Path) -> str:
    """The venue whose importer reads this file, or the files of this folder; empty where there is none."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        file = next((file for file in files if file.is_file() and not file.name.startswith(".")), None)
        head = b"" if file is None else head_of(file)
    except OSError:
        return ""
    found = (venue for venue, importer in IMPORTERS.items() if _load(importer.begins)(head))
    return next(found, "") if head else ""


def open_import(venue: str, path: Path) -> Import:
    """What reads a file that `find` has recognised. Raises FeedError, which says what is wrong with the file."""
    return cast("Import", _load(IMPORTERS[venue].opens)(path))


def head_of(file: Path) -> bytes:
    """The first bytes of a file's content, decompressed where that can be done. Raises OSError."""
    with file.open("rb") as raw:
        head = raw.read(HEAD_BYTES)
        raw.seek(0)
        content = b""
        try:
            for piece in content_pieces(raw):
                content += piece
                if len(content) >= HEAD_BYTES:
                    break
        except (EOFError, zlib.error, zstandard.ZstdError):
            pass
    return content[:HEAD_BYTES] or head


def _load(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    return cast("Callable[..., object]", getattr(importlib.import_module(module), attribute))
