"""The definition of an indicator: inputs, parameters and outputs, a kernel and its plain reference.

    rsi = Indicator(name="rsi", over="bar", inputs=("close",), parameters=(Parameter("period", 14, 1),), ...)
    rsi.apply(columns, period=14)

An indicator is a function of rows alone (bars, trades, best bids and offers or book samples of one instrument, in
order). It does not depend on a clock or on where batches are cut, since all that a kernel remembers is in its state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DeriveError

Floats: TypeAlias = NDArray[np.float64]
Over = Literal["bar", "trade", "bbo", "book"]
Kernel = Callable[[Floats, Floats, Floats, Floats], None]
Reference = Callable[[Floats, Sequence[float]], Floats]
Count = Callable[[Sequence[float]], int]

COLUMNS: Final[dict[Over, tuple[str, ...]]] = {
    "bar": ("open", "high", "low", "close", "volume", "buy_volume", "trades"),
    "trade": ("price", "size", "sign", "time_ns"),
    "bbo": ("bid", "ask", "bid_size", "ask_size"),
    "book": ("bid_price", "bid_size", "bid_orders", "ask_price", "ask_size", "ask_orders"),
}
"""Columns that indicators may use as inputs. `sign` is 1 if the aggressor bought, -1 if it sold, 0 if unknown.
`time_ns` is the venue's time, which a float64 holds to 256 ns. A missing price is NaN.

Columns of a book have a number for each level, best first, and NaN after the last level. `bid_orders` and `ask_orders`
count the orders at each price; they are NaN in a book by level."""

SESSION_S: Final = "session_s"
"""A parameter: the length of sessions, which begin at multiples of it, UTC. With 0 the sessions are a calendar's, and
their opens and closes, ns, follow the parameters that a kernel gets. With 0 and no calendar there are no sessions."""


def check_session_s(given: Mapping[str, float], sessions: str) -> None:
    """Check that `session_s` is 0 exactly if a calendar is named. Raises DeriveError."""
    if SESSION_S in given and bool(given[SESSION_S]) == bool(sessions):
        raise DeriveError("is 0 where `sessions` names a calendar, and only there", key=SESSION_S)


def check_sessions(indicator: str, *, begins: bool) -> None:
    """Refuse `sessions` for an indicator that does not restart with each session. Raises DeriveError."""
    if not begins:
        raise DeriveError(f"{indicator} begins with no session; vwap_session does", key="sessions")


MAX_OUTPUTS: Final = 4
MAX_PERIOD: Final = 1_000_000
"""Upper bound of every whole parameter, so that a state takes megabytes at most."""


@dataclass(frozen=True)
class Parameter:
    """A number that configures an indicator."""

    name: str
    default: float
    least: float
    whole: bool = True

    def check(self, value: float) -> float:
        """Return the value. Raises DeriveError, which names the parameter, if the value is invalid."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DeriveError(f"{value!r} is not a number", key=self.name)
        if value < self.least or (self.whole and value > MAX_PERIOD):
            most = f" and at most {MAX_PERIOD}" if self.whole else ""
            raise DeriveError(f"{value:g} must be at least {self.least:g}{most}", key=self.name)
        if self.whole and value != int(value):
            raise DeriveError(f"{value:g} must be a whole number", key=self.name)
        return float(value)


def number_text(value: float) -> str:
    """A number as written in names; it reads back as the same number."""
    return repr(float(value)).removesuffix(".0")


@dataclass(frozen=True)
class Indicator:
    """One indicator.

    A row that has NaN in an input, or whose value is undefined (a divisor of 0, the logarithm of a price that is not
    positive), gives NaN and leaves the state unchanged. Until every output has a value, all outputs are NaN.

    Attributes:
        name: as users write it.
        over: the kind of rows.
        inputs: columns of `COLUMNS[over]`, in the kernel's order.
        depth: given the parameters, how many levels per side an indicator over the book reads; None: all.
        follows: set if the inputs are not the book but the queue ahead of a hypothetical order: price, size and number
            of orders, one level per side. Returns, given the parameters, for how many samples that order is followed.
            The state then has `book_samples.FOLLOWED` numbers, which the books keep.
        parameters: in the kernel's order.
        outputs: names of a row's values, at most `MAX_OUTPUTS`.
        state_size: given the parameters, how many float64 the state takes.
        warm_up: given the parameters, how many rows give NaN at first; more if some rows have no value of their own.
        kernel: `(inputs, parameters, state, out)`, float64: C-contiguous inputs (len(self.inputs), rows) or, over the
            book, (len(self.inputs), rows, levels) with 1 to `depth` levels; parameters (len(self.parameters),); the
            state (state_size,), all zeros before the first row; and C-contiguous out (len(self.outputs), rows), which
            the kernel fills.
        reference: `(inputs, parameters)` returns what the kernel gives for all rows at once, in plain Python, from the
            definition.
        formula: the definition, in one line.
        source: who defined the indicator, in one line.
    """

    name: str
    over: Over
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    state_size: Count
    warm_up: Count
    kernel: Kernel
    reference: Reference
    formula: str
    source: str
    depth: Count | None = None
    follows: Count | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.inputs if name not in COLUMNS[self.over]]:
            raise ValueError(f"indicator {self.name}: unknown column {unknown[0]} over {self.over}")
        if not 1 <= len(self.outputs) <= MAX_OUTPUTS:
            raise ValueError(
                f"indicator {self.name}: {len(self.outputs)} outputs, but at most {MAX_OUTPUTS} are allowed"
            )

    def settle(self, given: Mapping[str, float]) -> Floats:
        """All parameters in the kernel's order, shape (len(self.parameters),), with defaults for those not given.

        Raises DeriveError for an unknown name and for a value out of bounds.
        """
        if unknown := given.keys() - {parameter.name for parameter in self.parameters}:
            there = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise DeriveError(f"no parameter of {self.name}; choose from {there}", key=min(unknown))
        return np.array([part.check(given.get(part.name, part.default)) for part in self.parameters], np.float64)

    def label(self, parameters: Sequence[float]) -> str:
        """Name and parameters, as in `macd-12-26-9`; each number reads back as the same number."""
        return "-".join([self.name, *map(number_text, parameters)])

    def start(self, parameters: Sequence[float]) -> Floats:
        """The state before the first row."""
        return np.zeros(self.state_size(parameters), np.float64)

    def warm_up_kernel(self, parameters: Floats) -> None:
        """Compile, or load, the kernel."""
        self.kernel(*self.row_of_ones(parameters))

    def row_of_ones(self, parameters: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """The kernel's arguments for one row: arrays of the types that it always takes."""
        shape = (len(self.inputs), 1, 1) if self.over == "book" else (len(self.inputs), 1)
        return np.ones(shape), parameters, self.start(parameters.tolist()), np.empty((len(self.outputs), 1))

    def apply(self, columns: Mapping[str, NDArray[np.float64]], **parameters: float) -> dict[str, Floats]:
        """The outputs, by name, for all rows of the columns. Raises DeriveError; KeyError for a missing column."""
        settled = self.settle(parameters)
        inputs = np.ascontiguousarray([columns[name] for name in self.inputs], np.float64)
        out = np.empty((len(self.outputs), inputs.shape[1]))
        self.kernel(inputs, settled, self.start(settled.tolist()), out)
        return dict(zip(self.outputs, out, strict=True))
