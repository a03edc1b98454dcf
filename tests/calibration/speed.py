"""How long the draws take, against the same draws one by one, and whether both say the same."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from sksurv.metrics import concordance_index_censored
from threadpoolctl import threadpool_limits

from fusionbench.core.seeds import derive
from fusionbench.report.bootstrap import BootstrapDraws, bootstrap
from fusionbench.report.predictions import FoldPredictions, RowPattern
from fusionbench.survival.stats import Resampling, ScoredFold, comparable_pairs, concordant_pairs, resample, weighted_c
from fusionbench.survival.stats.concordance import Floats, Ints
from tests.calibration.fixed import cohort_of
from tests.calibration.population import NOISE, Population, Sample

MODELS, PATIENTS = 8, 400
LINES: list[RowPattern] = [(("calibration", f"model-{i}", "all", "base"), "full") for i in range(MODELS)]
_SEED = 0
_REPEATS = 3  # the fastest counts: on a shared machine the others time the neighbours


class Timed(NamedTuple):
    """Seconds of all draws as matrices; of the same number one by one, from `looped`; largest gap between the two."""

    matrices: float
    one_by_one: float
    gap: float


def timed(draws: int, looped: int) -> Timed:
    """One test set of 400 patients, 40 % of them with an event, 8 models, one thread.

    Args:
        looped: draws of the plain loop; its time is scaled up to all.
    """
    sample = patients()
    with threadpool_limits(limits=1):
        fast = [_seconds(sample, draws) for _ in range(_REPEATS)]
        weights = weights_of(sample, draws).weights[:looped].astype(np.int64)
        started = time.perf_counter()
        plain = one_by_one(sample, weights)
        slow = (time.perf_counter() - started) * draws / looped
    made = fast[0][1].draws
    gap = max(float(np.abs(made[line][:looped] - plain[:, i]).max()) for i, line in enumerate(LINES))
    return Timed(min(seconds for seconds, _ in fast), slow, gap)


def patients() -> Sample:
    population = Population(0.61, (NOISE,) * MODELS)
    return population.draw(PATIENTS, np.random.default_rng(derive(_SEED, "speed")))


def matrices(sample: Sample, draws: int) -> BootstrapDraws:
    """All draws of all models, as a table asks for them."""
    everyone = np.arange(len(sample.time))
    parts = [
        FoldPredictions(line, (0, 0), everyone, risk[None, None])
        for line, risk in zip(LINES, sample.risks, strict=True)
    ]
    return bootstrap(parts, cohort_of(sample), seed=_SEED, draws=draws)


def weights_of(sample: Sample, draws: int) -> Resampling:
    """The weights that `matrices` uses."""
    n, cohort = len(sample.time), cohort_of(sample)
    fold = ScoredFold(np.arange(n), comparable_pairs(sample.time, sample.event))
    seed = derive(_SEED, "bootstrap", cohort.name)
    return resample(np.zeros(n, dtype=np.int64), [fold], seed=seed, draws=draws)


def one_by_one(sample: Sample, weights: Ints) -> Floats:
    """(draw, model) scikit-survival's c of the patients of each draw, as often as they were drawn."""
    values = np.empty((len(weights), len(sample.risks)))
    for i, count in enumerate(weights):
        drawn = np.repeat(np.arange(len(count)), count)
        for j, risk in enumerate(sample.risks):
            values[i, j] = concordance_index_censored(sample.event[drawn], sample.time[drawn], risk[drawn])[0]
    return values


def gap_at_unit_weights(cohorts: int) -> float:
    """Largest difference from scikit-survival's c over cohorts with tied times and risks."""
    return max(_gap(np.random.default_rng(derive(seed, "exact"))) for seed in range(cohorts))


def _gap(rng: np.random.Generator) -> float:
    n = int(rng.integers(20, 200))
    time_, event, risk = rng.integers(1, 40, size=n).astype(float), rng.random(n) < 0.5, rng.normal(size=n).round(1)
    pairs = comparable_pairs(time_, event)
    ours = weighted_c(pairs, concordant_pairs(pairs, risk)[None], np.ones((1, n)))[0, 0]
    return abs(float(ours - concordance_index_censored(event, time_, risk)[0]))


def _seconds(sample: Sample, draws: int) -> tuple[float, BootstrapDraws]:
    started = time.perf_counter()
    made = matrices(sample, draws)
    return time.perf_counter() - started, made
