"""The comparison table as a tidy frame: typed columns, the best row first."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

COUNTS = ("n_folds", "n_failed", "n_repeats", "n_cases", "n_skipped")
NUMBERS = ("mean", "sd", "ci_low", "ci_high")


def tidy(table: pd.DataFrame, directions: Mapping[str, bool | None]) -> pd.DataFrame:
    """`table.csv` with its types, the best row first within a dataset, pattern and metric.

    Args:
        table: as pandas reads it.
        directions: metric to higher_is_better; rows of a metric without direction stay in the table's order.
    """
    texts = [name for name in table.columns if name not in (*COUNTS, *NUMBERS)]
    types = dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(texts, "object")
    frame = table.astype({name: kind for name, kind in types.items() if name in table.columns})
    frame[texts] = frame[texts].fillna("")
    sign = frame["metric"].map({name: {True: -1.0, False: 1.0, None: 0.0}[up] for name, up in directions.items()})
    places = [frame[name].map({value: i for i, value in enumerate(frame[name].unique())}) for name in _GROUPS]
    keys = pd.concat([*places, frame["mean"] * sign.fillna(0.0)], axis=1, keys=range(len(_GROUPS) + 1))
    order = keys.sort_values(list(keys.columns), kind="stable", na_position="last").index
    return frame.loc[order].reset_index(drop=True)


_GROUPS = ("dataset", "pattern", "metric")
