"""The dashboard against the types that Grafana publishes of dashboards and panels: no key that it does not know."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_sources import npm

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "tickplant.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which TypeScript knows the types."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: Grafana's types are not looked at")
    folder = tmp_path_factory.mktemp("grafana") / "types"
    shutil.copytree(ROOT / "tests" / "support" / "grafana_types", folder)
    npm(folder, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    return folder


def literals(board: dict[str, Any]) -> Iterator[str]:
    """The dashboard, and the parts of its panels, as literals: of those TypeScript refuses what it does not know."""
    yield 'import type { Dashboard, Fields, Options } from "./types.ts";'
    yield f"export const board: Dashboard = {json.dumps(board)};"
    for number, panel in enumerate(board["panels"]):
        kind, custom = panel["type"], panel["fieldConfig"]["defaults"]["custom"]
        yield f"export const options_{number}: Options[{kind!r}] = {json.dumps(panel['options'])};"
        yield f"export const fields_{number}: Fields[{kind!r}] = {json.dumps(custom)};"


def complaints(types: Path, board: dict[str, Any]) -> str:
    (types / "board.ts").write_text("\n".join(literals(board)), encoding="utf-8")
    return subprocess.run(
        ["npx", "--no-install", "tsc", "--allowImportingTsExtensions"],
        cwd=types, capture_output=True, text=True, timeout=300, check=False,
    ).stdout  # fmt: skip


def test_grafana_knows_every_key_of_the_dashboard(types: Path) -> None:
    assert complaints(types, DASHBOARD) == ""
    for change in (
        {"panels": [{**DASHBOARD["panels"][0], "grid": {}}]},
        {"panels": [{**DASHBOARD["panels"][0], "options": {"colorMode": "pink"}}]},
        {"panels": [{**DASHBOARD["panels"][0], "type": "statistic"}]},
    ):
        assert "error TS" in complaints(types, {**DASHBOARD, **change}), change
