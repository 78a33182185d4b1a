"""Watches which chunks a store decodes."""

from __future__ import annotations

from typing import Any

import pytest

from tickplant.writer.format.codec import ChunkDecoder


def watch_decoding(monkeypatch: pytest.MonkeyPatch, method: str = "columns") -> list[int]:
    """First seqs of the chunks that `method` decodes from now on; the list grows with each chunk."""
    seen: list[int] = []
    decode = getattr(ChunkDecoder, method)

    def watched(*arguments: Any, **options: Any) -> Any:
        found = decode(*arguments, **options)
        seen.append(found[1].first_seq)
        return found

    monkeypatch.setattr(ChunkDecoder, method, watched)
    return seen
