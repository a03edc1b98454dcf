"""Two fixed models on one sample of test patients, as a table compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusionbench.core.protocol import Protocol
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, SurvivalTarget
from fusionbench.data.splits import make_folds
from fusionbench.report.bootstrap import BootstrapDraws, bootstrap
from fusionbench.report.predictions import FoldPredictions, FollowUp, RowPattern
from fusionbench.survival.stats import corrected_t_test, mean_over_folds, percentile_interval
from fusionbench.survival.stats.concordance import Ints
from tests.calibration.population import Population, Sample, Setting


class Compared(NamedTuple):
    """What a table says of two models on one sample.

    Attributes:
        c: of the first model, mean over folds; c_low, c_high: its interval.
        low, high: interval of the difference, first minus second.
        p: of the corrected t-test; NaN with one fold.
    """

    c: float
    c_low: float
    c_high: float
    low: float
    high: float
    p: float


def compared(seed: int, setting: Setting, population: Population, draws: int) -> Compared:
    """One sample of test patients and what is said of it."""
    sample = population.draw(setting.patients, np.random.default_rng(derive(seed, "sample", setting.name)))
    lines, parts = _parts(sample, _folds(sample, setting, seed))
    return compared_lines(bootstrap(parts, cohort_of(sample), seed=seed, draws=draws), lines, setting.folds)


def compared_lines(made: BootstrapDraws, lines: Sequence[RowPattern], folds: int) -> Compared:
    """What is said of two lines."""
    first, second = (made.draws[line] for line in lines)
    values = list(made.values[lines[0]].values())
    return Compared(
        mean_over_folds(values, [0] * len(values)),
        *percentile_interval(first),
        *percentile_interval(first - second),
        _corrected_p(made, lines, folds),
    )


def cohort_of(sample: Sample) -> FollowUp:
    ids, name = tuple(f"{i:05d}" for i in range(len(sample.time))), "calibration"
    return FollowUp(name, ids, sample.time, sample.event, np.arange(len(ids)), name)


def _parts(sample: Sample, folds: list[Ints]) -> tuple[list[RowPattern], list[FoldPredictions]]:
    lines: list[RowPattern] = [(("calibration", f"copy-{i}", "all", "base"), "full") for i in range(len(sample.risks))]
    parts = [
        FoldPredictions(line, (0, number), cases, risk[None, None, cases])
        for line, risk in zip(lines, sample.risks, strict=True)
        for number, cases in enumerate(folds)
    ]
    return lines, parts


def _folds(sample: Sample, setting: Setting, seed: int) -> list[Ints]:
    """Test folds as the harness deals them, events evenly."""
    if setting.folds == 1:
        return [np.arange(setting.patients)]
    ids = cohort_of(sample).cases
    targets = (SurvivalTarget(float(t), bool(e)) for t, e in zip(sample.time, sample.event, strict=True))
    cases = [Case(id_, id_, target, {}) for id_, target in zip(ids, targets, strict=True)]
    folds = make_folds(cases, Protocol(folds=setting.folds), seed, 0)
    return [np.array([int(id_) for id_ in fold.test]) for fold in folds]


def _corrected_p(made: BootstrapDraws, lines: Sequence[RowPattern], folds: int) -> float:
    one, other = (made.values[line] for line in lines)
    return corrected_t_test([one[fold] - other[fold] for fold in one], 1 / max(1, folds - 1)).p
