"""What a table says of models on another cohort: means over fold models, ensembles, falls, ties with the best row.

All fold models of all rows predict the same patients, so that patients are resampled once for all of them. The test of
a difference is a z-test with the standard error of these draws: it covers the sampling of the other cohort's patients,
the models fixed. The resampled t-test of the table does not apply, since the folds share every test patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm

from fusionbench.core.rounding import DIGITS
from fusionbench.report.bootstrap import BootstrapDraws, bootstrap
from fusionbench.report.estimate import Estimate
from fusionbench.report.incomplete import incomplete_means
from fusionbench.report.model import (
    FULL,
    IMPORTED,
    RANKINGS,
    CheckedFrames,
    FoldCount,
    FoldKey,
    RowKey,
    row_keys,
    unique,
)
from fusionbench.report.paired import FoldValues, fold_mean, fold_values
from fusionbench.report.predictions import FoldPredictions, RowPattern, fold_predictions, follow_up_of
from fusionbench.report.ranking import ALPHA, BlockDraws
from fusionbench.results.frames import LABEL, ROW, Frames, with_outcome
from fusionbench.suites.cell import cohorts_of
from fusionbench.survival.stats import holm, standard_deviation

if TYPE_CHECKING:
    from fusionbench.survival.stats.concordance import Floats

ENSEMBLE: FoldKey = (0, 0)
"""The fold of what the mean of all fold models predicts."""


@dataclass(frozen=True, eq=False)
class ExternalMean:
    """A row under one pattern and metric on another cohort.

    Attributes:
        row: of the table; its dataset is the cohort that the models were fitted on.
        external: mean over fold models, then over repeats; its interval resamples the cohort's patients, models fixed.
        sd: over fold models.
        ensemble: the score of the mean prediction of all fold models; NaN for other metrics than c-index and AUROC.
        internal: mean over the test folds of the fitted cohort.
        fall: `internal` minus `external`; its interval takes both cohorts' patients as independent samples.
        draws: (draw,) bootstrap means; None where there are none.
        models: fold models behind the mean, and those planned; a row that lacks some is not ranked.
        n_cases, n_prior: cases scored, and those of them that have none of the modalities.
        behind: the best row minus this one, with the same draws; NaN for the best row and where nothing is ranked.
        p, p_holm: of that difference, and adjusted over the rows of the cohort, pattern and metric.
        best, tied: whether it is the best row, or not significantly different from it.
        reason: why it has no mean.
    """

    row: RowKey
    pattern: str
    metric: str
    external: Estimate
    sd: float
    ensemble: Estimate
    internal: float
    fall: Estimate
    draws: Floats | None
    models: FoldCount
    n_cases: int
    n_prior: int
    behind: Estimate = field(default_factory=lambda: Estimate(math.nan))
    p: float = math.nan
    p_holm: float = math.nan
    best: bool = False
    tied: bool = False
    reason: str = ""

    @property
    def whole(self) -> bool:
        """Whether every planned fold model is behind the mean."""
        return self.models.n_folds == self.models.n_wanted


@dataclass(frozen=True, eq=False)
class ExternalTest:
    """All rows of a dataset on another cohort.

    Attributes:
        train, test: the two datasets, as the suite writes them.
        cases: of `test` with an outcome.
        outcomes: how many had which outcome: `51 events`, or `81 no, 66 yes`; empty where none is known.
        means: in the table's order.
        no_interval: why there are no bootstrap draws; empty where there are.
        patients: cases of `test` with what is known of their outcomes, by which cohorts that share some are told.
    """

    train: str
    test: str
    cases: int
    outcomes: str
    means: tuple[ExternalMean, ...]
    no_interval: str = ""
    patients: frozenset[tuple[object, ...]] = frozenset()

    def of(self, metric: str, pattern: str = FULL) -> list[ExternalMean]:
        """The rows with a mean of one metric under one pattern."""
        same = [mean for mean in self.means if (mean.pattern, mean.metric) == (pattern, metric)]
        return [mean for mean in same if not math.isnan(mean.external.value)]

    @property
    def patterns(self) -> list[str]:
        """The missing-modality patterns, in order of appearance."""
        return list(dict.fromkeys(mean.pattern for mean in self.means))

    @property
    def metrics(self) -> list[str]:
        """The metrics, in order of appearance."""
        return list(dict.fromkeys(mean.metric for mean in self.means))


def external_tests(
    frames: Frames, stored: CheckedFrames, internal: FoldValues, draws_by_variant: BlockDraws, *, seed: int, draws: int
) -> tuple[ExternalTest, ...]:
    """The results on every external cohort.

    Args:
        frames: `Frames.external`.
        stored: the table's frames; what it knows of a dataset holds for the tests of its models.
        internal: the table's values on test folds.
        draws_by_variant: the table's bootstrap draws.

    Raises:
        ResultsError: the stored frames contradict one another.
    """
    tests = unique(frames.cells["dataset"])
    scored = replace(frames, predictions=with_outcome(frames.predictions, frames.targets))
    outside = replace(
        CheckedFrames.of(scored, stored.directions, stored.identities),
        known_classes={name: stored.classes(cohorts_of(name)[0]) for name in tests},
    )
    return tuple(_Test(outside, name, internal, draws_by_variant, seed, draws).result() for name in tests)


class _Test:
    """One external cohort."""

    def __init__(
        self,
        stored: CheckedFrames,
        name: str,
        internal: FoldValues,
        internal_draws: BlockDraws,
        seed: int,
        draws: int,
    ) -> None:
        self.stored, self.name, self.internal, self.internal_draws = stored, name, internal, internal_draws
        self.train, self.test = cohorts_of(name)
        scores = stored.folds[stored.folds["dataset"] == name]
        self.values = fold_values(scores)
        cells = stored.cells[stored.cells["dataset"] == name]
        brought = set(row_keys(cells[cells["policy"] == IMPORTED]))  # somebody else's model may be a single one
        self.incomplete = {k: n for k, n in incomplete_means(stored, self.values).items() if k[0] not in brought}
        columns = scores[["pattern", "metric", "n_cases", "n_prior", "reason"]].itertuples(index=False, name=None)
        self.seen = {
            (row, str(pattern), str(metric)): (int(n_cases), int(n_prior), str(reason))
            for row, (pattern, metric, n_cases, n_prior, reason) in zip(row_keys(scores), columns, strict=True)
        }
        cohort = follow_up_of(stored, name)
        own = stored.predictions[stored.predictions["dataset"] == name]
        parts, together = (fold_predictions(of, cohort) for of in (own, _averaged(own)))
        self.sample, self.ensembles = (
            bootstrap(of, cohort, seed=seed, draws=draws) for of in (_as_one(parts), together)
        )

    def result(self) -> ExternalTest:
        """Everything that a reader is told about it."""
        targets = self.stored.targets[self.stored.targets["dataset"] == self.name]
        means = [self._mean(*place) for place in self.values]
        ranked: dict[tuple[str, str], list[ExternalMean]] = {}
        for mean in means:
            ranked.setdefault((mean.pattern, mean.metric), []).append(mean)
        found = {id(mean): new for of in ranked.values() for mean, new in zip(of, self._ranked(of), strict=True)}
        outcomes = ""
        if len(targets):
            classes = self.stored.classes(self.name)
            outcomes = f"{int(targets['event'].sum())} events"
            if classes:
                outcomes = ", ".join(f"{int((targets[LABEL] == label).sum())} {label}" for label in classes)
        in_order = tuple(found[id(mean)] for mean in means)
        known = [name for name in ("case", "time", "event", LABEL) if name in targets.columns]
        patients = frozenset(targets[known].astype(str).itertuples(index=False, name=None))
        return ExternalTest(self.train, self.test, len(targets), outcomes, in_order, self.sample.reason, patients)

    def _mean(self, row: RowKey, pattern: str, metric: str) -> ExternalMean:
        of = self.values[row, pattern, metric]
        line, ranking = (row, pattern), metric in RANKINGS
        draws = self.sample.draws.get(line) if ranking else None
        own: RowKey = (self.train, *row[1:])
        internal = fold_mean(self.internal.get((own, pattern, metric), {}))
        value = fold_mean(of)
        n_cases, n_prior, reason = self.seen[row, pattern, metric]
        return ExternalMean(
            row=own,
            pattern=pattern,
            metric=metric,
            external=Estimate.of(value, draws),
            sd=standard_deviation(list(of.values()), 1),
            ensemble=_estimate(self.ensembles, line) if ranking else Estimate(math.nan),
            internal=internal,
            fall=self._fall(own, pattern, internal - value, draws),
            draws=draws,
            models=self.incomplete.get((row, pattern, metric), FoldCount(len(of), len(of))),
            n_cases=n_cases,
            n_prior=n_prior,
            reason="" if of else reason,
        )

    def _fall(self, row: RowKey, pattern: str, value: float, draws: Floats | None) -> Estimate:
        """Unpaired: the two cohorts' patients are drawn independently, under seeds of their own."""
        block = self.internal_draws.get((row[0], row[3]))
        here = None if block is None else block[1].draws.get((row, pattern))
        return Estimate.of(value, None if here is None or draws is None else here - draws)

    def _ranked(self, means: Sequence[ExternalMean]) -> list[ExternalMean]:
        """The rows of one pattern and metric, each against the best of those that lack no fold model."""
        higher = self.stored.directions[means[0].metric]
        whole = [m for m in means if m.whole and not math.isnan(m.external.value)]
        if higher is None or len(whole) < 2:
            return list(means)
        sign = 1 if higher else -1
        best = max(whole, key=lambda mean: sign * round(mean.external.value, DIGITS))
        tests = {id(mean): difference(best, mean) for mean in whole if mean is not best}
        p_holm = dict(zip(tests, holm([p for _, p in tests.values()]), strict=True))
        tested = any(not math.isnan(p) for _, p in tests.values())

        def of(mean: ExternalMean) -> ExternalMean:
            if mean is best:
                return replace(mean, best=True, tied=tested)
            if id(mean) not in tests:
                return mean
            behind, p = tests[id(mean)]
            adjusted = float(p_holm[id(mean)])
            return replace(mean, behind=behind, p=p, p_holm=adjusted, tied=tested and not adjusted <= ALPHA)

        return [of(mean) for mean in means]


def difference(one: ExternalMean, other: ExternalMean) -> tuple[Estimate, float]:
    """One minus the other on the same patients, and its p; without draws neither interval nor p."""
    value = one.external.value - other.external.value
    if one.draws is None or other.draws is None:
        return Estimate(value), math.nan
    se = standard_error(one, other)
    p = float(2 * norm.sf(abs(value) / se)) if se > 0 else math.nan
    return Estimate.of(value, one.draws - other.draws), p


def standard_error(one: ExternalMean, other: ExternalMean) -> float:
    """Of their difference, from the same draws; NaN without draws."""
    return math.nan if one.draws is None or other.draws is None else float(np.std(one.draws - other.draws, ddof=1))


def _estimate(sample: BootstrapDraws, line: RowPattern) -> Estimate:
    of = sample.values.get(line)
    return Estimate(math.nan) if of is None else Estimate.of(of[ENSEMBLE], sample.draws.get(line))


def _as_one(parts: Sequence[FoldPredictions]) -> list[FoldPredictions]:
    """The fold models of each row as masks of one fold: the mean of their scores, for a fraction of the time.

    All predict the same cases, and c is linear in the concordance matrix, so that the mean over models is the c of
    their mean matrix; see `bootstrap`.
    """
    lines: dict[RowPattern, list[FoldPredictions]] = {}
    for part in parts:
        lines.setdefault(part.line, []).append(part)
    return [
        replace(of[0], fold=ENSEMBLE, scores=np.concatenate([part.scores for part in of], axis=1))
        for of in lines.values()
    ]


def _averaged(predictions: pd.DataFrame) -> pd.DataFrame:
    """The mean over fold models of what each row predicts of each case: of the risk, or of the probabilities."""
    keys = [*ROW, "pattern", "draw", "case"]
    said = [name for name in predictions.columns if name not in (*keys, "repeat", "fold")]
    means = predictions.groupby(keys, observed=True, sort=False)[said].mean().reset_index()
    return means.assign(**dict(zip(("repeat", "fold"), ENSEMBLE, strict=True)))
