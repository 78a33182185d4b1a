"""docs/derivations.md has every indicator as it is defined."""

from __future__ import annotations

from pathlib import Path

from tickplant.derive.indicators.catalogue import INDICATORS

PAGE = Path(__file__).parents[2] / "docs" / "derivations.md"
BEGIN, END = "<!-- indicators -->\n", "<!-- end of indicators -->\n"


def table() -> str:
    lines = [
        "| indicator | over | inputs | parameters | outputs | warm-up | formula | source |",
        "|---|---|---|---|---|---:|---|---|",
    ]
    for one in INDICATORS.values():
        parameters = ", ".join(f"{part.name} {part.default:.6g}" for part in one.parameters)
        warm_up = one.warm_up([part.default for part in one.parameters])
        formula = one.formula.replace("|", "\\|").replace("*", "\\*")
        cells = [f"`{one.name}`", one.over, ", ".join(one.inputs), parameters, ", ".join(one.outputs)]
        lines.append(f"| {' | '.join(cells)} | {warm_up} | {formula} | {one.source} |")
    return "".join(f"{line}\n" for line in lines)


def test_the_table_is_that_of_the_code() -> None:
    # To make it anew: print(table()), and put that between the two marks.
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert rest.partition(END)[0] == table()
