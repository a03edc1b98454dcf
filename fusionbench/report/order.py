"""The order of a table's rows for readers: within a set of modalities the best row first; and the tidy table."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fusionbench.report.ranking import primary_metrics
from fusionbench.results.frames import ROW

COUNTS = ("n_folds", "n_failed", "n_repeats", "n_cases", "n_skipped")
NUMBERS = ("mean", "sd", "ci_low", "ci_high")


def best_first(rows: pd.DataFrame, directions: Mapping[str, bool | None]) -> pd.DataFrame:
    """The lines of a table sorted by dataset, pattern, set of modalities, and the primary metric of the dataset.

    Datasets, patterns, sets and metrics keep the order in which they appear. Rows that lack folds stand below those
    that do not, rows without a mean last; rows with equal means keep their order.

    Args:
        rows: TABLE_COLUMNS.
        directions: metric to higher_is_better, in the suite's order.
    """
    if rows.empty:
        return rows
    primary = rows["dataset"].astype(str).map(primary_metrics(rows, directions))
    key = pd.DataFrame({name: _appearance(rows[name]) for name in ("dataset", "pattern", "modalities", "metric")})
    place = [*ROW, "pattern"]
    of_primary = rows.loc[rows["metric"] == primary, [*place, "mean", "n_folds"]].drop_duplicates(place)
    score = rows[place].merge(of_primary, how="left", on=place).set_index(rows.index)
    most = score.groupby([rows["dataset"], rows["variant"], rows["pattern"]])["n_folds"].transform("max")
    key["lacks"] = (score["n_folds"] < most).astype(int)
    key["mean"] = score["mean"] * primary.map(lambda metric: -1 if directions.get(metric) else 1)
    key["row"] = rows.groupby(ROW, sort=False).ngroup()
    order = key.sort_values(
        ["dataset", "pattern", "modalities", "lacks", "mean", "row", "metric"], kind="stable", na_position="last"
    )
    return rows.loc[order.index]


def tidy(table: pd.DataFrame, directions: Mapping[str, bool | None]) -> pd.DataFrame:
    """`table.csv` in the order of `best_first`, with typed columns: counts Int64, numbers float64, the rest text.

    Args:
        table: as pandas reads it.
        directions: metric to higher_is_better, in the suite's order.
    """
    texts = [name for name in table.columns if name not in (*COUNTS, *NUMBERS)]
    types = dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(texts, "object")
    frame = table.astype({name: kind for name, kind in types.items() if name in table.columns})
    frame[texts] = frame[texts].fillna("")
    return best_first(frame, directions).reset_index(drop=True)


def _appearance(column: pd.Series[str]) -> pd.Series[int]:
    """The position of each value among the different values, in order of appearance."""
    return pd.Series(pd.factorize(column)[0], index=column.index)
