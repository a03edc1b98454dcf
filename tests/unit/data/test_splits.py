"""Folds: generated and published, and what cannot be folded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fusionbench import Case, DataError, Fold, SurvivalTarget
from fusionbench.core.endpoints import ClassTarget
from fusionbench.core.protocol import Protocol
from fusionbench.data.splits import fold_hash, make_folds


def cohort(n: int, events: int, *, rows: int = 1) -> list[Case]:
    """`n` patients of `rows` rows each, the first `events` of them with an event."""
    return [
        Case(f"p{i:03d}-{r}" if rows > 1 else f"p{i:03d}", f"p{i:03d}", SurvivalTarget(float(i), i < events), {})
        for i in range(n)
        for r in range(rows)
    ]


def protocol(**changes: object) -> Protocol:
    return Protocol.model_validate(changes)


def events(cases: Sequence[Case], ids: Sequence[str]) -> int:
    wanted = set(ids)
    return sum(c.id in wanted and bool(c.target and c.target.event) for c in cases)


def test_sizes_of_the_clean_protocol() -> None:
    cases = cohort(100, 40)
    folds = make_folds(cases, protocol(), 0, 0)
    assert [len(f.test) for f in folds] == [20] * 5
    assert [events(cases, f.test) for f in folds] == [8] * 5
    assert [(len(f.train), len(f.val)) for f in folds] == [(68, 12)] * 5  # 15 % of 80
    assert [events(cases, f.val) for f in folds] == [5] * 5  # 15 % of 32, rounded


def test_ids_are_sorted_and_each_is_tested_once() -> None:
    cases = cohort(23, 11)
    folds = make_folds(cases, protocol(folds=3), 0, 0)
    assert all(part == tuple(sorted(part)) for f in folds for part in (f.train, f.val, f.test))
    assert sorted(i for f in folds for i in f.test) == [c.id for c in cases]


def test_all_rows_of_a_patient_stand_together() -> None:
    cases = cohort(20, 10, rows=3)
    group = {c.id: c.group for c in cases}
    for fold in make_folds(cases, protocol(folds=4), 0, 0):
        parts = [{group[i] for i in ids} for ids in (fold.train, fold.val, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 20


def test_choices_depend_on_seed_and_repeat_and_nothing_else() -> None:
    cases = cohort(40, 20)
    folds = make_folds(cases, protocol(), 1, 0)
    shuffled = [cases[i] for i in np.random.default_rng(0).permutation(len(cases))]
    assert make_folds(shuffled, protocol(), 1, 0) == folds
    assert make_folds(cases, protocol(repeats=3, bins=2), 1, 0) == folds
    assert make_folds(cases, protocol(), 1, 1) != folds
    assert make_folds(cases, protocol(), 2, 0) != folds


@pytest.mark.parametrize(
    ("cases", "folds", "said"),
    [
        (cohort(4, 2), 5, "4 groups .* are fewer than the 5 folds"),
        (cohort(4, 2, rows=5), 5, "4 groups .* are fewer than the 5 folds"),
        (cohort(30, 4), 5, "none of the 6 test cases has an observed event"),
        (cohort(30, 0), 5, "none of the 20 train cases has an observed event"),
        (cohort(30, 2), 2, "none of the .* train cases has an observed event"),
        (cohort(2, 2), 2, "none of the 0 train cases"),
    ],
)
def test_what_cannot_be_folded(cases: list[Case], folds: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_folds(cases, protocol(folds=folds), 0, 0)


def published(names: Sequence[str], tests: int = 3) -> list[Fold]:
    return [
        Fold(tuple(n for j, n in enumerate(names) if j % tests != i), (), tuple(names[i::tests])) for i in range(tests)
    ]


def test_published_folds_pass_through_but_for_the_validation_cut() -> None:
    cases = cohort(30, 15)
    given = published([c.id for c in cases])
    folds = make_folds(cases, protocol(fold_source="published", folds=7), 0, 0, given)
    assert [f.test for f in folds] == [f.test for f in given]
    assert [tuple(sorted((*f.train, *f.val))) for f in folds] == [f.train for f in given]
    again = make_folds(cases, protocol(fold_source="published"), 0, 1, given)
    assert [f.test for f in again] == [f.test for f in folds]
    assert [f.val for f in again] != [f.val for f in folds]


def test_published_validation_cases_are_kept() -> None:
    """Whatever the repeat, and the share that the protocol asks for."""
    cases = cohort(30, 15)
    ids = tuple(c.id for c in cases)
    given = [Fold(ids[10:], ids[6:10], ids[:6])]
    for repeat in range(2):
        assert make_folds(cases, protocol(fold_source="published"), 0, repeat, given) == given


def test_published_test_sets_may_overlap_from_fold_to_fold() -> None:
    """As those of splits that are drawn anew for each fold; the sides of one fold may not, see below."""
    cases = cohort(30, 15)
    ids = tuple(c.id for c in cases)
    given = [Fold(ids[10:], (), ids[:10]), Fold((*ids[:5], *ids[15:]), (), ids[5:15])]
    folds = make_folds(cases, protocol(fold_source="published"), 0, 0, given)
    assert [fold.test for fold in folds] == [fold.test for fold in given]


def test_published_folds_name_patients_and_their_rows_follow() -> None:
    cases = cohort(30, 15, rows=2)
    given = published(sorted({c.group for c in cases}))
    for fold, of_patients in zip(make_folds(cases, protocol(fold_source="published"), 0, 0, given), given, strict=True):
        assert fold.test == tuple(f"{p}-{r}" for p in of_patients.test for r in range(2))


def test_a_patient_named_beside_its_rows_is_tested_once() -> None:
    cases = cohort(20, 20, rows=2)
    rest = tuple(f"p{i:03d}" for i in range(5, 20))
    test = tuple(name for i in range(5) for name in (f"p{i:03d}", f"p{i:03d}-0"))
    (fold,) = make_folds(cases, protocol(fold_source="published"), 0, 0, [Fold(rest, (), test)])
    assert fold.test == tuple(f"p{i:03d}-{r}" for i in range(5) for r in range(2))


def test_published_folds_that_do_not_fit() -> None:
    cases = cohort(12, 12)
    ids = tuple(c.id for c in cases)
    chosen = protocol(fold_source="published")
    with pytest.raises(DataError, match="publishes no folds; use 'generated'"):
        make_folds(cases, chosen, 0, 0)
    with pytest.raises(DataError, match="fold 1 names 1 unknown cases, first 'p999'"):
        make_folds(cases, chosen, 0, 0, [Fold(ids[3:], (), ids[:3]), Fold(ids[3:], (), (*ids[:3], "p999"))])
    with pytest.raises(DataError, match=r"fold 0: group 'p00.' is in both"):
        make_folds(cases, chosen, 0, 0, [Fold(ids, (), ids[:3])])


def test_the_hash_tells_parts_apart() -> None:
    fold = Fold(("a", "b"), ("c",), ("d",))
    assert fold_hash(fold) == fold_hash(Fold(("a", "b"), ("c",), ("d",)))
    others = [Fold(("a",), ("b", "c"), ("d",)), Fold(("ab",), ("c",), ("d",)), Fold(("a", "b"), ("d",), ("c",))]
    assert len({fold_hash(f) for f in (fold, *others)}) == 4


def test_random_splits_look_at_rows_only() -> None:
    """As published: 70, 15 and 15 % of the slides, seeded 1, 2, ...; patients on both sides, test sets that overlap."""
    cases = cohort(100, 40, rows=2)
    chosen = protocol(fold_source="random", unit="slide")
    folds = make_folds(cases, chosen, 0, 0)
    assert [(len(f.train), len(f.val), len(f.test)) for f in folds] == [(140, 30, 30)] * 5
    group = {c.id: c.group for c in cases}
    assert all({group[i] for i in f.test} & {group[i] for i in f.train} for f in folds)
    assert len({i for f in folds for i in f.test}) < 150
    assert make_folds(cases[::-1], chosen, 7, 0) == folds  # neither the order of rows nor the suite's seed
    again = make_folds(cases, chosen, 0, 1)
    assert not {f.test for f in again} & {f.test for f in folds}


def test_random_splits_need_rows_and_events() -> None:
    with pytest.raises(DataError, match="3 rows are too few"):
        make_folds(cohort(3, 2), protocol(fold_source="random"), 0, 0)
    with pytest.raises(DataError, match="has an observed event"):
        make_folds(cohort(40, 1), protocol(fold_source="random"), 0, 0)


# Classes


def of_classes(labels: Sequence[str], *, rows: int = 1) -> list[Case]:
    """Patients of `rows` rows each, in a random order of classes."""
    order = np.random.default_rng(0).permutation(len(labels))
    return [
        Case(f"p{i:03d}-{r}", f"p{i:03d}", ClassTarget(labels[j]), {}) for i, j in enumerate(order) for r in range(rows)
    ]


def count(cases: Sequence[Case], ids: Sequence[str], label: str) -> int:
    wanted = set(ids)
    return sum(case.id in wanted and case.target == ClassTarget(label) for case in cases)


@pytest.mark.parametrize(
    "sizes",
    [{"no": 180, "yes": 20}, {"no": 178, "yes": 22}, {"a": 100, "b": 77, "c": 23}, {"a": 91, "b": 90, "c": 10, "d": 9}],
    ids=str,
)
@pytest.mark.parametrize("rows", [1, 2])
def test_every_fold_has_its_share_of_every_class(sizes: dict[str, int], rows: int) -> None:
    """Within one patient, in test and in train with validation; patients stay whole."""
    cases = of_classes([name for name, n in sizes.items() for _ in range(n)], rows=rows)
    folds = make_folds(cases, protocol(), 0, 0)
    for fold in folds:
        for name, n in sizes.items():
            assert abs(count(cases, fold.test, name) - n * rows / 5) < rows
            rest = count(cases, (*fold.train, *fold.val), name)
            assert abs(count(cases, fold.val, name) - 0.15 * rest) <= rows
        patients = [{i.partition("-")[0] for i in ids} for ids in (fold.train, fold.val, fold.test)]
        assert sum(map(len, patients)) == len(set.union(*patients)) == sum(sizes.values())
    assert sorted(i for f in folds for i in f.test) == sorted(case.id for case in cases)


def test_folds_of_classes_depend_on_seed_and_repeat_and_not_on_the_order_or_the_names() -> None:
    cases = of_classes(["no"] * 45 + ["yes"] * 15)
    folds = make_folds(cases, protocol(), 1, 0)
    assert make_folds(cases[::-1], protocol(), 1, 0) == folds
    assert make_folds(cases, protocol(), 2, 0) != folds != make_folds(cases, protocol(), 1, 1)
    names = {"no": "negative", "yes": "positive"}
    renamed = [Case(c.id, c.group, ClassTarget(names[c.target.label]), {}) for c in cases if c.target]  # type: ignore[union-attr]
    assert make_folds(renamed, protocol(), 1, 0) == folds


def test_folds_of_two_classes_are_those_of_events() -> None:
    """The rarer of two classes is spread as events are."""
    followed = cohort(60, 12)
    classes = [Case(c.id, c.group, ClassTarget("yes" if c.target and c.target.event else "no"), {}) for c in followed]  # type: ignore[union-attr]
    assert make_folds(classes, protocol(), 3, 1) == make_folds(followed, protocol(), 3, 1)


@pytest.mark.parametrize(
    ("rare", "said"),
    [
        (4, r"fold \d: none of the \d+ test cases is of class 'yes'; use fewer folds or a larger cohort"),
        (1, r"fold \d: none of the \d+ (train|val) cases is of class 'yes'"),
    ],
)
def test_a_class_of_fewer_cases_than_folds(rare: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_folds(of_classes(["no"] * 40 + ["yes"] * rare), protocol(), 0, 0)
