"""Tests here start processes: each is to leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from children import fork_server
from page_plant import PagePlant
from page_sources import installed
from plant_process import wait_for
from remains import Remains, Watch


@pytest.fixture(scope="session", autouse=True)
def _children(watch: Watch) -> None:
    """What forks children is there before the first test, with the environment of all of them."""
    pid = fork_server().pid
    # A process that begins a program has no command line for a moment, in which nobody sees it.
    wait_for("the fork server", lambda: pid in {process for process, _ in watch.now().processes})


@pytest.fixture(autouse=True)
def leaves_nothing(left_behind: Callable[[], Remains]) -> None:
    """At the end of each test, not only of each module."""


@pytest.fixture(scope="session")
def page_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the gateway's page, with what they need."""
    return installed(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def page(running: PagePlant) -> Iterator[Callable[..., Any]]:
    """Opens pages of the module's plant, and holds at the end that none of them had an error."""
    opened: list[Any] = []
    running.complaints.clear()

    def opener(*words: str, **options: Any) -> Any:
        opened.append(running.open(*words, **options))
        return opened[-1]

    yield opener
    for one in opened:
        one.context.close()
    assert running.complaints == []
