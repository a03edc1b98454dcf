"""The small cohort that models are tried on: toy cases split and prepared as the harness does it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.endpoints import ClassTarget, ClassTargets, TaskName, follow_up, followed
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, CaseSet, ModalitySpec, PreparedCase, SurvivalTarget, SurvivalTargets, Task
from fusionbench.data.bag_cache import CACHE_BYTES
from fusionbench.data.cohort import raw_spec
from fusionbench.data.preprocessing import Preprocessor, fit_preprocessor
from fusionbench.survival import assign_bins, time_bins
from fusionbench.testing.toys import toy_modalities, toy_ref

Targets = SurvivalTargets[NDArray[Any]]
Prepare = Callable[[Case, tuple[str, ...]], PreparedCase]

SETS: tuple[tuple[str, ...], ...] = (
    ("omic",),
    ("image",),
    ("map",),
    ("clinical", "omic"),
    ("omic", "image"),
    ("image", "map"),
    ("clinical", "omic", "image"),
    ("omic", "image", "map"),
)
"""Modality sets to try: `clinical` and `omic` are vectors, `image` is a bag, `map` a grid of two axes."""

TRAIN, VAL, TEST = 96, 32, 60
STRENGTH = 6.0
"""Log hazard per sd of the hidden score: the best possible c-index is about 0.95."""
EIGHT = frozenset({"eight cases"})
"""`Sample.informed` where times are drawn at random."""
MISSING = 0.1
"""Share of the modalities that training and validation cases lack; the test cases are complete."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A toy cohort, split and prepared.

    Attributes:
        informed: the modalities that show the score which drives time; each other one shows a score of its own.
        outcome: the targets of `test`.
        test: without targets, as the harness hands test cases out.
        known_test: the cases of `test` with their targets.
        doubled: it shows the data of half of the training and validation cases twice.
    """

    informed: frozenset[str]
    task: Task
    raw_specs: Mapping[str, ModalitySpec]
    preprocessor: Preprocessor
    train: CaseSet
    val: CaseSet
    test: CaseSet
    outcome: Targets
    known_test: tuple[Case, ...]
    doubled: bool = False

    def prepared_by(self, preprocessor: Preprocessor) -> Sample:
        """The same cases through another preprocessor."""
        specs, prepare = preprocessor.specs, preprocessor.prepare
        parts = (replace(cases, specs=specs, prepare=prepare) for cases in (self.train, self.val, self.test))
        train, val, test = parts
        return replace(self, preprocessor=preprocessor, train=train, val=val, test=test)


def make_sample(modalities: Sequence[str], signal: Sequence[str] | None = None, *, cached: bool = False) -> Sample:
    """A cohort with a strong hidden score, which all modalities show, or those in `signal`.

    The data of a modality are the same in every set of modalities.

    Args:
        cached: hand out the same prepared bags at every reading, as a run does. Otherwise they are made anew, so that
            a model that changes what it is given spoils no other check.
    """
    informed = frozenset(modalities if signal is None else signal)
    cases = _strong_cases(modalities, informed)
    lacking = [_with_gaps(case, i) for i, case in enumerate(cases[: TRAIN + VAL])]
    train, val = (tuple(c for c in part if c.refs) for part in (lacking[:TRAIN], lacking[TRAIN:]))
    readers = toy_modalities(modalities)
    preprocessor = fit_preprocessor(readers, train, cache_bytes=CACHE_BYTES if cached else 0)
    everyone = targets_of(cases[:TRAIN], ())
    edges = time_bins(everyone.time, everyone.event, 4)

    def case_set(part: tuple[Case, ...]) -> CaseSet:
        return CaseSet(part, preprocessor.specs, targets_of(part, edges), preprocessor.prepare)

    test = cases[TRAIN + VAL :]
    return Sample(
        informed=informed,
        task=Task(n_outputs=len(edges) + 1, edges=edges),
        raw_specs={name: raw_spec(reader, train) for name, reader in readers.items()},
        preprocessor=preprocessor,
        train=case_set(train),
        val=case_set(val),
        test=case_set(test).without_targets(),
        outcome=targets_of(test, edges),
        known_test=test,
    )


CLASSES: Mapping[TaskName, tuple[str, ...]] = {
    "survival": (),
    "binary": ("late", "early"),
    "multiclass": ("late", "middle", "early"),
}
"""Kind of endpoint to the classes that a sample's cases fall into by their times, the latest first."""


def as_classes(sample: Sample, kind: TaskName) -> Sample:
    """The same cases with classes in the place of follow-up: equal parts of the training cases by their time.

    What is ranked stays: an earlier event is a higher class. `outcome` stays the follow-up behind the classes.
    """
    names = CLASSES[kind]
    if not names:
        return sample
    cuts = np.quantile(follow_up(sample.train.targets).time, np.linspace(0, 1, len(names) + 1)[1:-1])

    def classed(cases: CaseSet) -> CaseSet:
        label = len(names) - 1 - np.searchsorted(cuts, follow_up(cases.targets).time)
        known = tuple(replace(c, target=ClassTarget(names[k])) for c, k in zip(cases.cases, label, strict=True))
        return replace(cases, cases=known, targets=ClassTargets(label.astype(np.int64)))

    task = Task(kind, len(names), classes=names)
    return replace(sample, task=task, train=classed(sample.train), val=classed(sample.val))


def _strong_cases(modalities: Sequence[str], informed: Collection[str]) -> tuple[Case, ...]:
    """Complete cases, half of their events observed; every modality is drawn from a stream of its own."""
    streams = {name: np.random.default_rng(derive(1, "conformance", name)) for name in modalities}
    rng = np.random.default_rng(derive(1, "conformance"))
    cases = []
    for i in range(TRAIN + VAL + TEST):
        score, luck = rng.standard_normal(), rng.standard_exponential()
        own = {name: stream.standard_normal() for name, stream in streams.items()}
        refs = {n: toy_ref(n, score if n in informed else own[n], stream) for n, stream in streams.items()}
        target = SurvivalTarget(float(24 * luck * np.exp(-STRENGTH * score)), i % 2 == 0)
        cases.append(Case(f"case-{i:03d}", f"case-{i:03d}", target, refs))
    return tuple(cases)


def _with_gaps(case: Case, number: int) -> Case:
    """The case without the modalities that it lacks, which depends on the case and the modality alone."""
    gone = {n for n in case.refs if np.random.default_rng(derive(number, "gap", n)).random() < MISSING}
    return replace(case, refs={name: ref for name, ref in case.refs.items() if name not in gone})


def rebinned(sample: Sample, task: Task) -> Sample:
    """The same cases with targets in the time bins of another task."""
    train, val = (replace(cases, targets=targets_of(cases.cases, task.edges)) for cases in (sample.train, sample.val))
    return replace(sample, task=task, train=train, val=val)


def with_loss(sample: Sample, loss: str) -> Sample:
    """The sample as a loss takes it: that of Cox has one output."""
    return rebinned(sample, Task(n_outputs=1, edges=sample.task.edges)) if loss == "cox" else sample


def with_half_the_data(sample: Sample) -> Sample:
    """A sample of the same size and ids, whose training and validation cases show the data of half of them twice."""
    train, val = (_doubled(cases) for cases in (sample.train, sample.val))
    return replace(sample, train=train, val=val, doubled=True)


def _doubled(cases: CaseSet) -> CaseSet:
    half = cases.take([i // 2 for i in range(len(cases))])
    named = (replace(case, id=own.id, group=own.group) for case, own in zip(half.cases, cases.cases, strict=True))
    return replace(half, cases=tuple(named))


def eight_cases(sample: Sample) -> Sample:
    """Eight of the test cases with times that have nothing to do with them, for training, validation and test."""
    cases = sample.test.cases[:8]
    time = np.random.default_rng(5).permutation(np.arange(1.0, 9.0)) * 6
    event = np.ones(8, dtype=bool)
    edges = time_bins(time, event, 4)
    outcome = SurvivalTargets(time, event, assign_bins(time, edges))
    known = replace(sample.test, cases=cases, targets=outcome)
    task = Task(n_outputs=len(edges) + 1, edges=edges)
    return replace(
        sample, informed=EIGHT, task=task, train=known, val=known, test=known.without_targets(), outcome=outcome
    )


def targets_of(cases: Sequence[Case], edges: Sequence[float]) -> Targets:
    """Times, events and time bins of cases with known targets."""
    known = [followed(case.target) for case in cases]
    time = np.array([target.time for target in known])
    return SurvivalTargets(time, np.array([target.event for target in known]), assign_bins(time, edges))


def change_refs(cases: CaseSet, modality: str, change: Callable[[int, NDArray[Any]], NDArray[Any]]) -> CaseSet:
    """The same cases with other data of one modality; `change` gets position and ref."""
    changed = tuple(
        replace(case, refs={**case.refs, modality: change(i, case.refs[modality])}) if modality in case.refs else case
        for i, case in enumerate(cases.cases)
    )
    return replace(cases, cases=changed)


def exchanged(cases: CaseSet, modality: str) -> CaseSet:
    """Every case with the next one's data of one modality."""
    refs = [case.refs[modality] for case in cases.cases]
    return change_refs(cases, modality, lambda i, _: refs[(i + 1) % len(refs)])


def hide(cases: CaseSet, modalities: Sequence[str]) -> CaseSet:
    """The same cases, as a missing-modality pattern hands them out."""
    return replace(cases, hidden={case.id: frozenset(modalities) for case in cases.cases})
