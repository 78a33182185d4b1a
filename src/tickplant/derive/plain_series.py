"""The plain reference of `value_kernels`: the values of series over all rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Made
from tickplant.derive.row_columns import row_column, rows_of, value_records
from tickplant.derive.running_series import RunningSeries
from tickplant.derive.series import is_wanted
from tickplant.instruments import Instrument
from tickplant.records.layouts import VALUE
from tickplant.records.schemas import FACTS

Records = NDArray[np.void]


def plain_values(
    series: Iterable[RunningSeries], made: Made, instruments: Mapping[int, Instrument], line: Callable[[int], int]
) -> Records:
    """VALUE records, `seq` 0, ordered by the ticks that made the rows, then by series.

    Args:
        series: the series to compute.
        made: all records of the feed, by schema.
        instruments: instruments by id.
        line: returns the first id of the symbol that an instrument id belongs to.
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
            parts.append(value_records(own, one.rows, one.number, out))
            places.append(np.full(len(own), one.place))
    records = np.concatenate(parts)
    return records[np.lexsort((np.concatenate(places), records["source_seq"]))]
