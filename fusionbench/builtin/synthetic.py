"""A synthetic cohort with known hazards: signal in a vector, in a few instances of a bag, and in both together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.options import Options as BaseOptions
from fusionbench.core.rounding import part_of
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, ClassTarget, DatasetInfo, ModalityUse, SurvivalTarget, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

VECTOR, BAG = "vector", "bag"
MEDIAN_MONTHS = 36.0
"""Median survival at log hazard 0."""
CLASSES: Mapping[str, tuple[str, ...]] = {"binary": ("low", "high"), "multiclass": ("low", "middle", "high")}
CUTS: Mapping[str, tuple[float, ...]] = {"binary": (0.0,), "multiclass": (-0.7, 0.7)}
"""Log hazards between the classes."""
NOISE = 0.35
"""Scale of the logistic noise on the log hazard of a case before it is cut into classes."""
SHAPE = 1.5
"""Shape of the Weibull baseline: hazards rise, and times spread over months to years as in real cohorts."""


class SyntheticOptions(BaseOptions):
    """Size and signal of the cohort. With the defaults the true risk has a Harrell's c of about 0.8.

    Attributes:
        cases: patients.
        vector_dim: columns of the vector.
        bag_dim: features of an instance.
        bag_min, bag_max: fewest and most instances of a bag.
        seed: of all random numbers.
        planted: share of a bag's instances that carry signal, rounded down; at most a tenth.
        noise: sd of the noise in every column and instance; the planted scores have sd 1.
        censoring: share of censored cases; exact up to rounding.
        strength_vector: log hazard per sd of a score that only the vector shows.
        strength_bag: log hazard per sd of a score that only the planted instances show.
        strength_interaction: log hazard of the product of two signs, one shown by each modality.
        task: "survival", or classes drawn from the same hazards: "binary" is high against low hazard, each case with
            the probability that its log hazard gives; "multiclass" cuts log hazard plus noise into three.
        missing: probability that a case lacks a modality, for each one independently; a case that would lose
            both keeps one of them.
    """

    cases: int = Field(400, ge=10)
    vector_dim: int = Field(24, ge=3)
    bag_dim: int = Field(16, ge=3)
    bag_min: int = Field(20, ge=1)
    bag_max: int = Field(60, ge=1)
    planted: float = Field(0.1, gt=0, le=0.1)
    noise: float = Field(0.5, ge=0)
    censoring: float = Field(0.4, ge=0, lt=1)
    strength_vector: float = Field(0.7, ge=0)
    strength_bag: float = Field(0.7, ge=0)
    strength_interaction: float = Field(1.0, ge=0)
    task: Literal["survival", "binary", "multiclass"] = "survival"
    missing: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _lengths(self) -> SyntheticOptions:
        if self.bag_max < self.bag_min:
            raise ValueError(f"bag_max {self.bag_max} is less than bag_min {self.bag_min}")
        if n_planted(self.bag_min, self.planted) < 1:
            raise ValueError(f"a bag of bag_min {self.bag_min} holds no whole instance of planted share {self.planted}")
        return self


@dataclass(frozen=True)
class SyntheticCohort:
    """The cases of a synthetic cohort and the truth about them.

    Attributes:
        true_risk: case id to log hazard.
        true_probability: case id to the probability of each class; empty for survival.
        planted: case id to (instance,) bool, True = carries signal; for every case, also one that lacks the bag.
    """

    cases: tuple[Case, ...]
    true_risk: Mapping[str, float]
    true_probability: Mapping[str, tuple[float, ...]]
    planted: Mapping[str, NDArray[np.bool_]]


class Synthetic(Dataset):
    """Simulated patients whose true hazards are known: from a vector, a bag of instances, and their interaction.

    Log hazard = strength_vector x u + strength_bag x w + strength_interaction x a x b. u and w are standard normal,
    a and b are fair signs, all independent. The vector shows u in its first third of columns (`main_*`) and a in
    the second (`cross_*`); the rest is noise. In a bag, planted instances are marked by a shift of 2 along a third
    of the features (`marker_*`), and show w and b along the two others; all other instances are noise around 0.
    Given a alone, or b alone, the product is a fair sign: with the other two strengths at 0, times and censoring
    are exactly independent of each single modality, while both together determine the hazard.
    (With a product of two normal scores they would not be: the size of one score shows how extreme the hazard is, and
    under censoring early deaths are observed more often than late ones.)

    Every random choice has a generator with a seed of its own; the values of a case have one for each case. So neither
    the number of threads nor the number of cases changes a case's values.
    """

    name = "synthetic"
    Options = SyntheticOptions
    options: SyntheticOptions

    def info(self) -> DatasetInfo:
        vector = column_names(self.options.vector_dim, ("main", "cross", "noise"))
        bag = column_names(self.options.bag_dim, ("marker", "main", "cross"))
        return DatasetInfo(
            title="Synthetic cohort with planted cross-modal signal",
            modalities={
                VECTOR: ModalityUse("vector", self.options.vector_dim, features=vector),
                BAG: ModalityUse("bag", self.options.bag_dim, features=bag),
            },
            licence="generated",
            **self._endpoint,
        )

    @property
    def _endpoint(self) -> dict[str, Any]:
        task = self.options.task
        if task == "survival":
            return {"endpoint": "simulated survival", "true_risk": self._drawn.true_risk}
        true = self._drawn.true_probability
        return {"endpoint": "simulated classes", "task": task, "classes": CLASSES[task], "true_probability": true}

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        if unit != "patient":
            raise DataError(f"{self.name} has no slides; set protocol.unit to 'patient'")
        return self._drawn.cases

    def planted_instances(self) -> Mapping[str, NDArray[np.bool_]]:
        """Case id to (instance,) bool, True = the instance carries signal; for the cases that have the bag."""
        return {case.id: self._drawn.planted[case.id] for case in self._drawn.cases if BAG in case.refs}

    @cached_property
    def _drawn(self) -> SyntheticCohort:
        return draw(self.options)


def draw(options: SyntheticOptions) -> SyntheticCohort:
    """The cohort of these options; the same on every call."""
    n, latent = options.cases, _generator(options, "latents")
    main_vector, main_bag = latent.standard_normal(n), latent.standard_normal(n)
    sign_vector, sign_bag = latent.choice([-1.0, 1.0], n), latent.choice([-1.0, 1.0], n)
    risk = (
        options.strength_vector * main_vector
        + options.strength_bag * main_bag
        + options.strength_interaction * sign_vector * sign_bag
    )
    targets, probability = _targets(options, risk)
    keep = _present(options)
    cases, planted = [], {}
    for i in range(n):
        id_ = f"case-{i:05d}"
        bag, planted[id_] = _bag(options, i, main_bag[i], sign_bag[i])
        refs: dict[str, Any] = {VECTOR: _vector(options, i, main_vector[i], sign_vector[i]), BAG: bag}
        refs = {name: ref for name, ref in refs.items() if name in keep[i]}
        cases.append(Case(id_, id_, targets[i], refs))
    true_risk = {case.id: float(r) for case, r in zip(cases, risk, strict=True)}
    true = {case.id: tuple(map(float, p)) for case, p in zip(cases, probability, strict=False)}
    return SyntheticCohort(tuple(cases), true_risk, true, planted)


def _targets(options: SyntheticOptions, risk: Floats) -> tuple[list[Target], Floats]:
    """The cases' targets, and (case, class) the probabilities of their classes; no row for survival."""
    if options.task == "survival":
        time, event = survival_times(risk, options.censoring, _generator(options, "times"))
        return [SurvivalTarget(float(t), bool(e)) for t, e in zip(time, event, strict=True)], np.zeros((0, 0))
    cuts, names = CUTS[options.task], CLASSES[options.task]
    # Logistic noise with the standard deviation of a log hazard of about 1, so that classes overlap as times do.
    below = 1 / (1 + np.exp(-(np.asarray(cuts)[None, :] - risk[:, None]) / NOISE))
    probability = np.diff(np.concatenate([np.zeros((len(risk), 1)), below, np.ones((len(risk), 1))], axis=1), axis=1)
    drawn = _generator(options, "classes").random(len(risk))
    label = (drawn[:, None] >= np.cumsum(probability, axis=1)[:, :-1]).sum(axis=1)
    return [ClassTarget(names[k]) for k in label], probability


def survival_times(risk: Floats, censoring: float, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Weibull times with proportional hazards and independent uniform censoring.

    Args:
        risk: (case,) log hazard ratio.
        censoring: share of censored cases. Censoring times are uniform on (0, c), with c such that the share is met.

    Returns:
        (case,) months, and (case,) bool, True = observed.
    """
    scale = MEDIAN_MONTHS / math.log(2) ** (1 / SHAPE)
    # Inverse of the Weibull survival function: T = scale (E exp(-risk))^(1/shape) with E standard exponential.
    death = scale * (rng.standard_exponential(len(risk)) * np.exp(-risk)) ** (1 / SHAPE)
    uniform = 1 - rng.random(len(risk))  # in (0, 1]
    # Censoring is at c * uniform, so a case has the event where death / uniform <= c; c is the quantile of these ratios
    # that leaves the wanted share above it.
    ratio = death / uniform
    last_event = np.sort(ratio)[len(risk) - 1 - round(part_of(len(risk), censoring))]
    event = ratio <= last_event
    return np.where(event, death, last_event * uniform), event


def n_planted(length: int, share: float) -> int:
    """Number of planted instances of a bag: at most `share` of its instances."""
    return math.floor(length * share + 1e-9)  # the product may be just below a whole number


def column_names(dim: int, blocks: Sequence[str]) -> tuple[str, ...]:
    """Names `block_number`; each block is a third of the columns, the last also has the remainder."""
    third = dim // 3
    sizes = (third, third, dim - 2 * third)
    return tuple(f"{block}_{i}" for block, size in zip(blocks, sizes, strict=True) for i in range(size))


def _vector(options: SyntheticOptions, i: int, main: float, sign: float) -> Floats:
    third = options.vector_dim // 3
    values = options.noise * _generator(options, "vector", i).standard_normal(options.vector_dim)
    values[:third] += main
    values[third : 2 * third] += sign
    return values


def _bag(options: SyntheticOptions, i: int, main: float, sign: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng, third = _generator(options, "bag", i), options.bag_dim // 3
    length = int(rng.integers(options.bag_min, options.bag_max, endpoint=True))
    planted = np.zeros(length, dtype=np.bool_)
    planted[rng.permutation(length)[: n_planted(length, options.planted)]] = True
    values = options.noise * rng.standard_normal((length, options.bag_dim))
    shift = np.repeat([2.0, main, sign], [third, third, options.bag_dim - 2 * third])
    values[planted] += shift
    return values.astype(np.float32), planted


def _present(options: SyntheticOptions) -> list[tuple[str, ...]]:
    """The modalities of each case; a case that would lose both keeps one at random."""
    rng = _generator(options, "missing")
    lost = rng.random((options.cases, 2)) < options.missing
    spared = rng.integers(2, size=options.cases)
    lost[lost.all(axis=1), spared[lost.all(axis=1)]] = False
    return [tuple(name for name, gone in zip((VECTOR, BAG), row, strict=True) if not gone) for row in lost]


def _generator(options: SyntheticOptions, *purpose: str | int) -> np.random.Generator:
    return np.random.default_rng(derive(options.seed, "synthetic", *purpose))
