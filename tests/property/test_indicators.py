"""Every indicator equals its plain reference, and gives the same to the last bit however its rows are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.derive.indicator import Indicator
from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.made_rows import made_inputs, run
from tickplant.derive.running_series import with_sessions

pytestmark = pytest.mark.kernels

EACH = pytest.mark.parametrize("indicator", INDICATORS.values(), ids=lambda one: str(one.name))

ATOL = {"roll": 1e-7, "cci": 1e-9}
"""Absolute bounds: of the root of a difference whose error of 1e-16 may be all that there is; of values of hundreds."""


def parameters_of(indicator: Indicator, draw: st.DataObject | None = None) -> np.ndarray:
    """The defaults where nothing is drawn, shorter ones otherwise."""
    if draw is None:
        return indicator.settle({})
    short = {
        one.name: draw.draw(st.integers(int(one.least), int(one.least) + 6))
        for one in indicator.parameters
        if one.whole
    }
    return indicator.settle(short)


@EACH
@settings(max_examples=25)
@given(st.integers(0, 90), st.integers(0, 2**32), st.booleans(), st.lists(st.integers(0, 90), max_size=5), st.data())
def test_the_kernel_equals_the_reference_for_any_cuts(
    indicator: Indicator, rows: int, seed: int, ties: bool, cuts: list[int], draw: st.DataObject
) -> None:
    parameters = parameters_of(indicator, draw)
    inputs = made_inputs(indicator, parameters, rows, seed, ties=ties)
    if indicator.name == "vwap_session" and draw.draw(st.booleans()):
        # With sessions of a calendar, which begin and end at the time of a trade, some where another one ends.
        times = np.sort(np.random.default_rng(seed).choice(inputs[2], min(rows, 8) // 2 * 2)) if rows else np.zeros(0)
        parameters[0] = 0
        parameters = with_sessions(parameters, times.astype(np.int64).reshape(-1, 2))
    found = run(indicator, inputs, parameters)
    assert found.tobytes() == run(indicator, inputs, parameters, sorted(c for c in cuts if c <= rows)).tobytes()
    expected = indicator.reference(inputs, parameters.tolist())
    atol = ATOL.get(indicator.name, 1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=atol, equal_nan=True)


@EACH
def test_values_begin_after_the_warm_up_and_are_complete(indicator: Indicator) -> None:
    parameters = parameters_of(indicator)
    found = run(indicator, made_inputs(indicator, parameters, 150), parameters)
    missing = np.isnan(found)
    assert (missing.all(axis=0) == missing.any(axis=0)).all()
    assert missing[0, : indicator.warm_up(parameters.tolist())].all()
    assert not missing[0, indicator.warm_up(parameters.tolist())]


@EACH
def test_the_state_has_the_size_that_is_said(indicator: Indicator) -> None:
    # One float more, and a sentinel behind: what a kernel writes out of bounds would be seen, JIT on or off.
    parameters = parameters_of(indicator)
    size = indicator.state_size(parameters.tolist())
    room = np.zeros(size + 1)
    room[size] = 4711.0
    inputs = made_inputs(indicator, parameters, 100)
    out = np.empty((len(indicator.outputs), 100))
    indicator.kernel(inputs, parameters, room[:size], out)
    assert room[size] == 4711.0
    np.testing.assert_array_equal(out, run(indicator, inputs, parameters))
