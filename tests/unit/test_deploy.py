"""What is deployed beside a plant names metrics and alerts that exist, as its page lists them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tickplant.gateway.metric_catalogue import METRICS

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = (DEPLOY / "prometheus" / "tickplant.rules.yml").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "tickplant.json").read_text(encoding="utf-8"))
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def named(text: str) -> set[str]:
    """Metrics that a text names, without their prefix."""
    return {name.removesuffix("_bucket") for name in re.findall(r"\btickplant_(\w+)", text)}


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    rules = named("\n".join(re.findall(r"expr: (.*)", RULES)))
    shown = named(json.dumps(DASHBOARD))
    assert len(rules) > 15 and len(shown) > 25
    assert rules | shown <= set(METRICS)


def test_the_page_lists_every_alert() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Tickplant\w+)` \|", page, re.MULTILINE) == ALERTS
    assert len(set(ALERTS)) == len(ALERTS)
    assert RULES.count("labels: {severity: ") == RULES.count("summary: ") == len(ALERTS)


def test_panels_have_places_of_their_own_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["title"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
