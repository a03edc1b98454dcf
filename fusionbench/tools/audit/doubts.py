"""Rules whose findings put numbers in doubt without proving a breach: leakage, implausible scores, imported rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.plural import plural
from fusionbench.core.rounding import ROUNDING
from fusionbench.report.imported import stored_predictions
from fusionbench.report.model import BELIEVABLE, HARRELL, SHORT_NAMES, is_oracle
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.suites.lock import leaks_of
from fusionbench.survival.stats import mean_over_folds
from fusionbench.tasks import task_kind

if TYPE_CHECKING:
    from fusionbench.results.store import Store
    from fusionbench.suites.suite import Suite
    from fusionbench.tools.audit.evidence import StoredResult


def leakage(lock: Mapping[str, Any]) -> Line:
    """No cohort has a column, a case or a follow-up that looks like leakage.

    Args:
        lock: with the warnings about each cohort.
    """
    texts = leaks_of(lock)
    findings = [Finding(text, name, name) for name, of_cohort in texts.items() for text in of_cohort]
    shares = {name: f"the cohort shows signs of leakage: {'; '.join(some)}" for name, some in texts.items()}
    counted = f"{len(lock['datasets'])} cohorts"
    return verdict("no cohort shows signs of leakage", findings, counted, shares)


def plausible(results: Sequence[StoredResult]) -> Line:
    """No row but that of the truth has a mean test c-index or AUROC above what is `BELIEVABLE`."""
    values: dict[tuple[str, ...], list[tuple[float, int]]] = defaultdict(list)
    for stored in results:
        if is_oracle(stored.cell.model.name):
            continue
        for score in stored.result.scores:
            if score.metric in BELIEVABLE and np.isfinite(score.value):
                values[(*stored.cell.row, score.pattern, score.metric)].append((score.value, stored.cell.repeat))
    means = {row: mean_over_folds(*map(list, zip(*of, strict=True))) for row, of in values.items()}
    findings = [
        Finding(f"{' · '.join(row[:-1])}: {row[-1]} {mean:.3f}", f"above {BELIEVABLE[row[-1]]}")
        for row, mean in means.items()
        if mean > BELIEVABLE[row[-1]] + ROUNDING
    ]
    ranked_by = dict.fromkeys(task_kind(stored.cell.task.kind).primary_metric for stored in results) or [HARRELL]
    names = ", no ".join(f"test {SHORT_NAMES[metric]} is above {BELIEVABLE[metric]}" for metric in ranked_by)
    return verdict(f"no {names}", findings, plural(len(means), "mean"))


def own_rows(suite: Suite, added: Collection[str]) -> Line:
    """Every row is one that the suite's file asks for; models that a run added were chosen by whoever ran it.

    Args:
        added: models that runs added, as they are written.
    """
    findings = [Finding(f"{model}: added", model) for model in added]
    shares = dict.fromkeys(added, "added to the suite's rows by a run (-m)")
    counted = f"{len({*map(str, suite.models), *added})} models"
    return verdict("every model is one of the suite's file", findings, counted, shares)


def computed(store: Store) -> Line:
    """Every row was computed here; imported predictions are judged on the suite's folds, but nobody saw them made."""
    models = sorted({str(model) for table in stored_predictions(store) for model in table["model"].unique()})
    findings = [Finding(f"{model}: imported", model) for model in models]
    shares = dict.fromkeys(models, "its predictions were imported; how they were made is not recorded")
    return verdict(
        "every row was computed by this suite's cells", findings, plural(len(models), "imported model"), shares
    )
