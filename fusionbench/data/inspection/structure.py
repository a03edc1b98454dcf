"""Suspicions about cases, groups and folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fusionbench.data.inspection.suspicion import Suspicion, listed

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort

FEWEST_GROUPS = 5
"""Of the usual folds, each needs a group."""


def structure_warnings(cohort: Cohort) -> Iterator[Suspicion]:
    """What looks wrong about cases, groups and modalities."""
    alone = list(cohort.without_modality)
    if alone:
        yield Suspicion(
            "no-modality",
            "cases",
            f"{len(alone)} of {len(cohort.cases)} cases have no modality at all ({listed(alone)}): they leave training "
            "and get the training-mean risk at test; leave them out if that is not wanted",
        )
    spread = Counter(case.group for case in cohort.cases)
    if len(spread) < FEWEST_GROUPS:
        yield Suspicion(
            "few-groups",
            "cases",
            f"{len(spread)} groups ({listed(sorted(spread))}) are fewer than the {FEWEST_GROUPS} usual folds; a group "
            "stays on one side of a split",
        )
    yield from _astride(cohort)


def _astride(cohort: Cohort) -> Iterator[Suspicion]:
    """Groups with cases in train or validation and in test of one published fold."""
    groups: dict[str, set[str]] = {}
    for case in cohort.cases:  # published folds name patients, which are cases or groups
        groups.setdefault(case.id, set()).add(case.group)
        groups.setdefault(case.group, set()).add(case.group)
    astride: dict[int, list[str]] = {}
    for number, fold in enumerate(cohort.folds or ()):
        trained = {g for name in (*fold.train, *fold.val) for g in groups.get(name, ())}
        both = sorted(trained & {g for name in fold.test for g in groups.get(name, ())})
        if both:
            astride[number] = both
    if astride:
        number, both = next(iter(astride.items()))
        yield Suspicion(
            "group-astride",
            "folds",
            f"{len(astride)} of {len(cohort.folds or ())} published folds have groups in both train and test, fold "
            f"{number} {listed(both)}; fold_source = 'published' will refuse it",
        )
