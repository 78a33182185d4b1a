"""Which chunks a store decodes."""

from __future__ import annotations

from typing import Any

import pytest

from tickplant.writer.format.codec import ChunkDecoder


def watch_decoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First seqs of the chunks that are decoded from now on: the list grows with each."""
    seen: list[int] = []
    columns = ChunkDecoder.columns

    def watched(*arguments: Any, **options: Any) -> Any:
        found = columns(*arguments, **options)
        seen.append(found[1].first_seq)
        return found

    monkeypatch.setattr(ChunkDecoder, "columns", watched)
    return seen
