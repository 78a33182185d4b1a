"""Tests here start processes: each is to leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from children import fork_server
from page_sources import installed
from remains import Remains


@pytest.fixture(scope="session", autouse=True)
def _children(runtime_dir: Path) -> None:
    """What forks children is there before the first test, with the environment of all of them."""
    fork_server()


@pytest.fixture(autouse=True)
def leaves_nothing(left_behind: Callable[[], Remains]) -> None:
    """At the end of each test, not only of each module."""


@pytest.fixture(scope="session")
def page_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the gateway's page, with what they need."""
    return installed(tmp_path_factory.mktemp("sources"))
