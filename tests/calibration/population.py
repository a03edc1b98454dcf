"""Patients whose true risk is known, and risks that copy it with noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from fusionbench.core.seeds import derive
from fusionbench.survival.stats.concordance import Floats

NOISE = 1.0
"""sd of the noise of a copy; the true log hazard has sd 1, too."""
_CHUNK = 500_000  # pairs of patients held at once


@dataclass(frozen=True)
class Setting:
    """How much there is to test on.

    Attributes:
        folds, size: test folds, and patients in each.
        censored: share of them in the population; in a sample it varies.
    """

    name: str
    folds: int
    size: int
    censored: float

    @property
    def patients(self) -> int:
        return self.folds * self.size


SETTINGS = (Setting("150 patients, 60 % censored", 1, 150, 0.60), Setting("5 x 52, 85 % censored", 5, 52, 0.85))


@dataclass(frozen=True)
class Population:
    """Log hazards are standard normal, deaths and censoring exponential.

    Attributes:
        censoring: mean censoring time, in mean survival times at log hazard 0.
        noises: (model,) sd of each model's noise; its risk is the log hazard with noise of its own.
    """

    censoring: float
    noises: tuple[float, ...] = (NOISE, NOISE)

    def draw(self, n: int, rng: np.random.Generator) -> Sample:
        truth = rng.normal(size=n)
        died, left = rng.exponential(np.exp(-truth)), rng.exponential(self.censoring, size=n)
        risks = truth + np.asarray(self.noises)[:, None] * rng.normal(size=(len(self.noises), n))
        return Sample(np.minimum(died, left), died <= left, risks)


class Sample(NamedTuple):
    """(case,) time, (case,) event, (model, case) risks."""

    time: Floats
    event: NDArray[np.bool_]
    risks: Floats


def censoring_for(share: float, n: int = 2_000_000) -> float:
    """The mean censoring time that censors `share` of a large sample."""
    rng = np.random.default_rng(derive(0, "censoring"))
    ratio = rng.exponential(np.exp(-rng.normal(size=n))) / rng.exponential(size=n)
    return float(np.quantile(ratio, 1 - share))


def noise_for(loss: float, censoring: float, pairs: int = 2_000_000) -> float:
    """The sd of the noise that makes a copy's c by `loss` smaller than the usual copy's."""

    def gap(noise: float) -> float:
        usual, noisy = true_c(Population(censoring, (NOISE, noise)), pairs)
        return float(usual - noisy - loss)

    return float(optimize.brentq(gap, NOISE, 20 * NOISE, xtol=1e-3))


def true_c(population: Population, pairs: int) -> Floats:
    """(model,) Harrell's c of the population, from independent pairs of patients.

    A pair counts if the one whose follow-up ends first has the event; that is the definition, and shares no code with
    what is tested.
    """
    rng = np.random.default_rng(derive(0, "pairs"))
    concordant, comparable = np.zeros(len(population.noises)), 0
    for n in _chunks(pairs):
        one, other = population.draw(n, rng), population.draw(n, rng)
        first = one.time < other.time
        counts = np.where(first, one.event, other.event)
        right = (one.risks > other.risks) == first
        concordant += right[:, counts].sum(axis=1)
        comparable += int(counts.sum())
    return np.asarray(concordant / comparable)


def _chunks(n: int) -> Sequence[int]:
    whole, rest = divmod(n, _CHUNK)
    return [_CHUNK] * whole + [rest] * (rest > 0)
