"""Which datasets of a suite are one cohort: the same patients, perhaps read with other options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fusionbench.report.analysis import Analysis
from fusionbench.report.model import FULL, Configuration, RowKey, configuration_of, is_oracle

SHARED = 0.1
"""Share of the smaller dataset's patients from which on two datasets are one cohort."""

BY_COHORT = " (options by cohort)"
"""Stands behind the name of a model that was run once on each cohort, with other options on each."""

Patient = tuple[str, str, float, bool]
"""What tells patients apart: group, follow-up in months (to a tenth), event; ids alone repeat, as invented cohorts all
count from zero. Of classes there is no follow-up: the dataset's name stands in its place, so that two endpoints of one
dataset are one cohort."""


@dataclass(frozen=True)
class CohortRows:
    """The rows that may be pooled: one dataset for each cohort, and one row for each configuration and dataset.

    Attributes:
        rows: configuration to dataset to the row; none lacks folds.
        options: configuration whose options differ by cohort to its rows as they are written, in words.
        not_counted: datasets that hold the patients of another, or have too few outcomes, in words.
    """

    rows: Mapping[Configuration, Mapping[str, RowKey]]
    options: Mapping[Configuration, str]
    not_counted: tuple[str, ...]


def cohort_rows(analysis: Analysis, ranking: str) -> CohortRows:
    """The rows with a value of `ranking` on every planned fold, without the oracle, by configuration and cohort."""
    scored = [
        row
        for (row, *of), values in analysis.values.items()
        if values and of == [FULL, ranking] and analysis.stored.ranking(row[0]) == ranking
    ]
    complete = [row for row in scored if not is_oracle(row[1]) and analysis.lacking(row) is None]
    few = {row[0]: too_few for row in complete if (too_few := analysis.stored.too_few(row[0]))}
    complete = [row for row in complete if row[0] not in few]
    kept, twice = _counted_once(analysis.stored.targets, complete)
    not_counted = (*twice, *(f"{name} is not counted: {too_few}" for name, too_few in few.items()))
    rows: dict[Configuration, dict[str, RowKey]] = {}
    for row in complete:
        if row[0] in kept:
            rows.setdefault(configuration_of(row), {})[row[0]] = row
    options = dict(_options_by_cohort(rows))
    written = {config: _written(of.values()) for config, of in options.items()}
    return CohortRows({**rows, **options}, written, not_counted)


def _counted_once(targets: pd.DataFrame, rows: Iterable[RowKey]) -> tuple[set[str], list[str]]:
    """The dataset of each cohort with most rows (of equals the first), and the others in words."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[0]] = counts.get(row[0], 0) + 1
    kept, twice = set(), []
    for cohort in same_patients(targets, list(counts)):
        first = max(cohort, key=counts.__getitem__)
        kept.add(first)
        twice += [f"{name} holds patients of {first}: one cohort, counted once" for name in cohort if name != first]
    return kept, twice


def same_patients(targets: pd.DataFrame, datasets: Sequence[str]) -> list[list[str]]:
    """The datasets in groups that share patients, each group one cohort."""
    patients = {name: _patients(targets[targets["dataset"] == name]) for name in datasets}
    cohorts: list[list[str]] = []
    for name in datasets:
        joined = [of for of in cohorts if any(_share(patients[name], patients[other]) >= SHARED for other in of)]
        cohorts = [of for of in cohorts if of not in joined]
        cohorts.append([*(other for of in joined for other in of), name])
    return cohorts


def _patients(targets: pd.DataFrame) -> set[Patient]:
    groups, months = targets["group"].astype(str), targets["time"].astype(float).round(1)
    followed = months.notna()
    names = targets["dataset"].astype(str).str.partition("[")[0].where(~followed, "")
    events = targets["event"].where(followed, False).astype(bool)
    return set(zip(names, groups, months.fillna(-1.0), events, strict=True))


def _share(one: set[Patient], other: set[Patient]) -> float:
    return len(one & other) / max(1, min(len(one), len(other)))


def _options_by_cohort(
    rows: Mapping[Configuration, Mapping[str, RowKey]],
) -> Iterator[tuple[Configuration, dict[str, RowKey]]]:
    """Models that were run once on each of several cohorts, with other options on each: one model of another name."""
    by_name: dict[Configuration, list[RowKey]] = {}
    for (model, modalities, variant), of in rows.items():
        by_name.setdefault((model_name(model), modalities, variant), []).extend(of.values())
    for (name, modalities, variant), of_name in by_name.items():
        by_dataset = {row[0]: row for row in of_name}
        if len(by_dataset) == len(of_name) > 1 and len({row[1] for row in of_name}) > 1:
            yield (f"{name}{BY_COHORT}", modalities, variant), by_dataset


def model_name(model: str) -> str:
    """A model without its options."""
    return model.partition("[")[0].removesuffix(BY_COHORT)


def _written(rows: Iterable[RowKey]) -> str:
    return ", ".join(f"{row[1]} on {row[0]}" for row in rows)
