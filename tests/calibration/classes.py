"""The calibration for classes: AUROC, its interval, and the tests of two models of which none is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from fusionbench.core.protocol import Protocol
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, ClassTarget
from fusionbench.data.splits import make_folds
from fusionbench.report.bootstrap import bootstrap
from fusionbench.report.predictions import FoldPredictions, FollowUp, RowPattern
from fusionbench.survival.stats import corrected_t_test
from fusionbench.survival.stats.concordance import Floats, Ints
from fusionbench.tasks.ranking import class_pairs, mean_concordance
from tests.calibration.figures import Figure, share
from tests.calibration.fixed import Compared, compared_lines
from tests.calibration.population import NOISE
from tests.calibration.scale import ALPHA, COVERED, REJECTED, Scale, spread

STEEPNESS = 2.0
"""Log odds of the class per sd of what is true of a case."""
COLUMNS = 10
"""Columns of each of two equal tables."""
CLASSES = ("no", "yes")
_CHUNK = 500_000  # cases held at once


@dataclass(frozen=True)
class Setting:
    """How much there is to test on: test folds, cases in each, and the share of the positive class."""

    name: str
    folds: int
    size: int
    prevalence: float

    @property
    def cases(self) -> int:
        return self.folds * self.size


SETTINGS = (Setting("150 cases, prevalence 0.3", 1, 150, 0.3), Setting("5 x 50, prevalence 0.1", 5, 50, 0.1))


class Sample(NamedTuple):
    """(case,) truth, (case,) class, (model, case) scores: the truth with noise of each model's own."""

    truth: Floats
    label: Ints
    scores: Floats


@dataclass(frozen=True)
class Population:
    """What is true of a case is standard normal; its class is drawn with log odds that rise with it.

    Attributes:
        shift: log odds at the mean.
        noises: (model,) sd of each model's noise.
    """

    shift: float
    noises: tuple[float, ...] = (NOISE, NOISE)

    def draw(self, n: int, rng: np.random.Generator) -> Sample:
        truth = rng.normal(size=n)
        label = (rng.random(n) < 1 / (1 + np.exp(-STEEPNESS * truth - self.shift))).astype(np.int64)
        return Sample(truth, label, truth + np.asarray(self.noises)[:, None] * rng.normal(size=(len(self.noises), n)))


def shift_for(prevalence: float, n: int = 2_000_000) -> float:
    """The log odds at the mean that give a large sample this prevalence."""
    truth = np.random.default_rng(derive(0, "prevalence")).normal(size=n)
    return float(optimize.brentq(lambda s: (1 / (1 + np.exp(-STEEPNESS * truth - s))).mean() - prevalence, -10, 10))


def true_auroc(population: Population, pairs: int) -> Floats:
    """(model,) AUROC of the population, from independent cases with and without the class."""
    rng, right, counted = np.random.default_rng(derive(0, "pairs of classes")), 0.0, 0
    while counted < pairs:
        one, other = population.draw(_CHUNK, rng), population.draw(_CHUNK, rng)
        with_, without = one.scores[:, one.label == 1], other.scores[:, other.label == 0]
        n = min(with_.shape[1], without.shape[1])
        right = right + (with_[:, :n] > without[:, :n]).sum(axis=1)
        counted += n
    return np.asarray(right / counted)


def compared(seed: int, setting: Setting, population: Population, draws: int) -> Compared:
    """One sample of test cases and what a table says of two models on it."""
    sample = population.draw(setting.cases, np.random.default_rng(derive(seed, "sample", setting.name)))
    cohort, folds = cohort_of(sample.label), _folds(sample.label, setting.folds, seed)
    lines: list[RowPattern] = [(("calibration", f"copy-{i}", "all", "base"), "full") for i in range(len(sample.scores))]
    parts = [
        FoldPredictions(line, (0, number), cases, score[None, None, cases])
        for line, score in zip(lines, sample.scores, strict=True)
        for number, cases in enumerate(folds)
    ]
    return compared_lines(bootstrap(parts, cohort, seed=seed, draws=draws), lines, setting.folds)


def cohort_of(label: Ints) -> FollowUp:
    n, name = len(label), "calibration"
    ids = tuple(f"{i:05d}" for i in range(n))
    nothing = np.full(n, np.nan), np.zeros(n, dtype=bool)
    return FollowUp(name, ids, *nothing, np.arange(n), name, label, CLASSES)


def _folds(label: Ints, folds: int, seed: int) -> list[Ints]:
    """Test folds as the harness deals them, classes evenly."""
    if folds == 1:
        return [np.arange(len(label))]
    cases = [Case(f"{i:05d}", f"{i:05d}", ClassTarget(CLASSES[k]), {}) for i, k in enumerate(label)]
    return [np.array([int(id_) for id_ in fold.test]) for fold in make_folds(cases, Protocol(folds=folds), seed, 0)]


def twins(seed: int, setting: Setting, population: Population) -> list[float]:
    """(fold,) AUROC of a logistic regression on one table minus that on another, which shows the truth as noisily."""
    rng = np.random.default_rng(derive(seed, "twins", setting.name))
    sample = population.draw(setting.cases, rng)
    tables = [sample.truth[:, None] + 3 * rng.normal(size=(setting.cases, COLUMNS)) for _ in range(2)]
    gaps = []
    for test in _folds(sample.label, setting.folds, seed):
        train = np.setdiff1d(np.arange(setting.cases), test)
        pairs = class_pairs(sample.label[test], 2)
        fitted = [LogisticRegression().fit(x[train], sample.label[train]) for x in tables]
        said = [model.decision_function(x[test])[:, None] for model, x in zip(fitted, tables, strict=True)]
        one, other = (mean_concordance(pairs, scores) for scores in said)
        gaps.append(one - other)
    return gaps


def null(scale: Scale, jobs: int = 1) -> list[Figure]:
    """Two equally noisy copies of what is true, and two models trained on equally noisy tables."""
    figures: list[Figure] = []
    for setting in SETTINGS:
        population = Population(shift_for(setting.prevalence))
        made = spread(
            partial(compared, setting=setting, population=population, draws=scale.draws), scale.replicates, jobs
        )
        figures += _null(setting, population, scale, made)
    return [*figures, *_a_a(scale, jobs)]


def _null(setting: Setting, population: Population, scale: Scale, made: Sequence[Compared]) -> list[Figure]:
    part, truth = f"Null of classes: {setting.name}", float(true_auroc(population, scale.pairs)[0])
    rejected, wanted = scale.range(*REJECTED), scale.range(*COVERED)
    c = np.array([of.c for of in made])
    excluded, covered = ([not of.low <= 0 <= of.high for of in made], [of.c_low <= truth <= of.c_high for of in made])
    tests = [share(part, "corrected t-test rejects", [of.p <= ALPHA for of in made])] if setting.folds > 1 else []
    error = float(c.std(ddof=1) / math.sqrt(len(c)))
    return [
        share(part, "interval of the difference excludes 0", excluded, *rejected),
        share(part, "interval of one model covers its true AUROC", covered, *wanted),
        Figure(part, "true AUROC of one model", truth, "c"),
        Figure(part, "mean of its estimates minus true AUROC", c.mean() - truth, "c", error),
        *tests,
    ]


def _a_a(scale: Scale, jobs: int) -> list[Figure]:
    setting = SETTINGS[1]
    population = Population(shift_for(setting.prevalence))
    gaps = spread(partial(twins, setting=setting, population=population), scale.suites, jobs)
    at_most = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / scale.suites)
    part = f"A/A of classes: logistic regressions on two equal tables, {setting.name}"
    ratio = 1 / (setting.folds - 1)
    rejected = {r: [corrected_t_test(of, r).p <= ALPHA for of in gaps] for r in (ratio, 0.0)}
    return [
        share(part, "corrected t-test rejects", rejected[ratio], high=at_most),
        share(part, "plain t-test rejects", rejected[0.0]),
    ]
