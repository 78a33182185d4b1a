"""Rows of a table as bytes, in the form that a client accepts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pyarrow as pa

from tickplant.gateway.problems import Problem
from tickplant.records.merge import Columns
from tickplant.store.pages import cursor_text
from tickplant.store.row_files import TextFormat, write_text
from tickplant.store.rows import Rows

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
FORMS: Final = (JSON, NDJSON, CSV, ARROW)

TEXT_ROWS: Final = 1 << 14
"""Rows converted to text at once: a few MiB."""

LONG: Final = frozenset({"venue_seq", "order_id", "first_id", "last_id", "event_ns", "recv_ns"})
"""Integers that are text in JSON, since many readers keep only 53 bits."""


def form_of(accept: str) -> str:
    """The form that an Accept header asks for. Raises Problem if no form fits."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate((accept or "*/*").split(",")):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            wanted.append((-float(quality), place, name))
        except ValueError:
            continue
    for weight, _, name in sorted(wanted):
        for form in FORMS:
            if weight < 0 and (name in (form, "*/*") or (name.endswith("/*") and form.startswith(name[:-1]))):
                return form
    raise Problem(406, f"there is no {accept[:80]}: Accept may be {', '.join(FORMS)}", parameter="Accept")


_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
"""The end of an Arrow stream."""


class _Buffer:
    """A file that returns what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes | memoryview, /) -> None:
        """Keep the data."""
        self._parts.append(bytes(data))

    def take(self) -> bytes:
        """Everything written since the last call."""
        data, self._parts = b"".join(self._parts), []
        return data


def encoded(form: str, rows: Rows, blocks: Iterable[Columns], after: Mapping[str, int] | None) -> Iterator[bytes]:
    """The body, part by part; `after`: start of the next page, None after the last page."""
    if form == ARROW:
        return _arrow(rows, blocks)
    if form == JSON:
        return _json(rows, blocks, after)
    return _lines(form, rows, blocks)


def _lines(form: str, rows: Rows, blocks: Iterable[Columns]) -> Iterator[bytes]:
    buffer = _Buffer()
    text_format: TextFormat = "csv" if form == CSV else "jsonl"
    write = partial(write_text, buffer, text_format, rows.arrow_columns, rows.columns, progress=_nothing, quoted=LONG)
    write([])  # the header of CSV
    for block in _small(blocks):
        write([block], header=False)
        yield buffer.take()
    if rest := buffer.take():
        yield rest


def _json(rows: Rows, blocks: Iterable[Columns], after: Mapping[str, int] | None) -> Iterator[bytes]:
    begun = False
    for part in _lines(NDJSON, rows, blocks):
        # No value contains a bare newline, so each one ends a row.
        yield (b",\n" if begun else b'{"data":[') + part[:-1].replace(b"\n", b",\n")
        begun = True
    cursor = "null" if after is None else f'"{cursor_text(after)}"'
    yield (b"" if begun else b'{"data":[') + f'],"next":{cursor}}}\n'.encode()


def _arrow(rows: Rows, blocks: Iterable[Columns]) -> Iterator[bytes]:
    # The beginning of a stream, with the words of its dictionaries; then batches as they are, without a copy.
    sink = io.BytesIO()
    pa.ipc.new_stream(sink, rows.schema).write_batch(rows.arrow_columns.batch(rows.columns, rows.arrow_columns.nothing))
    yield sink.getvalue()
    for block in blocks:
        yield memoryview(rows.arrow_columns.batch(rows.columns, block).serialize())  # type: ignore[misc]  # behaves like bytes for a socket
    yield _END


def _small(blocks: Iterable[Columns]) -> Iterator[Columns]:
    for block in blocks:
        count = len(block["instrument"])
        for start in range(0, count, TEXT_ROWS):
            yield block if count <= TEXT_ROWS else {n: v[start : start + TEXT_ROWS] for n, v in block.items()}


def _nothing(_: int) -> Any:
    return None
