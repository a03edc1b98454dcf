"""Checks of what a cohort consists of: cases, modalities, classes, groups and published folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fusionbench.core.data_warning import DataWarning, Fix
from fusionbench.core.endpoints import ClassTarget
from fusionbench.data.cohort import listed
from fusionbench.data.inspection.duplicates import shared_prefixes

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort

MIN_HAVING = 10
"""Cases with a modality below which it is warned about: two in each of the usual five folds."""
MIN_GROUPS = 5
"""Each of the usual five folds needs a group."""


def check_structure(cohort: Cohort) -> Iterator[DataWarning]:
    """Warnings about cases without a modality, rare modalities and classes, few groups, and folds that split one."""
    without = list(cohort.without_modality)
    if without:
        yield DataWarning(
            "no-modality",
            "cases",
            f"{len(without)} of {len(cohort.cases)} cases have no modality at all ({listed(without)}): they leave "
            "training and get the average training risk at test; exclude them if that is not wanted",
            tuple(without),
            (Fix((), "exclude", without),),
        )
    yield from _rare_modalities(cohort)
    yield from _rare_classes(cohort)
    groups = Counter(case.group for case in cohort.cases)
    if len(groups) < MIN_GROUPS:
        yield DataWarning(
            "few-groups",
            "cases",
            f"{len(groups)} groups ({listed(sorted(groups))}) are fewer than the {MIN_GROUPS} usual folds; a group "
            "stays on one side of a split: name a finer column under `group`, or ask for fewer folds in the suite",
            tuple(sorted(groups)),
        )
    several = shared_prefixes(cohort.cases)
    if several:
        n = sum(map(len, several.values()))
        first, ids = next(iter(several.items()))
        yield DataWarning(
            "shared-prefix",
            "cases",
            f"{n} of {len(cohort.cases)} cases share the beginning of their id with a case of another group "
            f"({first!r}: {listed(ids)}): if it is the patient's, name the patient under `group`, or exclude all but "
            "one case of each, or a patient stands on both sides of a split",
            tuple(i for ids in several.values() for i in ids),
            (Fix((), "exclude", [i for ids in several.values() for i in ids[1:]]),),
        )
    yield from _check_folds(cohort)


def _rare_modalities(cohort: Cohort) -> Iterator[DataWarning]:
    """Modalities of so few cases that some of the usual folds have none of them in training, or none in test."""
    n = len(cohort.cases)
    having = {name: [case.id for case in cohort.cases if name in case.refs] for name in cohort.modalities}
    rare = [name for name, have in having.items() if len(have) < min(n, MIN_HAVING)]
    # Where all are rare, leaving them out would leave nothing: no key answers it.
    for name in rare:
        have = having[name]
        yield DataWarning(
            "rare-modality",
            name,
            f"{name}: {len(have)} of {n} cases have it ({listed(have)}), fewer than {MIN_HAVING}: some of "
            f"{MIN_GROUPS} folds have none or one of them in training, validation or test, and cannot be run; "
            "check the ids, or leave it out: ignore = true in a cohort's TOML, or not in the suite's `modalities`",
            tuple(have),
            (Fix(("modality", name), "ignore", True),) if len(rare) < len(having) else (),
        )


def _rare_classes(cohort: Cohort) -> Iterator[DataWarning]:
    """Classes of so few cases that some of the usual folds have none of them in training, validation or test."""
    targets = {case: target.label for case, target in cohort.targets.items() if isinstance(target, ClassTarget)}
    for name in cohort.info.classes:
        of_class = [case for case, label in targets.items() if label == name]
        if len(of_class) < min(len(targets), MIN_HAVING):
            yield DataWarning(
                "rare-class",
                "cases",
                f"{len(of_class)} of {len(targets)} cases are of class {name!r} ({listed(of_class)}), fewer than "
                f"{MIN_HAVING}: some of {MIN_GROUPS} folds have none or one of them in training, validation or test; "
                "join classes, or ask for fewer folds in the suite",
                tuple(of_class),
            )


def _check_folds(cohort: Cohort) -> Iterator[DataWarning]:
    """Groups with cases in train or validation and in test of one published fold."""
    groups: dict[str, set[str]] = {}
    for case in cohort.cases:  # published folds name patients, which are cases or groups
        groups.setdefault(case.id, set()).add(case.group)
        groups.setdefault(case.group, set()).add(case.group)
    shared: dict[int, list[str]] = {}
    for number, fold in enumerate(cohort.folds or ()):
        trained = {g for name in (*fold.train, *fold.val) for g in groups.get(name, ())}
        both = sorted(trained & {g for name in fold.test for g in groups.get(name, ())})
        if both:
            shared[number] = both
    if shared:
        number, both = next(iter(shared.items()))
        yield DataWarning(
            "group-astride",
            "folds",
            f"{len(shared)} of {len(cohort.folds or ())} published folds have groups in both train and test, fold "
            f"{number} {listed(both)}; fold_source = 'published' will refuse it: correct the "
            "published folds, or take fold_source = 'generated'",
            tuple(dict.fromkeys(name for of_fold in shared.values() for name in of_fold)),
        )
