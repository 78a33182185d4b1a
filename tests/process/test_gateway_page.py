"""The examples of docs/gateway.md run as they stand, against a gateway; and its document is fuzzed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from plant_process import DEADLINE_S, DEMO, free_port, plant, wait_for

pytestmark = pytest.mark.usefixtures("unmeasured")

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- test: ([\w-]+) -->\n```(\w+)\n(.*?)```", PAGE, re.DOTALL)
ADDRESS = "http://127.0.0.1:8088"
SETTINGS = """
[gateways.web]
port = {gateway}
requests_per_s = 100000.0
connections_per_address = 1000
downloads = 100
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    text = DEMO + SETTINGS.replace("{gateway}", str(port))
    with plant(tmp_path_factory.mktemp("page"), text):
        url = f"http://127.0.0.1:{port}"
        question = f"{url}/api/v1/history/trades?venue=binance&symbol=BTCUSDT&limit=60"

        def ready() -> bool:
            try:
                return len(httpx.get(question, timeout=5).json().get("data", ())) == 60
            except httpx.TransportError:
                return False

        wait_for("stored trades", ready)
        yield url


@pytest.mark.parametrize(("name", "language", "text"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_an_example_runs(address: str, tmp_path: Path, name: str, language: str, text: str) -> None:
    assert ADDRESS in text
    text = text.replace(ADDRESS, address)
    programs = {"python": [sys.executable, "-c", text], "console": [], "javascript": ["node", "-e", text]}
    if language == "javascript" and shutil.which("node") is None:
        pytest.skip("needs node")
    commands = [programs[language]]
    if language == "console":
        commands = [["sh", "-c", line.removeprefix("$ ")] for line in text.splitlines()]
        if shutil.which("curl") is None:
            pytest.skip("needs curl")
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=tmp_path)
        assert done.returncode == 0, f"{name}: {command[-1]}\n{done.stderr}"
        assert "BTCUSDT" in done.stdout, f"{name}: {done.stdout[:500]}"


CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)


@pytest.mark.long
def test_no_question_that_the_document_allows_or_forbids_is_a_fault(address: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", f"{address}/openapi.json", "--url", address, "--max-examples", "25", "--seed", "1"),
            *("--exclude-path", "/api/v1/stream", "--no-color", "--request-timeout", "30"),
            *("--checks", ",".join(CHECKS)),
        ],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[:9000]
