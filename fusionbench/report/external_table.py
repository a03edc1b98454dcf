"""table.external.csv: every row of a table on every external cohort, and the same as lines of table.csv for MLflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from fusionbench.report.external_tests import ExternalMean, ExternalTest
from fusionbench.report.mlflow.names import PATTERN
from fusionbench.report.model import FULL, TABLE_COLUMNS
from fusionbench.report.ranking import TIED

EXTERNAL_COLUMNS = (
    *("dataset", "external", "model", "modalities", "variant", "pattern", "metric", "mean", "sd", "ci_low", "ci_high"),
    *("ensemble", "ensemble_low", "ensemble_high", "internal", "fall", "fall_low", "fall_high"),
    *("behind", "behind_low", "behind_high", "p", "p_holm", "tie_group", "n_models", "n_cases", "n_prior", "reason"),
)
"""Of table.external.csv: `dataset` is the cohort that the models were fitted on, `external` the one they predict; the
others as in `ExternalMean`."""


def external_frame(tests: Iterable[ExternalTest]) -> pd.DataFrame:
    """EXTERNAL_COLUMNS of all rows."""
    lines = [_line(test, mean) for test in tests for mean in test.means]
    return pd.DataFrame(lines, columns=list(EXTERNAL_COLUMNS))


def _line(test: ExternalTest, mean: ExternalMean) -> dict[str, Any]:
    about = dict(zip(("dataset", "model", "modalities", "variant"), mean.row, strict=True))
    estimates = {"": mean.external, "ensemble": mean.ensemble, "fall": mean.fall, "behind": mean.behind}
    numbers: dict[str, float] = {}
    for name, of in estimates.items():
        parts = (f"{name}_low", f"{name}_high") if name else ("ci_low", "ci_high")
        numbers |= {name or "mean": of.value, parts[0]: of.low, parts[1]: of.high}
    return {
        **about,
        **numbers,
        "external": test.test,
        "pattern": mean.pattern,
        "metric": mean.metric,
        "sd": mean.sd,
        "internal": mean.internal,
        "p": mean.p,
        "p_holm": mean.p_holm,
        "tie_group": TIED if mean.tied else "",
        "n_models": mean.models.n_folds,
        "n_cases": mean.n_cases,
        "n_prior": mean.n_prior,
        "reason": mean.reason,
    }


def as_table_rows(external: pd.DataFrame) -> pd.DataFrame:
    """Lines of table.external.csv as lines of table.csv, of pattern `external:<dataset>` or `external:<dataset>:half`.

    Args:
        external: EXTERNAL_COLUMNS, as pandas reads them.
    """
    made = pd.DataFrame({name: external.get(name) for name in TABLE_COLUMNS}, index=external.index)
    shown = external["pattern"].where(external["pattern"] != FULL, "")
    suffix = shown.where(shown == "", ":" + shown)
    return made.assign(
        pattern=PATTERN + external["external"] + suffix, n_folds=external["n_models"], n_failed=0, n_skipped=0
    )
