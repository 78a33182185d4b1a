"""Tables as lines of text that fit a width: columns are cut, never dropped, and a note has a line of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tickplant.plant.figures import Column, Row, Table

SPACES: Final = 2
"""Spaces between two columns; one if the table is too wide."""
CUT: Final = "…"


def lines_of(table: Table, width: int, *, marked: int | None = None) -> tuple[Text, list[list[Text]]]:
    """The heading, and the lines of each row: its cells and its note, if any.

    Args:
        table: what to show.
        width: letters of a line. Columns that may be cut are cut until all fit; anything still too long is truncated.
        marked: the column whose title is highlighted because rows are sorted by it.
    """
    widths, space = _widths(table, width)
    titles = [
        Text(_fit(column.title, size, right=column.right), style="reverse" if at == marked else "bold")
        for at, (column, size) in enumerate(zip(table.columns, widths, strict=True))
    ]
    rows = [_row_lines(row, table.columns, widths, space, width) for row in table.rows]
    return _joined(titles, space, width), rows


def _row_lines(row: Row, columns: Sequence[Column], widths: list[int], space: int, width: int) -> list[Text]:
    styles = row.styles + ("",) * (len(row.cells) - len(row.styles))
    cells = [
        Text(_fit(cell, size, right=column.right), style=style)
        for cell, column, size, style in zip(row.cells, columns, widths, styles, strict=True)
    ]
    lines = [_joined(cells, space, width)]
    if row.note:
        lines.append(Text("  " + _cut(row.note, max(1, width - 2)), style="yellow"))
    return lines


def _widths(table: Table, width: int) -> tuple[list[int], int]:
    """Width of each column, and of the space between two."""
    widths = [
        max([cell_len(column.title), *(cell_len(row.cells[at]) for row in table.rows)])
        for at, column in enumerate(table.columns)
    ]
    gaps = len(widths) - 1
    if sum(widths) + SPACES * gaps <= width:
        return widths, SPACES
    over = sum(widths) + gaps - width
    for at, column in enumerate(table.columns):
        if over > 0 and column.least:
            less = min(over, max(0, widths[at] - column.least))
            widths[at] -= less
            over -= less
    return widths, 1


def _joined(cells: list[Text], space: int, width: int) -> Text:
    line = Text(" " * space).join(cells)
    line.truncate(width)
    line.rstrip()
    return line


def _fit(text: str, size: int, *, right: bool) -> str:
    text = _cut(text, size)
    return " " * (size - cell_len(text)) + text if right else set_cell_size(text, size)


def _cut(text: str, size: int) -> str:
    return text if cell_len(text) <= size else set_cell_size(text, size - 1) + CUT
