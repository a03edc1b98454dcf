"""The rows of a table on external cohorts, on a terminal: a line a row, a column a cohort."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import pandas as pd
from rich.text import Text

from fusionbench.cli.fitted import GAP, fitted_lines
from fusionbench.report.ranking import TIED

NAMES = ("model", "modalities", "variant")
_ONE_OPTION = re.compile(r"([^\[]+)\[(\w+)=([^,\]]+)\]")
LEAST_NAMES = 34
"""Columns that the names of a row keep at least."""


def external_lines(external: pd.DataFrame, kept: pd.DataFrame, width: int) -> Iterator[Text]:
    """The kept rows of a dataset with their means on each cohort; cohorts that do not fit are counted.

    Args:
        external: lines of table.external.csv of the dataset, one metric and one pattern.
        kept: lines of table.csv that are shown.
    """
    cohorts = list(dict.fromkeys(external["external"].astype(str)))
    if not cohorts:
        return
    labels = _short(cohorts)
    shown = _fitting(labels, width)
    names = [name for name in NAMES if name != "variant" or kept[name].nunique() > 1]
    found = {
        (*of[:3], of[3]): (of[4], of[5])
        for of in external[["model", "modalities", "variant", "external", "mean", "tie_group"]].itertuples(
            index=False, name=None
        )
    }
    lines = []
    for record in kept[list(NAMES)].to_dict("records"):
        row = tuple(record[name] for name in NAMES)
        cells = [_cell(found.get((*row, cohort))) for cohort in cohorts[:shown]]
        lines.append([*(str(record[name]) for name in names), *cells])
    numeric = set(range(len(names), len(names) + shown))
    yield Text("on other cohorts, mean over the fold models", "dim")
    yield from fitted_lines([*names, *labels[:shown]], lines, width, fixed=numeric, right=numeric)
    if shown < len(cohorts):
        yield Text(f"and {len(cohorts) - shown} more cohorts: table.external.csv", "dim")


def _cell(found: tuple[float, object] | None) -> str:
    if found is None or math.isnan(found[0]):
        return "-  "
    return f"{found[0]:.3f}" + (f" {TIED}" if found[1] == TIED else "  ")


def _fitting(labels: Sequence[str], width: int) -> int:
    """How many columns of cohorts have room beside the names; at least one."""
    room, shown = width - LEAST_NAMES, 0
    for label in labels:
        room -= max(len(label), 7) + GAP
        shown += room >= 0
    return max(1, shown)


def _short(cohorts: Sequence[str]) -> list[str]:
    """The cohorts' names; of one dataset with one option each its values: `x`, `y` of `a[site=x]`, `a[site=y]`."""
    parts = [_ONE_OPTION.fullmatch(name) for name in cohorts]
    found = [part.groups() for part in parts if part is not None]
    same = len(found) == len(cohorts) > 1 and len({(name, key) for name, key, _ in found}) == 1
    return [value for _, _, value in found] if same else list(cohorts)
