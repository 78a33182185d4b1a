"""The plain reference of `value_kernels`: the values of series over all rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Made
from tickplant.derive.indicator import MAX_OUTPUTS
from tickplant.derive.row_columns import row_column, rows_of
from tickplant.derive.series import is_wanted
from tickplant.derive.value_stream import RunningSeries
from tickplant.instruments import Instrument
from tickplant.records.layouts import VALUE, Schema
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]

_MADE_BY: Final = {schema: "seq" if schema is Schema.TICK else "source_seq" for schema in Schema}


def plain_values(
    series: Iterable[RunningSeries], made: Made, instruments: Mapping[int, Instrument], line: Callable[[int], int]
) -> Records:
    """VALUE records, `seq` 0, in the order of the ticks that made the rows and of the series.

    Args:
        series: which ones.
        made: the records of all times.
        instruments: by id.
        line: gives the first id of the symbol that an id is of.
    """
    units = np.ones((2, max(instruments) + 1))
    for id_, row in instruments.items():
        units[:, id_] = 10.0**row.price_scale, 10.0**row.size_scale
    parts, places = [np.zeros(0, VALUE)], [np.zeros(0, np.int64)]
    for one in series:
        rows = rows_of(one.rows, made[one.rows])
        if one.rows_of:
            rows = rows[rows[FACTS[one.rows].series] == one.rows_of]
        for first in {line(id_) for id_ in instruments}:
            ids = [id_ for id_ in instruments if line(id_) == first]
            own = rows[np.isin(rows["instrument"], ids)]
            if not len(own) or not is_wanted(one.symbols, instruments[first].venue, instruments[first].symbol):
                continue
            columns = [row_column(own, name, *units) for name in one.indicator.inputs]
            out = np.empty((len(one.indicator.outputs), len(own)))
            state = one.indicator.start(one.parameters.tolist())
            one.indicator.kernel(np.ascontiguousarray(columns), one.parameters, state, out)
            parts.append(_records(one, own, out))
            places.append(np.full(len(own), one.place))
    records = np.concatenate(parts)
    return records[np.lexsort((np.concatenate(places), records["source_seq"]))]


def _records(one: RunningSeries, rows: Records, out: NDArray[np.float64]) -> Records:
    records = np.zeros(len(rows), VALUE)
    for name in ("ts_event", "ts_recv", "instrument"):
        records[name] = rows[name]
    records["source_seq"] = rows[_MADE_BY[one.rows]]
    records["series"] = one.number
    for output in range(MAX_OUTPUTS):
        records[f"value_{output + 1}"] = out[output] if output < len(out) else np.nan
    return records
