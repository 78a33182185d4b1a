"""The kernel of a schedule equals its plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.engine.moments import latest
from tickplant.records.layouts import TICK

pytestmark = pytest.mark.kernels


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_the_latest_time_is_the_greatest(times: list[int]) -> None:
    ticks = np.zeros(len(times), TICK)
    ticks["ts_recv"] = times
    assert latest(ticks["ts_recv"]) == ticks["ts_recv"].max() == max(times)
