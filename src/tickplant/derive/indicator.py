"""What an indicator is: its inputs, parameters and outputs, its kernel and its plain reference.

    rsi = Indicator(name="rsi", over="bar", inputs=("close",), parameters=(Parameter("period", 14, 1),), ...)
    rsi.apply(columns, period=14)

An indicator is a function of rows alone (bars, trades, best bids and offers or samples of the book of one instrument,
in order): no clock, and no dependence on where a batch was cut, since all that a kernel remembers is in its state.
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
"""Columns that indicators may ask for. `sign` is 1 where the aggressor bought, -1 where it sold, 0 where that is not
known. `time_ns` is the venue's time, which a float64 holds to 256 ns. A price that does not exist is NaN.

Columns of a book have a number for each level, the best first, and NaN behind the last one. `bid_orders` and
`ask_orders` are how many orders there are at a price, NaN in a book by level."""

SESSION_S: Final = "session_s"
"""A parameter: the length of sessions that begin at multiples of it, UTC. 0 where they are those of a calendar, whose
opens and closes, ns, then stand behind all parameters that a kernel gets; without a calendar there is no session."""


def check_session_s(given: Mapping[str, float], sessions: str) -> None:
    """See that the length of sessions fits the calendar, if one is named. Raises DeriveError."""
    if SESSION_S in given and bool(given[SESSION_S]) == bool(sessions):
        raise DeriveError("is 0 where `sessions` names a calendar, and only there", key=SESSION_S)


def check_sessions(indicator: str, *, begins: bool) -> None:
    """Refuse `sessions` of an indicator that does not begin with sessions. Raises DeriveError."""
    if not begins:
        raise DeriveError(f"{indicator} begins with no session; vwap_session does", key="sessions")


MAX_OUTPUTS: Final = 4
MAX_PERIOD: Final = 1_000_000
"""Bound of every whole parameter, so that a state takes megabytes at the most."""


@dataclass(frozen=True)
class Parameter:
    """A number that an indicator is configured by."""

    name: str
    default: float
    least: float
    whole: bool = True

    def check(self, value: float) -> float:
        """The value. Raises DeriveError, naming the parameter, where it cannot be used."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DeriveError(f"{value!r} is not a number", key=self.name)
        if value < self.least or (self.whole and value > MAX_PERIOD):
            most = f" and at most {MAX_PERIOD}" if self.whole else ""
            raise DeriveError(f"{value:g} must be at least {self.least:g}{most}", key=self.name)
        if self.whole and value != int(value):
            raise DeriveError(f"{value:g} must be a whole number", key=self.name)
        return float(value)


def number_text(value: float) -> str:
    """A number as it stands in names: reads back as the same number."""
    return repr(float(value)).removesuffix(".0")


@dataclass(frozen=True)
class Indicator:
    """One indicator.

    A row with NaN in an input, or whose value is not defined (a divisor of 0, the logarithm of a price that is not
    positive), gives NaN and leaves the state as it was. The rows before all outputs are there give NaN in all of them.

    Attributes:
        name: as users write it.
        over: what the rows are.
        inputs: columns of `COLUMNS[over]`, in the kernel's order.
        depth: how many levels a side it looks at, given the parameters, where it is over the book; None: all.
        follows: for how many samples a hypothetical order is followed, given the parameters, where the inputs are not
            the book but what is ahead of that order: price, size and number of orders, one level a side. Its state has
            `book_samples.FOLLOWED` numbers then, which the books keep.
        parameters: in the kernel's order.
        outputs: names of the at most `MAX_OUTPUTS` values of a row.
        state_size: how many float64 the state takes, given the parameters.
        warm_up: how many rows give NaN at first, given the parameters; more where rows give no value of their own.
        kernel: `(inputs, parameters, state, out)`, float64: C-contiguous inputs (len(self.inputs), rows), over the book
            (len(self.inputs), rows, levels), of at least one level and at most `depth`; parameters
            (len(self.parameters),), the state (state_size,), which is all zeros before the first row, and C-contiguous
            out (len(self.outputs), rows), which it fills.
        reference: `(inputs, parameters)` gives what a kernel gives for all rows at once, in plain Python, from the
            definition.
        formula: in one line.
        source: who defined it, in one line.
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
        """All parameters in the kernel's order, shape (len(self.parameters),), defaults where none is given.

        Raises DeriveError for a name that is no parameter and for a value that is out of bounds.
        """
        if unknown := given.keys() - {parameter.name for parameter in self.parameters}:
            there = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise DeriveError(f"no parameter of {self.name}; choose from {there}", key=min(unknown))
        return np.array([part.check(given.get(part.name, part.default)) for part in self.parameters], np.float64)

    def label(self, parameters: Sequence[float]) -> str:
        """Name and parameters, as in `macd-12-26-9`: the text of a number reads back as the same number."""
        return "-".join([self.name, *map(number_text, parameters)])

    def start(self, parameters: Sequence[float]) -> Floats:
        """The state before the first row."""
        return np.zeros(self.state_size(parameters), np.float64)

    def warm_up_kernel(self, parameters: Floats) -> None:
        """Compile, or load, the kernel."""
        self.kernel(*self.row_of_ones(parameters))

    def row_of_ones(self, parameters: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """What the kernel takes for one row: arrays of the types that it always takes."""
        shape = (len(self.inputs), 1, 1) if self.over == "book" else (len(self.inputs), 1)
        return np.ones(shape), parameters, self.start(parameters.tolist()), np.empty((len(self.outputs), 1))

    def apply(self, columns: Mapping[str, NDArray[np.float64]], **parameters: float) -> dict[str, Floats]:
        """The outputs, by name, for all rows of the columns at once. Raises DeriveError, KeyError for a column."""
        settled = self.settle(parameters)
        inputs = np.ascontiguousarray([columns[name] for name in self.inputs], np.float64)
        out = np.empty((len(self.outputs), inputs.shape[1]))
        self.kernel(inputs, settled, self.start(settled.tolist()), out)
        return dict(zip(self.outputs, out, strict=True))
