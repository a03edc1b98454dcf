"""Folds of a cohort: group-disjoint, stratified by event or class, the same for every model; published ones are kept.

A protocol may choose random splits, which are neither disjoint by group nor stratified: they reproduce published
protocols and show what group-disjoint folds are worth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.core.protocol import Protocol
from fusionbench.core.rounding import part_of
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, Fold, Target
from fusionbench.tasks import PartCheck, kind_of_target

RANDOM_TEST = 0.15
"""Share of the rows in the test part of a random split (HEALNet: 70, 15 and 15 %)."""


def make_folds(
    cases: Sequence[Case], protocol: Protocol, seed: int, repeat: int, published: Sequence[Fold] | None = None
) -> list[Fold]:
    """The folds of one repeat. Another repeat has new folds; with published folds, a new choice of validation cases,
    unless these are published, too.

    The random choices depend on the seed, the repeat and the cases' ids, groups and targets; not on their order.

    Args:
        seed: of the suite.
        repeat: from 0.
        published: the dataset's own folds, where it has any; used where the protocol says so.

    Raises:
        DataError: fewer groups than folds, a fold's part without an event or class, or published folds that do not fit.
    """
    by_id = {case.id: case for case in cases}
    if protocol.fold_source == "random":
        return _random(by_id, protocol, repeat)
    if protocol.fold_source == "published":
        if published is None:
            raise DataError("fold_source = 'published', but this dataset publishes no folds; use 'generated'")
        parts = [_published(fold, by_id, i) for i, fold in enumerate(published)]
    else:
        parts = [(rest, set(), test) for rest, test in _generated(cases, protocol.folds, derive(seed, "folds", repeat))]
    folds, check = [], _part_check(by_id.values())
    for i, (rest, fixed, test) in enumerate(parts):
        val = fixed or _validation(rest, protocol.validation, by_id, derive(seed, "validation", repeat, i))
        train = sorted(set(rest) - val)
        fold = Fold(tuple(train), tuple(sorted(val)), tuple(sorted(set(test))))
        _check_targets(fold, by_id, i, check)
        _check_groups(fold, by_id, i)
        folds.append(fold)
    return folds


def _random(by_id: Mapping[str, Case], protocol: Protocol, repeat: int) -> list[Fold]:
    """Independent random splits of the rows (HEALNet's protocol): neither stratified nor disjoint by group."""
    ids = sorted(by_id)
    n_test, n_val = round(part_of(len(ids), RANDOM_TEST)), round(part_of(len(ids), protocol.validation))
    if min(n_test, n_val) < 1 or len(ids) - n_test - n_val < 1:
        raise DataError(f"{len(ids)} rows are too few for a random split into train, validation and test")
    folds, check = [], _part_check(by_id.values())
    for i in range(protocol.folds):
        # Seeds 1, 2, ... as published, not derived from the suite's; repeats continue the numbers.
        order = [ids[j] for j in np.random.default_rng(1 + i + repeat * protocol.folds).permutation(len(ids))]
        test, val, train = order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :]
        fold = Fold(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)))
        _check_targets(fold, by_id, i, check)
        folds.append(fold)
    return folds


def _generated(cases: Sequence[Case], k: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """(other ids, test ids) of k disjoint test folds; groups stay whole, events and cases are spread evenly."""
    groups = _count_groups(cases)
    if len(groups) < k:
        raise DataError(f"{len(groups)} groups (patients or sites) are fewer than the {k} folds of the protocol")
    fold_of = _assign_folds(groups, k, np.random.default_rng(seed))
    all_ids = {case.id for case in cases}
    tests = [[case.id for case in cases if fold_of[case.group] == i] for i in range(k)]
    return [(sorted(all_ids - set(test)), test) for test in tests]


def _count_groups(cases: Sequence[Case]) -> dict[str, tuple[int, ...]]:
    """Group to its number of cases in each stratum but the last, then of all; the order of the cases changes nothing.

    Of survival the one stratum counted is that of the events.
    """
    strata = _strata([case.target for case in cases])
    counted = max(1, max(strata, default=0))
    counts: dict[str, list[int]] = {}
    for case, stratum in zip(cases, strata, strict=True):
        of_group = counts.setdefault(case.group, [0] * (counted + 1))
        of_group[-1] += 1
        if stratum < counted:
            of_group[stratum] += 1
    return {group: tuple(n) for group, n in sorted(counts.items())}


def _strata(targets: Sequence[Target | None]) -> list[int]:
    known = next((target for target in targets if target is not None), None)
    return [0] * len(targets) if known is None else kind_of_target(known).strata(targets)


def _first_stratum(counts: Sequence[int]) -> int | None:
    """The first of the counted strata in which a group has a case; None where it has cases of the last one only."""
    return next((i for i, n in enumerate(counts[:-1]) if n), None)


def _assign_folds(groups: Mapping[str, tuple[int, ...]], k: int, rng: np.random.Generator) -> dict[str, int]:
    """Group to fold, greedily: to the fold with the fewest cases of its stratum, then of all, then at random."""
    names = list(groups)
    shuffled = [names[i] for i in rng.permutation(len(names))]
    # Groups with the most events (or cases of the rarest class) first, while small ones that even out the folds are
    # left. The sort is stable, so equal groups stay shuffled.
    order = sorted(shuffled, key=lambda g: groups[g], reverse=True)
    tie_break = rng.permutation(k)
    held = np.zeros((k, len(groups[names[0]])))
    fold_of: dict[str, int] = {}
    for name in order:
        stratum = _first_stratum(groups[name])
        # Groups of the last stratum balance sizes; the others balance their stratum first.
        load = [(0 if stratum is None else held[i, stratum], held[i, -1], tie_break[i]) for i in range(k)]
        best = min(range(k), key=load.__getitem__)
        fold_of[name] = best
        held[best] += groups[name]
    return fold_of


def _validation(ids: Sequence[str], share: float, by_id: Mapping[str, Case], seed: int) -> set[str]:
    """A random share of `ids` for validation, stratified by event or class; groups stay whole."""
    groups = _count_groups([by_id[i] for i in ids])
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    counted = len(next(iter(groups.values()))) - 1
    for wanted in (*range(counted), None):
        stratum = [g for g, counts in groups.items() if _first_stratum(counts) == wanted]
        target = part_of(sum(groups[g][-1] for g in stratum), share)
        size = 0
        for i in rng.permutation(len(stratum)):
            n = groups[stratum[i]][-1]
            # Stop where the next group would lead further beyond the target than it is missed now; but take one.
            if size and size + Fraction(n, 2) > target:
                break
            chosen.add(stratum[i])
            size += n
    return {i for i in ids if by_id[i].group in chosen}


def _published(fold: Fold, by_id: Mapping[str, Case], number: int) -> tuple[list[str], set[str], list[str]]:
    """(ids to train on, validation ids where they are published, test ids) of a published fold.

    Published folds name patients. Where rows are slides, all slides of a patient go where the patient is.
    """
    members: dict[str, list[str]] = {}  # a name in a published fold -> the rows it stands for
    for case in by_id.values():
        members.setdefault(case.group, []).append(case.id)
        if case.id != case.group:
            members.setdefault(case.id, []).append(case.id)
    unknown = sorted({*fold.train, *fold.val, *fold.test} - set(members))
    if unknown:
        raise DataError(f"published fold {number} names {len(unknown)} unknown cases, first {unknown[0]!r}")
    train, val, test = ([i for name in names for i in members[name]] for names in _parts(fold).values())
    return sorted(train), set(val), test


def _parts(fold: Fold) -> dict[str, tuple[str, ...]]:
    return {"train": fold.train, "val": fold.val, "test": fold.test}


def _part_check(cases: Iterable[Case]) -> PartCheck:
    """What every part needs: an event, or a case of every class of these cases."""
    everyone = [case.target for case in cases]
    known = next((target for target in everyone if target is not None), None)
    return (lambda _: "has a known outcome") if known is None else kind_of_target(known).part_check(everyone)


def _check_targets(fold: Fold, by_id: Mapping[str, Case], number: int, check: PartCheck) -> None:
    for name, ids in _parts(fold).items():
        if lacks := check([by_id[i].target for i in ids]):
            raise DataError(
                f"fold {number}: none of the {len(ids)} {name} cases {lacks}; use fewer folds or a larger cohort"
            )


def _check_groups(fold: Fold, by_id: Mapping[str, Case], number: int) -> None:
    groups = {name: {by_id[i].group for i in ids} for name, ids in _parts(fold).items()}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(groups[a] & groups[b])
        if both:
            raise DataError(f"fold {number}: group {both[0]!r} is in both {a} and {b}")


def fold_hash(fold: Fold) -> str:
    """Hexadecimal sha256 of a fold's ids, part by part."""
    # Control characters as separators: joined by commas, ("a", "b") and ("a,b",) would hash alike.
    text = "\x1e".join("\x1f".join(part) for part in (fold.train, fold.val, fold.test))
    return hashlib.sha256(text.encode()).hexdigest()
