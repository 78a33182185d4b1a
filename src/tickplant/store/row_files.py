"""Writes rows to files: Arrow, Parquet, CSV and JSON lines. A file appears whole or not at all.

Arrow and Parquet hold the columns that `arrow_columns` defines. Text has each price and size with all decimals of its
own instrument's scale.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.records.arrow_columns import ArrowColumns, bitmap
from tickplant.records.merge import Columns
from tickplant.records.schemas import PRICES, REALS, SIZES, TIMES
from tickplant.store.decimals import format_decimals

TextFormat = Literal["csv", "jsonl"]
Progress = Callable[[int], None]
"""Called with the number of rows written so far."""

SUFFIXES: Final = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


class TextFile(Protocol):
    """A destination for text."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Write whole lines of UTF-8."""
        ...


def format_of(path: Path) -> str:
    """The format that a file's suffix names. Raises StoreError for an unknown suffix."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise StoreError(f"has no known suffix; choose from {', '.join(SUFFIXES)}", path=path)
    return kind


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing. It appears under its name, durable, if the block succeeds, and otherwise not at all.

    Raises StoreError if the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror or error}", path=path) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_batches(
    file: IO[bytes], kind: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], progress: Progress
) -> int:
    """Write Parquet (zstd, one row group per batch) or an Arrow file; returns the number of rows."""
    if kind == "parquet":
        writer: Any = pq.ParquetWriter(file, schema, compression="zstd")
    else:
        writer = pa.ipc.new_file(file, schema)
    rows = 0
    with writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
            progress(rows)
    return rows


def write_text(
    file: TextFile,
    text_format: TextFormat,
    arrow: ArrowColumns,
    names: Sequence[str],
    blocks: Iterable[Columns],
    progress: Progress,
    *,
    quoted: Container[str] = (),
    header: bool = True,
) -> int:
    """Write CSV, or one JSON object per line; returns the number of rows.

    Args:
        file: the file.
        text_format: CSV or JSON lines.
        arrow: makes the columns.
        names: names of the columns.
        blocks: fields of the rows.
        progress: called with the number of rows so far.
        quoted: columns of whole numbers to write as text in JSON, whose readers may truncate long ones.
        header: whether CSV begins with a line of names.
    """
    rows = 0
    if text_format == "csv" and header:
        file.write(",".join(names).encode() + b"\n")
    for block in blocks:
        texts = [_text(arrow, name, block, text_format, in_quotes=name in quoted) for name in names]
        parts: list[Any] = []
        for place, (name, text) in enumerate(zip(names, texts, strict=True)):
            if text_format == "csv":
                parts += [",", text] if place else [text]
            else:
                parts += [f'{"," if place else "{"}"{name}":', text]
        file.write(joined_lines([*parts, "\n" if text_format == "csv" else "}\n"]))
        rows += len(texts[0])
        progress(rows)
    return rows


def joined_lines(parts: Sequence[pa.Array | str]) -> memoryview:
    """The text of lines, each joined from these parts: arrays of text, and strings that are the same in every line."""
    lines = pc.binary_join_element_wise(*parts, "")
    _, offsets, text = lines.buffers()  # each line ends with its newline, so the joined text is that of the file
    start, end = np.frombuffer(offsets, np.int32)[[lines.offset, lines.offset + len(lines)]]
    return memoryview(text)[start:end]


def decimal_text(mantissas: NDArray[np.int64], scales: NDArray[np.uint8], valid: NDArray[np.bool_]) -> pa.Array:
    """Decimals as text, each at its own scale; null if not valid."""
    offsets, data = format_decimals(mantissas, scales, valid)
    buffers = [bitmap(valid), pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(mantissas), buffers)


def _text(arrow: ArrowColumns, name: str, block: Columns, text_format: TextFormat, *, in_quotes: bool) -> pa.Array:
    """A column as the text that the file contains."""
    quoted = text_format == "jsonl"
    if arrow.is_words(name):
        indices, names = arrow.labels(name, block)
        literals = [msgspec.json.encode(text).decode() if quoted else csv_field(text) for text in names]
        text = pa.DictionaryArray.from_arrays(indices, pa.array(literals)).cast(pa.string())
        quoted = False
    elif name in TIMES:
        text = arrow.array(name, block).cast(pa.timestamp("ns")).cast(pa.string())
        text = pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", "")
    elif name in PRICES or name in SIZES:
        text = decimal_text(*arrow.numbers(name, block))
    elif name in REALS:
        # JSON cannot express NaN and infinities.
        text, quoted = pa.array(block[name], mask=~np.isfinite(block[name])).cast(pa.string()), False
    else:
        text, quoted = arrow.array(name, block).cast(pa.string()), quoted and in_quotes
    if quoted:
        text = pc.binary_join_element_wise('"', text, '"', "")
    return text.fill_null("null" if text_format == "jsonl" else "")


def csv_field(text: str) -> str:
    """A CSV field by RFC 4180, quoted if necessary."""
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in ',"\r\n') else text


def write_arrow_text(
    file: TextFile, text_format: TextFormat, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> int:
    """Write any Arrow batches as CSV with a header line, or as JSON lines; returns the number of rows.

    Times are RFC 3339 in UTC, to the nanosecond; decimals have all their digits, and are text in JSON.
    """
    rows = 0
    if text_format == "csv":
        file.write(",".join(csv_field(name) for name in schema.names).encode() + b"\n")
    for batch in batches:
        texts = [_shown(column).to_pylist() for column in batch.columns]
        if text_format == "csv":
            lines = (",".join("" if v is None else csv_field(str(v)) for v in row) for row in zip(*texts, strict=True))
        else:
            lines = (
                msgspec.json.encode(dict(zip(schema.names, row, strict=True))).decode()
                for row in zip(*texts, strict=True)
            )
        file.write("".join(f"{line}\n" for line in lines).encode())
        rows += batch.num_rows
    return rows


def _shown(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        text = column.cast(pa.timestamp("ns")).cast(pa.string())
        return pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z", "")
    return column.cast(pa.string()) if pa.types.is_decimal(column.type) or pa.types.is_date(column.type) else column
