"""Two models against each other on external cohorts: paired differences on the same patients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fusionbench.report.external_tests import ExternalMean, ExternalTest, difference, external_tests, standard_error
from fusionbench.report.model import CheckedFrames
from fusionbench.report.paired import adjusted, matches
from fusionbench.results.frames import Frames

DETECTABLE = 2.8
"""Standard errors that a difference needs to be found with a power of 80 % at 5 %."""


def external_pairs(
    frames: Frames,
    model_a: str,
    model_b: str,
    *,
    directions: Mapping[str, bool | None],
    seed: int,
    draws: int,
    identities: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Lines of PAIR_COLUMNS and n_cases for every external cohort on which both models were tested.

    The means are over fold models; interval and p are those of the patients' bootstrap, models fixed, as in the
    external sections of the table. Holm adjusts over the pairs of a cohort, pattern and metric.

    Args:
        frames: of a suite; those of its external cohorts are read.
    """
    if frames.external is None:
        return []
    parts = {
        name: of[of["model"].astype(str).isin({model_a, model_b})]
        for name in ("cells", "folds", "predictions")
        for of in [getattr(frames.external, name)]
    }
    if parts["folds"].empty:
        return []
    stored = CheckedFrames.of(frames, directions, identities)
    tests = external_tests(replace(frames.external, **parts), stored, {}, {}, seed=seed, draws=draws)
    families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for test in tests:
        for line in _of_test(test, model_a, model_b, directions):
            families.setdefault((line["dataset"], line["pattern"], line["metric"]), []).append(line)
    return [line for family in families.values() for line in adjusted(family)]


def _of_test(
    test: ExternalTest, model_a: str, model_b: str, directions: Mapping[str, bool | None]
) -> Iterator[dict[str, Any]]:
    rows = list(dict.fromkeys(mean.row for mean in test.means))
    for a, b in matches(rows, model_a, model_b):
        of_a, of_b = ({(m.pattern, m.metric): m for m in test.means if m.row == row} for row in (a, b))
        for place, one in of_a.items():
            if place in of_b and directions[place[1]] is not None:
                yield _line(test, one, of_b[place])


def _line(test: ExternalTest, one: ExternalMean, other: ExternalMean) -> dict[str, Any]:
    gap, p = difference(one, other)
    whole = one.whole and other.whole
    lacking = f"{min(one.models.n_folds, other.models.n_folds)} of {one.models.n_wanted} fold models"
    return {
        "dataset": f"{test.train} -> {test.test}",
        "pattern": one.pattern,
        "metric": one.metric,
        **dict(zip(("model_a", "modalities_a", "variant_a"), one.row[1:], strict=True)),
        **dict(zip(("model_b", "modalities_b", "variant_b"), other.row[1:], strict=True)),
        "mean_a": one.external.value,
        "mean_b": other.external.value,
        "difference": gap.value,
        "ci_low": gap.low,
        "ci_high": gap.high,
        "se": standard_error(one, other),
        "df": math.nan,
        "p": p,
        "detectable": DETECTABLE * standard_error(one, other),
        "n_folds": min(one.models.n_folds, other.models.n_folds),
        "n_cases": min(one.n_cases, other.n_cases),
        "reason": one.reason or other.reason or ("" if whole else lacking),
    }
