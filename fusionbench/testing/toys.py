"""Small made-up cohorts for tests of models, modalities and whatever takes cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.grid import Grid
from fusionbench.builtin.vector import Vector
from fusionbench.core.endpoints import follow_up, followed
from fusionbench.core.interfaces import Modality
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, CaseSet, ModalityUse, RawBag, SurvivalTarget, SurvivalTargets, Task
from fusionbench.data.cohort import make_modality
from fusionbench.data.preprocessing import Preprocessor, fit_preprocessor
from fusionbench.survival import assign_bins, time_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

GENES = tuple(f"gene_{i}" for i in range(12))
TOYS: Mapping[str, ModalityUse] = {
    "clinical": ModalityUse("vector", 3, features=("age", "sex", "stage"), categorical=frozenset({"stage"})),
    "omic": ModalityUse(
        "vector", 12, features=GENES, groups={f"group_{g}": GENES[2 * g : 2 * g + 3] for g in range(5)}
    ),
    "image": ModalityUse("bag", 8),
    "map": ModalityUse("grid", 4, options={"axes": 2}),
}
"""The toy modalities: two vectors (one with levels, one with overlapping groups), a bag of 3 to 9 with coords, and a
grid of 2 axes."""


class ToyBag(Bag):
    """A bag whose instances lie at places that they carry along: their first two numbers are their coords."""

    def load(self, ref: Any) -> RawBag:
        raw = super().load(ref)
        return replace(raw, coords=np.ascontiguousarray(raw.values[:, :2]))


def toy_modalities(names: Sequence[str] = ("omic", "image")) -> dict[str, Modality]:
    """Readers of the toy modalities `names`."""
    known: dict[str, type[Modality]] = {"vector": Vector, "bag": ToyBag, "grid": Grid}
    return {name: make_modality("toy", name, TOYS[name], known) for name in names}


def toy_cases(
    n: int = 40, seed: int = 0, modalities: Sequence[str] = ("omic", "image"), *, missing: float = 0.0
) -> tuple[Case, ...]:
    """Cases `toy-000`, ... with half their events observed; one hidden score drives time and every modality.

    Args:
        modalities: names out of TOYS.
        missing: probability that a modality is missing, independently; no case loses all.
    """
    rng = np.random.default_rng(derive(seed, "toys", n))
    cases = []
    for i in range(n):
        score = rng.standard_normal()
        refs = {name: toy_ref(name, score, rng) for name in modalities}
        spared = modalities[int(rng.integers(len(modalities)))]
        refs = {name: ref for name, ref in refs.items() if rng.random() >= missing or name == spared}
        time = float(24 * rng.standard_exponential() * np.exp(-score))
        cases.append(Case(f"toy-{i:03d}", f"toy-{i:03d}", SurvivalTarget(time, i % 2 == 0), refs))
    return tuple(cases)


def toy_case_set(
    n: int = 40,
    seed: int = 0,
    modalities: Sequence[str] = ("omic", "image"),
    *,
    missing: float = 0.0,
    bins: int = 4,
    impute: bool = False,
) -> CaseSet:
    """Toy cases as a model gets them in `fit`: prepared, with targets in `bins` time bins.

    Args:
        impute: fill missing modalities with the training mean, as the harness does for models that ask for it.
    """
    cases = toy_cases(n, seed, modalities, missing=missing)
    preprocessor: Preprocessor = fit_preprocessor(toy_modalities(modalities), cases)
    if impute:
        preprocessor = preprocessor.imputing()
    return CaseSet(cases, preprocessor.specs, toy_targets(cases, bins), preprocessor.prepare)


def toy_targets(cases: Sequence[Case], bins: int = 4) -> SurvivalTargets[NDArray[Any]]:
    """Targets of `cases` in their order, binned by their own event times."""
    known = [followed(case.target) for case in cases]
    time = np.array([target.time for target in known])
    event = np.array([target.event for target in known])
    return SurvivalTargets(time, event, assign_bins(time, time_bins(time, event, bins)))


def toy_task(case_set: CaseSet, bins: int = 4) -> Task:
    """The task of a toy case set made with as many `bins`."""
    if case_set.targets is None:
        raise ValueError("a task needs targets; make it before `without_targets`")
    targets = follow_up(case_set.targets)
    edges = time_bins(targets.time, targets.event, bins)
    return Task(n_outputs=len(edges) + 1, edges=edges)


def toy_ref(name: str, score: float, rng: np.random.Generator) -> NDArray[Any]:
    """The data of one case: a row, (instance, feature) or (row, column, feature), all of it around its score."""
    if name == "clinical":
        return np.array(
            [60 + 10 * score + rng.standard_normal(), rng.integers(2), rng.integers(1, 4)], dtype=np.float64
        )
    if name == "omic":
        return score * np.linspace(1, -1, len(GENES)) + 0.5 * rng.standard_normal(len(GENES))
    if name == "image":
        return score + 0.5 * rng.standard_normal((int(rng.integers(3, 10)), TOYS["image"].dim))
    rows, columns = rng.integers(2, 5, size=2)
    return score + 0.5 * rng.standard_normal((rows, columns, TOYS["map"].dim))
