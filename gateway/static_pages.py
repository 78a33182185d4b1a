"""Files of the page, from the package: read once, served with an ETag."""

from __future__ import annotations

import mimetypes
from hashlib import blake2b
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

_HASHED: Final = "assets/"
"""Vite names the files of this folder after their content."""

_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class PageFile(NamedTuple):
    """One file."""

    data: bytes
    media_type: str
    etag: str
    cache: str


class StaticPages:
    """Files by path below `/`."""

    def __init__(self, folder: Traversable | None = None) -> None:
        """Read all files, by default those of the package."""
        self._files: dict[str, PageFile] = {}
        self._read(folder or resources.files("tickplant").joinpath("gateway", "page"), "")

    def __len__(self) -> int:
        return len(self._files)

    def find(self, path: str) -> PageFile | None:
        """The file of a path; `/` is its index."""
        return self._files.get(path.strip("/") or "index.html")

    def _read(self, folder: Traversable, prefix: str) -> None:
        if not folder.is_dir():
            return
        for child in folder.iterdir():
            name = f"{prefix}{child.name}"
            if child.is_dir():
                self._read(child, f"{name}/")
            elif not child.name.endswith((".py", ".pyc")):
                data = child.read_bytes()
                ending = f".{child.name.rpartition('.')[2]}"
                media_type = _TYPES.get(ending) or mimetypes.guess_type(child.name)[0] or "application/octet-stream"
                if media_type.startswith("text/"):
                    media_type += "; charset=utf-8"
                etag = f'"{blake2b(data, digest_size=12).hexdigest()}"'
                cache = "public, max-age=31536000, immutable" if name.startswith(_HASHED) else "no-cache"
                self._files[name] = PageFile(data, media_type, etag, cache)
