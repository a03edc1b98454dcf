"""Paired comparisons of table rows: every row against the best one, or one model against another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from fusionbench.core.errors import ResultsError, did_you_mean
from fusionbench.report.bootstrap import BootstrapDraws, bootstrap
from fusionbench.report.model import (
    PAIR_COLUMNS,
    RANKINGS,
    CheckedFrames,
    FoldCount,
    FoldKey,
    MeanKey,
    RowKey,
    row_keys,
)
from fusionbench.report.predictions import FoldPredictions, RowPattern, fold_predictions, follow_up_of, shared_cases
from fusionbench.results.frames import Frames
from fusionbench.survival.stats import (
    DRAWS,
    PairedTest,
    average_repeats,
    corrected_t_test,
    holm,
    mean_over_folds,
    percentile_interval,
)

FoldValues = Mapping[MeanKey, Mapping[FoldKey, float]]
"""Row, pattern and metric to fold to value; undefined values are absent."""


def fold_values(folds: pd.DataFrame) -> dict[MeanKey, dict[FoldKey, float]]:
    """The values of folds.csv by row, pattern and metric."""
    values: dict[MeanKey, dict[FoldKey, float]] = {}
    columns = (folds[name] for name in ("pattern", "metric", "repeat", "fold", "value"))
    for row, pattern, metric, repeat, fold, value in zip(row_keys(folds), *columns, strict=True):
        of = values.setdefault((row, str(pattern), str(metric)), {})
        if not math.isnan(value):
            of[int(repeat), int(fold)] = float(value)
    return values


def fold_mean(values: Mapping[FoldKey, float]) -> float:
    """Mean over folds, then over repeats."""
    return mean_over_folds(list(values.values()), [repeat for repeat, _ in values])


def paired_test(
    stored: CheckedFrames, row: RowKey, one: Mapping[FoldKey, float], other: Mapping[FoldKey, float]
) -> PairedTest:
    """Corrected resampled t-test over the folds that both have; published folds count once.

    A dataset with too few outcomes has a difference and no test.

    Args:
        row: whose dataset and variant say how large the training and test parts are.
    """
    shared = sorted(one.keys() & other.keys())
    gaps = np.asarray([one[fold] - other[fold] for fold in shared])
    if stored.too_few(row[0]):
        return PairedTest(fold_mean(dict(zip(shared, gaps, strict=True))), math.nan, 0, math.nan)
    plan = stored.plans[row[0], row[3]]
    if plan.published:  # repeats of published folds share their test cases and are no further samples
        gaps = average_repeats(gaps, [fold for _, fold in shared])
    return corrected_t_test(gaps, fold_mean({fold: plan.test_to_train[fold] for fold in shared}))


def comparison(
    stored: CheckedFrames,
    rows: tuple[RowKey, RowKey],
    pattern: str,
    metric: str,
    values: tuple[Mapping[FoldKey, float], Mapping[FoldKey, float]],
    draws: BootstrapDraws | None,
) -> dict[str, Any]:
    """One line of PAIR_COLUMNS, without the adjusted p."""
    (dataset, *of_a), (_, *of_b) = rows
    shared = sorted(values[0].keys() & values[1].keys())
    means = [fold_mean({fold: of[fold] for fold in shared}) for of in values]
    test = paired_test(stored, rows[0], *values)
    # draws are means over a row's own folds: they pair only where both rows have the same ones
    sample = draws if values[0].keys() == values[1].keys() else None
    return {
        "dataset": dataset,
        "pattern": pattern,
        "metric": metric,
        **dict(zip(("model_a", "modalities_a", "variant_a"), of_a, strict=True)),
        **dict(zip(("model_b", "modalities_b", "variant_b"), of_b, strict=True)),
        **dict(zip(("mean_a", "mean_b"), means, strict=True)),
        "difference": means[0] - means[1],
        **dict(zip(("ci_low", "ci_high"), _interval(sample, (rows[0], pattern), (rows[1], pattern)), strict=True)),
        **{name: getattr(test, name) for name in ("se", "df", "p", "detectable")},
        "n_folds": len(shared),
        "reason": _lacks(stored, rows[0], len(shared), test),
    }


def _lacks(stored: CheckedFrames, row: RowKey, n_common: int, test: PairedTest) -> str:
    """What a comparison lacks: folds of the plan, or a test where outcomes are too few or hardly a fold is shared."""
    count = FoldCount(n_common, len(stored.plans[row[0], row[3]].test_to_train))
    part = f"on {count}" if count.n_folds < count.n_wanted else ""
    why = "" if test.df else stored.too_few(row[0]) or "fewer than two folds in common"
    return ", ".join(filter(None, [part, why]))


def _interval(draws: BootstrapDraws | None, one: RowPattern, other: RowPattern) -> tuple[float, float]:
    """95 % interval of the difference, from the same draws of test patients."""
    if draws is None or one not in draws.draws or other not in draws.draws:
        return math.nan, math.nan
    return percentile_interval(draws.draws[one] - draws.draws[other])


def adjusted(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons with p_holm, adjusted over all of them as one family."""
    return [{**line, "p_holm": p} for line, p in zip(lines, holm([line["p"] for line in lines]), strict=True)]


def pair_frame(lines: Iterable[Mapping[str, Any]], *more: str) -> pd.DataFrame:
    """Comparisons as a frame of PAIR_COLUMNS and `more`."""
    return pd.DataFrame(list(lines), columns=[*PAIR_COLUMNS, *more])


def compare(
    frames: Frames,
    model_a: str,
    model_b: str,
    *,
    directions: Mapping[str, bool | None],
    seed: int,
    draws: int = DRAWS,
    identities: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """One model against another, wherever both were run, on the patients that both have.

    Rows with the same modalities and variant are paired; where a dataset has none, every row of the one with every row
    of the other under the same variant. Holm adjusts over the pairs of a dataset, pattern and metric.

    Args:
        model_a, model_b: as in the table, with their options.
        directions: metric to higher_is_better; a metric without direction is not compared.
        seed: of the bootstrap; the suite's.
        identities: dataset to which cohort it is; see `identities_of`.

    Returns:
        PAIR_COLUMNS and n_cases, the cases that both rows were tested on.

    Raises:
        ResultsError: if a model is not in the results, or the two never meet.
    """
    stored = CheckedFrames.of(frames, directions, identities)
    models = sorted(set(stored.cells["model"].astype(str)))
    for model in (model_a, model_b):
        if model not in models:
            raise ResultsError(did_you_mean("model of these results", model, models))
    values = {place: of for place, of in fold_values(stored.folds).items() if directions[place[2]] is not None}
    families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for line in _all_pairs(stored, model_a, model_b, values, seed, draws):
        families.setdefault((line["dataset"], line["pattern"], line["metric"]), []).append(line)
    if not families:
        raise ResultsError(f"{model_a} and {model_b} have no scored dataset and variant in common")
    return pair_frame((line for family in families.values() for line in adjusted(family)), "n_cases")


def _all_pairs(
    stored: CheckedFrames, model_a: str, model_b: str, values: FoldValues, seed: int, draws: int
) -> Iterator[dict[str, Any]]:
    rows = list(dict.fromkeys(row for row, _, _ in values))
    for dataset in dict.fromkeys(row[0] for row in rows):
        cohort = follow_up_of(stored, dataset)
        parts = fold_predictions(stored.predictions, cohort)
        for a, b in matches([row for row in rows if row[0] == dataset], model_a, model_b):
            of_a, of_b = ([part for part in parts if part.line[0] == row] for row in (a, b))
            shared = shared_cases(of_a, of_b)
            sample = bootstrap(shared, cohort, seed=seed, draws=draws)
            counts = {pattern: n_cases(shared, pattern) for pattern in {part.line[1] for part in shared}}
            both = {(p.line[1], p.fold) for p in of_a} & {(p.line[1], p.fold) for p in of_b}
            of_a, of_b = ([p for p in parts_of if (p.line[1], p.fold) in both] for parts_of in (of_a, of_b))
            whole = {p for p, n in counts.items() if n == n_cases(of_a, p) == n_cases(of_b, p)}
            for line in _of_pair(stored, (a, b), values, sample, whole):
                yield {**line, "n_cases": counts.get(line["pattern"], 0)}


def matches(rows: Sequence[RowKey], model_a: str, model_b: str) -> list[tuple[RowKey, RowKey]]:
    """Pairs of rows of the two models under one variant: on equal modality sets, or all where no sets are equal."""
    of_a, of_b = ([row for row in rows if row[1] == model] for model in (model_a, model_b))
    together = [(a, b) for a, b in product(of_a, of_b) if a[3] == b[3] and a != b]
    return [(a, b) for a, b in together if a[2] == b[2]] or together


def n_cases(parts: Sequence[FoldPredictions], pattern: str) -> int:
    """The number of different cases that were tested under a pattern."""
    return len({case for part in parts if part.line[1] == pattern for case in part.cases.tolist()})


def _of_pair(
    stored: CheckedFrames, rows: tuple[RowKey, RowKey], values: FoldValues, sample: BootstrapDraws, whole: set[str]
) -> Iterator[dict[str, Any]]:
    """Every pattern and metric that both rows have.

    Harrell's c and the AUROC are computed again on the shared patients; other metrics are taken as stored, where both
    rows have the same patients.

    Args:
        whole: patterns under which sharing leaves no patient of the common folds out.
    """
    a, b = rows
    for row, pattern, metric in values:
        if row != a or (b, pattern, metric) not in values:
            continue
        if metric in RANKINGS and (a, pattern) in sample.values:
            both = sample.values[a, pattern], sample.values[b, pattern]
            yield comparison(stored, rows, pattern, metric, both, sample)
        elif pattern in whole:
            both = values[a, pattern, metric], values[b, pattern, metric]
            yield comparison(stored, rows, pattern, metric, both, None)
        else:
            line = comparison(stored, rows, pattern, metric, ({}, {}), None)
            yield {**line, "reason": "the rows were tested on different patients, or their predictions are not stored"}
