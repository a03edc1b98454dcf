"""Folds: group-disjoint, stratified by event, the same for every model; published folds pass through.

Random splits, which a protocol may ask for, are neither; they are there to show what that is worth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.core.protocol import Protocol
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, Fold

RANDOM_TEST = 0.15
"""Share of the rows in the test part of a random split (HEALNet: 70, 15 and 15 %)."""


def make_folds(
    cases: Sequence[Case], protocol: Protocol, seed: int, repeat: int, published: Sequence[Fold] | None = None
) -> list[Fold]:
    """The folds of one repeat. Repeats make new folds; with published folds they make new validation cuts.

    The random choices depend on the seed, the repeat and the cases' ids, groups and events, in sorted order.

    Raises:
        DataError: fewer groups than folds, a fold's part without an event, or published folds that do not fit.
    """
    by_id = {case.id: case for case in cases}
    if protocol.fold_source == "random":
        return _random(by_id, protocol, repeat)
    if protocol.fold_source == "published":
        if published is None:
            raise DataError("fold_source = 'published', but this dataset publishes no folds; use 'generated'")
        pairs = [_published(fold, by_id, i) for i, fold in enumerate(published)]
    else:
        pairs = _generated(cases, protocol.folds, derive(seed, "folds", repeat))
    folds = []
    for i, (rest, test) in enumerate(pairs):
        val = _draw(rest, protocol.validation, by_id, derive(seed, "validation", repeat, i))
        train = sorted(set(rest) - val)
        fold = Fold(tuple(train), tuple(sorted(val)), tuple(sorted(set(test))))
        _assert_events(fold, by_id, i)
        _assert_groups(fold, by_id, i)
        folds.append(fold)
    return folds


def _random(by_id: Mapping[str, Case], protocol: Protocol, repeat: int) -> list[Fold]:
    """Independent splits of the rows, seeded 1, 2, ... as published; further repeats count on."""
    ids = sorted(by_id)
    n_test, n_val = round(RANDOM_TEST * len(ids)), round(protocol.validation * len(ids))
    if min(n_test, n_val) < 1 or len(ids) - n_test - n_val < 1:
        raise DataError(f"{len(ids)} rows are too few for a random split into train, validation and test")
    folds = []
    for i in range(protocol.folds):
        order = [ids[j] for j in np.random.default_rng(1 + i + repeat * protocol.folds).permutation(len(ids))]
        test, val, train = order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :]
        fold = Fold(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)))
        _assert_events(fold, by_id, i)
        folds.append(fold)
    return folds


def _generated(cases: Sequence[Case], k: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """k disjoint test folds over groups, each stratum (event or not) dealt out evenly."""
    groups = _groups(cases)
    if len(groups) < k:
        raise DataError(f"{len(groups)} groups (patients or sites) are fewer than the {k} folds asked for")
    fold_of = _deal(groups, k, np.random.default_rng(seed))
    everyone = [case.id for case in cases]
    tests = [[case.id for case in cases if fold_of[case.group] == i] for i in range(k)]
    return [(sorted(set(everyone) - set(test)), test) for test in tests]


def _groups(cases: Sequence[Case]) -> dict[str, tuple[int, int]]:
    """Group to (events, cases), in sorted order so that the input's order does not matter."""
    counts: dict[str, tuple[int, int]] = {}
    for case in cases:
        events, n = counts.get(case.group, (0, 0))
        counts[case.group] = (events + bool(case.target and case.target.event), n + 1)
    return dict(sorted(counts.items()))


def _deal(groups: Mapping[str, tuple[int, int]], k: int, rng: np.random.Generator) -> dict[str, int]:
    """Largest groups first, each to the fold that has fewest events, then fewest cases, then by lot."""
    names = list(groups)
    shuffled = [names[i] for i in rng.permutation(len(names))]
    order = sorted(shuffled, key=lambda g: groups[g], reverse=True)
    lot = rng.permutation(k)
    events, sizes = np.zeros(k), np.zeros(k)
    fold_of: dict[str, int] = {}
    for name in order:
        n_events, n = groups[name]
        # Groups without an event balance sizes; the others balance events first.
        load = [(events[i] if n_events else 0, sizes[i], lot[i]) for i in range(k)]
        best = min(range(k), key=load.__getitem__)
        fold_of[name] = best
        events[best] += n_events
        sizes[best] += n
    return fold_of


def _draw(ids: Sequence[str], share: float, by_id: Mapping[str, Case], seed: int) -> set[str]:
    """A stratified share of `ids`, groups intact."""
    groups = _groups([by_id[i] for i in ids])
    rng = np.random.default_rng(seed)
    taken: set[str] = set()
    for with_event in (True, False):
        stratum = [g for g, (events, _) in groups.items() if (events > 0) == with_event]
        wanted = share * sum(groups[g][1] for g in stratum)
        size = 0
        for i in rng.permutation(len(stratum)):
            n = groups[stratum[i]][1]
            if size and size + n / 2 > wanted:
                break
            taken.add(stratum[i])
            size += n
    return {i for i in ids if by_id[i].group in taken}


def _published(fold: Fold, by_id: Mapping[str, Case], number: int) -> tuple[list[str], list[str]]:
    """Published folds name patients; rows of another unit follow their group."""
    members: dict[str, list[str]] = {}
    for case in by_id.values():
        members.setdefault(case.group, []).append(case.id)
        if case.id != case.group:
            members.setdefault(case.id, []).append(case.id)
    unknown = sorted({*fold.train, *fold.val, *fold.test} - set(members))
    if unknown:
        raise DataError(f"published fold {number} names {len(unknown)} unknown cases, first {unknown[0]!r}")
    rest = [i for name in (*fold.train, *fold.val) for i in members[name]]
    return sorted(rest), [i for name in fold.test for i in members[name]]


def _parts(fold: Fold) -> dict[str, tuple[str, ...]]:
    return {"train": fold.train, "val": fold.val, "test": fold.test}


def _assert_events(fold: Fold, by_id: Mapping[str, Case], number: int) -> None:
    for name, ids in _parts(fold).items():
        if not any(_event(by_id[i]) for i in ids):
            raise DataError(
                f"fold {number}: none of the {len(ids)} {name} cases has an observed event; "
                "use fewer folds or a larger cohort"
            )


def _assert_groups(fold: Fold, by_id: Mapping[str, Case], number: int) -> None:
    groups = {name: {by_id[i].group for i in ids} for name, ids in _parts(fold).items()}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(groups[a] & groups[b])
        if both:
            raise DataError(f"fold {number}: group {both[0]!r} stands in both {a} and {b}")


def _event(case: Case) -> bool:
    return case.target is not None and case.target.event


def fold_hash(fold: Fold) -> str:
    """sha256 of a fold's ids, by part."""
    text = "\x1e".join("\x1f".join(part) for part in (fold.train, fold.val, fold.test))
    return hashlib.sha256(text.encode()).hexdigest()
