"""Daily files whose manifests say anything, with a checksum that is right: they are read, or refused in a sentence."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_days import everything, make_day_records, parts_of, register, write_journal

from tickplant.errors import DamageError, TickplantError
from tickplant.records.layouts import Schema
from tickplant.runtime.config import RetentionConfig
from tickplant.store import daily_file_writer, segments, span_writer
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.daily_files import MANIFEST, Span, daily_dir, parse_span, read_manifest, span_name, spans
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify

DAY = "2023-12-09"


@pytest.fixture
def span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Span:
    """A span of three symbols and a few stripes; the journal is gone."""
    monkeypatch.setattr(span_writer, "STRIPE_ROWS", 20)
    monkeypatch.setattr(daily_file_writer, "CHUNK_ROWS", 5)
    register(tmp_path)
    ticks = make_day_records(Schema.TICK, 1_702_080_000 * 10**9 + np.arange(60), instruments=3)
    write_journal(tmp_path, "feed", Schema.TICK, parts_of(ticks, []))
    Compaction(tmp_path, Policy()).run()
    for path in (tmp_path / "journal" / "feed" / "tick").iterdir():
        path.unlink()
    (found,) = spans(daily_dir(tmp_path, "feed", Schema.TICK))
    return found


def read_everything(data_dir: Path) -> None:
    """Every way in which a store is read; each may raise a TickplantError and nothing else."""
    for on_damage in (None, lambda _: None):
        store = Store(data_dir, on_damage=on_damage)
        actions: list[Callable[[], object]] = [
            lambda: verify(data_dir),
            lambda: everything(data_dir),
            partial(store.book, "venue", "AAA", 2**62),
            partial(store.next_seq, "feed", Schema.TICK),
            partial(store.record, "feed", Schema.TICK, 30),
            lambda: list(store.scan()),  # noqa: B023  # called at once
            Compaction(data_dir, Policy(retention=(RetentionConfig(keep_days=1),))).run,
        ]
        for action in actions:
            with contextlib.suppress(TickplantError):
                action()


def forge(span: Span, manifest: Any) -> None:
    """Write a manifest whose checksum is right."""
    body = msgspec.json.encode(manifest)
    text = b'{"crc32":"%08x","span":%b}' % (zlib.crc32(body), body)
    (span.path / MANIFEST).write_bytes(text)


@pytest.mark.parametrize("seed", range(8))
def test_any_manifest_is_read_or_refused(span: Span, seed: int) -> None:
    chance = random.Random(seed)
    data_dir = span.path.parents[3]
    good = msgspec.to_builtins(read_manifest(span))
    values: list[Any] = [0, -1, 2**63, 2**64, "", "x", "../../lock", None, [], [0], [5, 5], {}, 1.5, True, 59, 60]
    for _ in range(6):
        made = msgspec.json.decode(msgspec.json.encode(good))
        for _ in range(chance.randint(1, 2)):
            where: Any = made if chance.random() < 0.4 else chance.choice(made["files"])
            where[chance.choice(list(where))] = chance.choice(values)
        forge(span, made)
        read_everything(data_dir)
        for path in span.path.glob("*.tpx"):
            path.unlink()


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 10_000, b"null", b'{"crc32":1}', b"\xff" * 50, b"0" * 5000])
def test_any_text_is_no_manifest(span: Span, text: bytes) -> None:
    (span.path / MANIFEST).write_bytes(text)
    with pytest.raises(DamageError, match="manifest"):
        list(Store(span.path.parents[3]).read("feed", Schema.TICK, Selection()))


def test_a_manifest_of_a_later_version_is_refused_with_a_sentence(span: Span) -> None:
    forge(span, msgspec.to_builtins(read_manifest(span)) | {"version": 2, "more": 1})
    with pytest.raises(TickplantError, match="have version 2, and this program reads versions up to 1: update it"):
        list(Store(span.path.parents[3]).read("feed", Schema.TICK, Selection()))


def test_a_stripe_that_would_fill_the_memory_is_damage(span: Span, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_STRIPE_ROWS", 30)
    everything(span.path.parents[3])
    good = msgspec.to_builtins(read_manifest(span))
    forge(span, good | {"stripes": good["stripes"][:1]})
    with pytest.raises(DamageError, match="more records than one may have"):
        list(Store(span.path.parents[3]).read("feed", Schema.TICK, Selection()))


@pytest.mark.parametrize(
    "name",
    [
        *("", "lock", "0-1." + DAY, span_name(5, 4, DAY), span_name(0, 2**63, DAY), span_name(0, 1, "2023-13-40")),
        *(span_name(0, 1, DAY) + ".new", span_name(0, 1, DAY) + "\n", "\u0660" * 20 + span_name(0, 1, DAY)[20:]),
    ],
)
def test_what_is_no_name_of_a_span_is_none(name: str) -> None:
    assert parse_span(Path("x") / name) is None
