"""Tests here start processes: each is to leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from remains import Remains


@pytest.fixture(autouse=True)
def leaves_nothing(left_behind: Callable[[], Remains]) -> None:
    """At the end of each test, not only of each module."""
