"""The table of faults in docs/operations.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    faults: tuple[str, ...]  # JSON, or one setting of the feed
    stored: tuple[str, ...]
    counters: tuple[str, ...]
    log: tuple[str, ...]

    @property
    def setting(self) -> dict[str, Any]:
        """The feed's own setting, if the row is about one."""
        name, _, value = self.faults[0].partition(" = ")
        return {name: float(value)} if value else {}


def table() -> list[Row]:
    """The rows, in order."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = text[text.index("| fault |") :].partition("\n\n")[0].splitlines()[2:]
    cells = [[tuple(re.findall(r"`([^`]+)`", cell)) for cell in line.strip("|").split(" | ")] for line in lines]
    return [Row(fault, stored, counters, log) for fault, _, stored, counters, log, _ in cells]


ROWS: Final = table()
