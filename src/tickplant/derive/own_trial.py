"""Checks that a user's indicator keeps the contract of `indicator.Indicator`, on generated rows before real ones.

Run it in a process of its own, with `NUMBA_BOUNDSCHECK=1`: the code under trial may never return, or end the process.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from tickplant.derive.indicator import Floats, Indicator
from tickplant.derive.made_rows import made_inputs, run
from tickplant.derive.own_indicators import said
from tickplant.errors import DeriveError

ROWS: Final = 400
CUTS: Final[tuple[list[int], ...]] = ([], [1], [7, 8, 150], list(range(0, ROWS, 23)))
RTOL: Final = 1e-6
ATOL: Final = 1e-9
SENTINEL: Final = 4711.0


def try_out(indicator: Indicator, parameters: Floats) -> None:
    """Try an indicator with these parameters. Raises DeriveError, which says how it breaks the contract."""
    try:
        _try(indicator, parameters)
    except DeriveError:
        raise
    except (Exception, SystemExit) as error:
        raise DeriveError(f"raised {said(error)}", key=indicator.name) from error


def _try(indicator: Indicator, parameters: Floats) -> None:
    def broken(why: str) -> DeriveError:
        return DeriveError(why, key=indicator.name)

    size = indicator.state_size(parameters.tolist())
    if not isinstance(size, int) or size < 0:
        raise broken(f"its state_size gives {size!r}, which is not a count of float64 values")
    depth = indicator.depth(parameters.tolist()) if indicator.depth else 1
    if not isinstance(depth, int) or depth < 1:
        raise broken(f"its depth gives {depth!r}, which is not a number of levels")
    warm_up = indicator.warm_up(parameters.tolist())
    seen = False
    for ties in (False, True):
        inputs = made_inputs(indicator, parameters, ROWS, ties=ties)
        kept, settled = inputs.copy(), parameters.copy()
        found = run(indicator, inputs, parameters)
        if inputs.tobytes() != kept.tobytes() or parameters.tobytes() != settled.tobytes():
            raise broken("the kernel writes to its inputs or parameters")
        for cuts in CUTS:
            if run(indicator, inputs, parameters, cuts).tobytes() != found.tobytes():
                raise broken("its values depend on where rows are cut: the state must hold all it remembers")
        if _filled(indicator, inputs, parameters).tobytes() != found.tobytes():
            raise broken("the kernel leaves a part of `out` or of the state's bounds unset or overwritten")
        missing = np.isnan(found)
        if np.isinf(found).any():
            raise broken("a value is infinite: what has no value is NaN")
        if (missing.all(axis=0) != missing.any(axis=0)).any():
            raise broken("a row has NaN in some outputs and values in others")
        if not missing[0, :warm_up].all():
            raise broken(f"the first {warm_up} rows have values, which its warm_up says they do not")
        seen |= not missing.all()
        expected = indicator.reference(inputs, parameters.tolist())
        if np.shape(expected) != found.shape:
            raise broken(f"its reference gives the shape {np.shape(expected)}, the kernel {found.shape}")
        close = np.isclose(found, expected, rtol=RTOL, atol=ATOL, equal_nan=True).all(axis=0)
        if not close.all():
            row = int(np.flatnonzero(~close)[0])
            raise broken(f"made row {row} is {found[:, row]} by the kernel, {expected[:, row]} by the reference")
    if not seen and warm_up < ROWS:
        raise broken(f"{ROWS} made rows give no value at all, with a warm-up of {warm_up}")


def _filled(indicator: Indicator, inputs: Floats, parameters: Floats) -> Floats:
    """The kernel's values in an `out` that was not empty; all NaN if the kernel wrote past the end of the state."""
    size = indicator.state_size(parameters.tolist())
    room = np.zeros(size + 1)
    room[size] = SENTINEL
    out = np.full((len(indicator.outputs), inputs.shape[1]), math.pi)
    indicator.kernel(inputs, parameters, room[:size], out)
    return out if room[size] == SENTINEL else np.full_like(out, np.nan)
