"""The numbers that the verdict on each cohort rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fusionbench.report.analysis import Analysis
from fusionbench.report.findings.select_rows import BEST_UNIMODAL, XOR, is_model
from fusionbench.report.model import FULL, RANKINGS, RowKey, is_oracle, unique
from fusionbench.report.paired import adjusted, comparison, fold_mean
from fusionbench.report.ranking import ALPHA, primary_metric
from fusionbench.report.verdict import Candidate, Evidence, Fall, Verdict, verdict
from fusionbench.suites.suite import BASE
from fusionbench.survival.stats import percentile_interval

MISSING = ("half", "rate", "only", "file")
"""Kinds of patterns under which modalities are missing at test time; not `mnar`, which is a probe."""


def verdicts(analysis: Analysis, dataset: str, leaks: int = 0) -> dict[str, Verdict]:
    """Variant to the verdict on a dataset under it.

    Args:
        leaks: warnings about the cohort that are signs of leakage.
    """
    values = analysis.values.items()
    scored = {metric for (row, pattern, metric), of in values if of and pattern == FULL and row[0] == dataset}
    metric = primary_metric(analysis.stored.directions, scored)
    cells = analysis.stored.cells
    variants = unique(cells.loc[cells["dataset"] == dataset, "variant"])
    return {variant: verdict(_evidence(analysis, dataset, variant, metric, leaks)) for variant in variants}


def _evidence(analysis: Analysis, dataset: str, variant: str, metric: str | None, leaks: int) -> Evidence:
    if metric is None:
        return Evidence("a score", leaks=leaks)
    return _Rows(analysis, dataset, variant, metric).evidence(leaks)


class _Rows:
    """The rows of a dataset and variant that have a mean of a metric."""

    def __init__(self, analysis: Analysis, dataset: str, variant: str, metric: str) -> None:
        self.analysis, self.metric = analysis, metric
        self.too_few = analysis.stored.too_few(dataset)
        self.higher = bool(analysis.stored.directions[metric])
        scored = (
            row for (row, pattern, name), of in analysis.values.items() if of and (pattern, name) == (FULL, metric)
        )
        rows = [row for row in scored if (row[0], row[3]) == (dataset, variant) and not is_oracle(row[1])]
        self.lacking = [row for row in rows if analysis.lacking(row, FULL, metric) is not None]
        complete = [row for row in rows if row not in self.lacking]
        # A control that picks one modality is neither a fusion model nor a model of one modality.
        models = [row for row in complete if not is_model(row, BEST_UNIMODAL, XOR)]
        self.fused = [row for row in models if analysis.inputs[row] > 1]
        self.unimodal = [row for row in models if analysis.inputs[row] == 1]
        self.folds = len(analysis.stored.plans[dataset, variant].test_to_train)

    def evidence(self, leaks: int) -> Evidence:
        """Everything that the verdict needs."""
        fused, unimodal = self._best(self.fused), self._best(self.unimodal)
        known = Evidence(
            self.metric,
            self.higher,
            fused=None if fused is None else self._candidate(fused),
            unimodal=None if unimodal is None else self._candidate(unimodal),
            n_fused=len(self.fused),
            n_folds=self.folds,
            lacking=tuple(map(_name, self.lacking)),
            leaks=leaks,
            fall=None if fused is None else self._fall(fused),
            too_few=self.too_few,
        )
        if fused is None or unimodal is None:
            return known
        tests = self._tests(unimodal)
        chosen = tests[fused]
        better = (t["p_holm"] <= ALPHA and (t["difference"] > 0) == self.higher for t in tests.values())
        return replace(
            known,
            difference=float(chosen["difference"]),
            p=float(chosen["p_holm"]),
            p_alone=float(chosen["p"]),
            detectable=float(chosen["detectable"]),
            n_better=sum(map(bool, better)),
        )

    def _best(self, rows: Sequence[RowKey], pattern: str = FULL) -> RowKey | None:
        sign = 1 if self.higher else -1
        return max(rows, key=lambda row: sign * self._mean(row, pattern), default=None)

    def _mean(self, row: RowKey, pattern: str) -> float:
        return fold_mean(self.analysis.values[row, pattern, self.metric])

    def _candidate(self, row: RowKey, pattern: str = FULL) -> Candidate:
        draws = None
        if self.metric in RANKINGS:
            draws = self.analysis.bootstraps[row[0], row[3]][1].draws.get((row, pattern))
        interval = (math.nan, math.nan) if draws is None else percentile_interval(draws)
        return Candidate(_name(row), self._mean(row, pattern), *interval)

    def _tests(self, reference: RowKey) -> dict[RowKey, dict[str, Any]]:
        """Every fusion row against the reference, p adjusted over all of them: the best was picked among so many."""
        values = {row: self.analysis.values[row, FULL, self.metric] for row in (*self.fused, reference)}
        lines = [
            comparison(
                self.analysis.stored, (row, reference), FULL, self.metric, (values[row], values[reference]), None
            )
            for row in self.fused
        ]
        return dict(zip(self.fused, adjusted(lines), strict=True))

    def _fall(self, fused: RowKey) -> Fall | None:
        """The missing-modality pattern under which the row is worst, and the best row there."""
        patterns = [
            pattern
            for row, pattern, metric in self.analysis.values
            if row == fused and metric == self.metric and pattern.partition(":")[0] in MISSING
        ]
        complete = [p for p in patterns if self._complete(fused, p)]
        if not complete:
            return None
        sign = 1 if self.higher else -1
        worst = min(complete, key=lambda pattern: sign * self._mean(fused, pattern))
        rows = [row for row in (*self.fused, *self.unimodal) if self._complete(row, worst)]
        best = self._best(rows, worst) or fused
        return Fall(worst, self._candidate(fused, worst), self._candidate(best, worst))

    def _complete(self, row: RowKey, pattern: str) -> bool:
        values = self.analysis.values.get((row, pattern, self.metric))
        return bool(values) and self.analysis.lacking(row, pattern, self.metric) is None


def _name(row: RowKey) -> str:
    return f"{row[1]} on {row[2]}" + ("" if row[3] == BASE else f" ({row[3]})")
