"""A fitted vector on a cohort with other columns: they are matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionbench import DataError, ModalityUse
from fusionbench.builtin.vector import FittedVector, Vector, VectorOptions

NAN = float("nan")
NAMES = ("age", "sex", "grade", "size")
RNG = np.random.default_rng(0)
TRAIN = np.column_stack(
    [RNG.normal(60, 9, 40), RNG.integers(2, size=40), RNG.integers(3, size=40), RNG.normal(size=40)]
)
SEX = {"sex": {0.0: "f", 1.0: "m"}}
Levels = Mapping[str, Mapping[float, str]]


def reader(
    names: Sequence[str], categorical: Sequence[str] = ("sex",), levels: Levels = SEX, **options: float
) -> Vector:
    use = ModalityUse("vector", len(names), features=tuple(names), categorical=frozenset(categorical), levels=levels)
    return Vector("clinical", use, VectorOptions(**options))


HERE = reader(NAMES)
FITTED = HERE.fit(HERE.load(row) for row in TRAIN)


def for_cohort(there: Vector) -> FittedVector:
    return there.restore_for_new_cohort(FITTED.state(), HERE.use)


def prepared(there: Vector, fitted: FittedVector, x: np.ndarray) -> np.ndarray:
    return np.concatenate([fitted(there.load(row)).numpy() for row in x])


EXPECTED = prepared(HERE, FITTED, TRAIN)


@given(st.permutations(range(4)))
def test_order_does_not_matter_to_the_bit(order: list[int]) -> None:
    there = reader([NAMES[i] for i in order])
    np.testing.assert_array_equal(prepared(there, for_cohort(there), TRAIN[:, order]), EXPECTED)


def test_further_columns_are_left_out_and_counted() -> None:
    there = reader(["weight", *NAMES, "height"])
    fitted = for_cohort(there)
    x = np.column_stack([TRAIN[:, 0], TRAIN, TRAIN[:, 0]])
    np.testing.assert_array_equal(prepared(there, fitted, x), EXPECTED)
    assert fitted.spec == FITTED.spec
    (line,) = fitted.differences(map(there.load, x))
    assert line == "2 columns (weight, height) are not among those that it was fitted on: left out"


def test_absent_columns_get_the_value_of_training_and_are_counted() -> None:
    there = reader(["sex", "age", "size"])
    fitted = for_cohort(there)
    known = TRAIN.copy()
    known[:, 2] = NAN
    np.testing.assert_array_equal(prepared(there, fitted, TRAIN[:, [1, 0, 3]]), prepared(HERE, FITTED, known))
    (line,) = fitted.differences(map(there.load, TRAIN[:, [1, 0, 3]]))
    assert line == "1 column (grade) is absent here: imputed as in training"


def test_a_renamed_column_is_absent_and_left_out() -> None:
    there = reader(["age", "sex", "grading", "size"])
    lines = for_cohort(there).differences([])
    assert [line.split(" is ")[0] for line in lines] == ["1 column (grade)", "1 column (grading)"]


def test_too_many_absent_columns_are_refused() -> None:
    with pytest.raises(DataError, match=r"3 of the 4 columns .*\(age, grade, size\).* max_absent = 0\.5 allows"):
        for_cohort(reader(["sex"]))
    assert len(for_cohort(reader(["sex"], max_absent=0.75)).differences([])) == 1
    with pytest.raises(DataError, match=r"2 of the 4 columns .* max_absent = 0\.25"):
        for_cohort(reader(["sex", "age"], max_absent=0.25))


def test_no_common_column_is_refused_and_says_what_is_here() -> None:
    with pytest.raises(DataError, match=r"none of the columns .*\(age, sex, grade and 1 more\) is here; it has x, y"):
        for_cohort(reader(["x", "y"], (), {}, max_absent=0.9))


def test_levels_in_one_cohort_and_numbers_in_the_other_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"'sex': levels \('f', 'm'\) in training, numbers here; write the column alike"
    ):
        for_cohort(reader(NAMES, ()))
    with pytest.raises(DataError, match=r"'grade': numbers in training, levels \('high', 'low'\) here"):
        for_cohort(reader(NAMES, ("sex", "grade"), {**SEX, "grade": {0.0: "high", 1.0: "low"}}))


@pytest.mark.parametrize(("n", "warned"), [(2, False), (3, True)])
def test_unknown_levels_are_counted_and_warned_about_where_they_are_many(n: int, warned: bool) -> None:
    x = TRAIN.copy()
    x[:n, 1] = 7
    (line,) = for_cohort(HERE).differences(map(HERE.load, x))
    assert line.startswith(f"column 'sex': {n} of 40 cases ({n / 40:.0%}) have a level that no training case has")
    assert ("knows nothing of them" in line) == warned
    assert prepared(HERE, for_cohort(HERE), x)[:n, 1:3].tolist() == [[0, 0]] * n, "no level's column is set"


def test_columns_without_names_need_the_same_number() -> None:
    plain = Vector("omic", ModalityUse("vector", 4), VectorOptions())
    fitted = plain.fit(plain.load(row) for row in TRAIN)
    again = plain.restore_for_new_cohort(fitted.state(), plain.use)
    np.testing.assert_array_equal(prepared(plain, again, TRAIN), prepared(plain, fitted, TRAIN))
    with pytest.raises(DataError, match="columns differ"):
        Vector("omic", ModalityUse("vector", 3), VectorOptions()).restore_for_new_cohort(fitted.state(), plain.use)
