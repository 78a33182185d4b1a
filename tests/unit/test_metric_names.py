"""The names of metrics: the table of docs/gateway.md is the catalogue, to the word."""

from __future__ import annotations

import re
from pathlib import Path

from tickplant.gateway.metric_catalogue import COUNTED, METRICS, PREFIX

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `tickplant_(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_the_page_lists_every_metric_as_it_is() -> None:
    listed = [(name, kind, labels, about) for name, kind, labels, about in ROW.findall(PAGE)]
    assert listed == [
        (name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.about)
        for name, metric in METRICS.items()
    ]


def test_names_say_what_they_are() -> None:
    assert PREFIX == "tickplant_"
    for name, metric in METRICS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or name.endswith("_seconds")
        assert metric.about.endswith(".")


def test_what_is_counted_has_a_metric_of_its_own() -> None:
    names = [name for of_role in COUNTED.values() for name in of_role.values()]
    assert len(set(names)) == len(names)
    for role, of_role in COUNTED.items():
        for name in of_role.values():
            assert METRICS[name].labels[0] == "process"
            assert name.startswith((f"{role}_", "stage_"))
