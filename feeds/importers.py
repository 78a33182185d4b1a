"""Importers: external files that do not consist of lines, as the source of a feed.

An importer turns a file, or a folder of them, into events for the adapter of its venue: frames of the link FILE_LINK,
each a piece of whole records with the time of its last one. The division of a file into pieces depends on its content
alone, not on its compression. The first bytes of a file show which importer reads it: see `find`.

    IMPORTERS: venue -> what recognizes its files, and `module:name` of what opens one: (path) -> Import
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
"""Link of the frames of a file: records from it have the times of the file."""

HEAD_BYTES: Final = 16


class Import(Protocol):
    """An external file, open for reading any number of times, each time from its beginning."""

    path: Path
    damage: str
    """After `pieces`: where the file was truncated or damaged, empty if it is sound."""

    def pieces(self) -> Iterator[tuple[int, Frames]]:
        """Time in ns, and frames. Raises FeedError if the disk fails."""
        ...


class Importer(NamedTuple):
    """How to recognize and read the files of a venue."""

    begins: str  # `module:name` of a function: whether the first HEAD_BYTES bytes of the content are such a file's
    opens: str


_DBN: Final = "tickplant.feeds.venues.databento.dbn_file"
IMPORTERS: Final[dict[str, Importer]] = {"databento": Importer(f"{_DBN}:is_dbn", f"{_DBN}:DbnFiles")}


def find(path: Path) -> str:
    """The venue whose importer reads this file, or the files of this folder; empty if there is no such importer."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        file = next((file for file in files if file.is_file() and not file.name.startswith(".")), None)
        head = b"" if file is None else head_of(file)
    except OSError:
        return ""
    found = (venue for venue, importer in IMPORTERS.items() if _load(importer.begins)(head))
    return next(found, "") if head else ""


def open_import(venue: str, path: Path) -> Import:
    """Open a file that `find` has recognized. Raises FeedError, which says what is wrong with the file."""
    return cast("Import", _load(IMPORTERS[venue].opens)(path))


def head_of(file: Path) -> bytes:
    """The first bytes of a file's content, decompressed where possible. Raises OSError."""
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
