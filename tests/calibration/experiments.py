"""The figures of each experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from fusionbench.survival.stats import DETECTABLE, corrected_t_test
from fusionbench.survival.stats.concordance import Floats
from tests.calibration import classes, speed
from tests.calibration.figures import Figure, share
from tests.calibration.fixed import Compared, compared
from tests.calibration.population import NOISE, SETTINGS, Population, Setting, censoring_for, noise_for, true_c
from tests.calibration.scale import ALPHA, COVERED, EXACT, LOSS, REJECTED, SECONDS, Scale, spread
from tests.calibration.trained import FAMILIES, Trained, trained


def null(scale: Scale, jobs: int = 1) -> list[Figure]:
    """Two equally noisy copies of one true risk."""
    figures: list[Figure] = []
    for setting in SETTINGS:
        population = Population(censoring_for(setting.censored))
        figures += _null(setting, population, scale, _compared(setting, population, scale, jobs))
    return figures


def _compared(setting: Setting, population: Population, scale: Scale, jobs: int) -> Sequence[Compared]:
    of_seed = partial(compared, setting=setting, population=population, draws=scale.draws)
    return spread(of_seed, scale.replicates, jobs)


def _null(setting: Setting, population: Population, scale: Scale, made: Sequence[Compared]) -> list[Figure]:
    part, truth = f"Null: {setting.name}", float(true_c(population, scale.pairs)[0])
    c, rejected, covered = np.array([of.c for of in made]), scale.range(*REJECTED), scale.range(*COVERED)
    return [
        share(part, "interval of the difference excludes 0", [not of.low <= 0 <= of.high for of in made], *rejected),
        share(part, "interval of the difference covers the true 0", [of.low <= 0 <= of.high for of in made], *covered),
        share(
            part, "interval of one model covers its true c", [of.c_low <= truth <= of.c_high for of in made], *covered
        ),
        Figure(part, "true c of one model", truth, "c"),
        Figure(part, "mean of its estimates minus true c", c.mean() - truth, "c", _mean_error(c)),
        *_corrected(part, setting, made),
    ]


def power(scale: Scale, jobs: int = 1) -> list[Figure]:
    """One of the copies against a noisier one, whose true c is lower by `LOSS`."""
    figures: list[Figure] = []
    for setting in SETTINGS:
        censoring = censoring_for(setting.censored)
        population = Population(censoring, (NOISE, noise_for(LOSS, censoring, scale.pairs)))
        made = _compared(setting, population, scale, jobs)
        figures += _power(setting, float(-np.diff(true_c(population, scale.pairs))[0]), made)
    return [*figures, *_detectable()]


def _power(setting: Setting, truth: float, made: Sequence[Compared]) -> list[Figure]:
    part = f"Power: {setting.name}"
    return [
        Figure(part, "true difference of c", truth, "c"),
        share(part, "interval of the difference lies above 0", [of.low > 0 for of in made]),
        share(part, "interval of the difference covers the true one", [of.low <= truth <= of.high for of in made]),
        *_corrected(part, setting, made),
    ]


def _corrected(part: str, setting: Setting, made: Sequence[Compared]) -> list[Figure]:
    rejected = [of.p <= ALPHA for of in made]
    return [share(part, "corrected t-test rejects", rejected)] if setting.folds > 1 else []


def _detectable() -> list[Figure]:
    """What the smallest detectable difference promises, where the corrected standard error is right."""
    part = "Power at the smallest detectable difference"
    return [
        Figure(part, f"corrected t-test over {folds} folds rejects", _power_at(DETECTABLE, folds - 1), "share")
        for folds in (5, 15, 25)
    ]


def _power_at(standard_errors: float, df: int) -> float:
    critical = stats.t.ppf(1 - ALPHA / 2, df)
    return float(stats.nct.sf(critical, df, standard_errors) + stats.nct.cdf(-critical, df, standard_errors))


class Rows(NamedTuple):
    """Two rows of many suites, none better than the other.

    Attributes:
        differences: (suite, fold) in c.
        excluded: per suite, whether the bootstrap interval of the difference excludes 0.
    """

    differences: Floats
    ratio: float
    excluded: list[bool]


def a_a(scale: Scale, jobs: int = 1) -> list[Figure]:
    """The corrected t-test on trained rows of which none is better."""
    made = spread(partial(trained, epochs=scale.epochs, draws=scale.draws), scale.suites, jobs)
    seeds, tables = _rows(made, ("left", "b"), 0), _rows(made, ("right", "a"), 1)
    at_most = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / scale.suites)
    c = np.array([of.values.mean() for of in made])
    mean = Figure("A/A: one model, two families of seeds", "mean c of the rows", c.mean(), "c", _mean_error(c))
    return [mean, *_t_tests(mean.part, seeds, at_most), *_t_tests("Twins: one model, two equal tables", tables)]


def _rows(made: Sequence[Trained], other: tuple[str, str], interval: int) -> Rows:
    differences = np.array([of.values[0] - of.values[FAMILIES[other]] for of in made])
    excluded = [not of.intervals[interval][0] <= 0 <= of.intervals[interval][1] for of in made]
    return Rows(differences, float(np.mean([of.ratio for of in made])), excluded)


def _t_tests(part: str, rows: Rows, at_most: float | None = None) -> list[Figure]:
    def rejected(ratio: float) -> list[bool]:
        return [corrected_t_test(of_suite, ratio).p <= ALPHA for of_suite in rows.differences]

    return [
        share(part, "corrected t-test rejects", rejected(rows.ratio), high=at_most),
        share(part, "plain t-test rejects", rejected(0.0)),
        _excess(part, rows),
        share(part, "interval of the difference excludes 0", rows.excluded),
    ]


def _excess(part: str, rows: Rows) -> Figure:
    """x, where the variance of the mean difference is s^2 (1/folds + x); the correction says n_test / n_train.

    With a correlation rho between the differences of two folds, x = rho / (1 - rho). The error is a jackknife's over
    suites, whose differences need not be equally large.
    """
    suites, folds = rows.differences.shape
    means, variances = rows.differences.mean(axis=1), rows.differences.var(axis=1, ddof=1)
    everyone = np.arange(suites)
    inflation = means.var(ddof=1) / variances.mean()
    without = np.array([means[everyone != i].var(ddof=1) / variances[everyone != i].mean() for i in everyone])
    error = math.sqrt((suites - 1) * without.var())
    name = f"variance beyond independent folds ({rows.ratio:.2f} assumed)"
    return Figure(part, name, inflation - 1 / folds, "number", error)


def timing(scale: Scale, jobs: int = 1) -> list[Figure]:
    """The draws as matrices against a loop over draws, and both against scikit-survival."""
    part = f"Speed: {scale.draws:,} draws, {speed.MODELS} models, {speed.PATIENTS} patients, one core"
    took = speed.timed(scale.draws, looped=max(1, scale.draws // 100))
    exact = "largest difference from scikit-survival's c"
    return [
        Figure(part, "as matrices", took.matrices, "seconds", high=SECONDS),
        Figure(part, "one by one with scikit-survival, from 1 % of the draws", took.one_by_one, "seconds"),
        Figure(part, "ratio", took.one_by_one / took.matrices, "times"),
        Figure(part, f"{exact}, over these draws", took.gap, "gap", high=EXACT),
        Figure(
            part, f"{exact}, unit weights, 200 cohorts with ties", speed.gap_at_unit_weights(200), "gap", high=EXACT
        ),
    ]


EXPERIMENTS: Mapping[str, Callable[[Scale, int], list[Figure]]] = {
    "null": null,
    "power": power,
    "a-a": a_a,
    "timing": timing,
    "classes": classes.null,
}


def _mean_error(values: Floats) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))
