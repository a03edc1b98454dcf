from __future__ import annotations

import json
import os
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from fusionbench import DataError, ModalityUse
from fusionbench.builtin.columns import fit_columns
from fusionbench.builtin.vector import FittedVector, Vector, VectorOptions

NAN = float("nan")


def vector(
    x: np.ndarray, *, categorical: tuple[str, ...] = (), groups: dict | None = None, **options: object
) -> Vector:
    names = tuple("abcdefgh"[: x.shape[1]])
    use = ModalityUse(
        "vector", x.shape[1], features=names, categorical=frozenset(categorical), groups=groups or {}, options=options
    )
    return Vector("omic", use, VectorOptions(**options))


def fit(modality: Vector, x: np.ndarray) -> FittedVector:
    return modality.fit(modality.load(row) for row in x)


def prepared(modality: Vector, fitted: FittedVector, x: np.ndarray) -> np.ndarray:
    return np.concatenate([fitted(modality.load(row)).numpy() for row in x])


def fit_and_apply(x: np.ndarray, **options: object) -> np.ndarray:
    modality = vector(x, **options)
    return prepared(modality, fit(modality, x), x)


def test_a_missing_cell_becomes_the_training_median() -> None:
    x = np.array([[1.0], [2.0], [9.0], [NAN]])
    assert fit_and_apply(x, scale=False, clip=None)[:, 0].tolist() == [1, 2, 9, 2]


def test_prepared_training_columns_have_mean_0_and_sd_1() -> None:
    z = fit_and_apply(np.random.default_rng(0).lognormal(size=(50, 3)))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-6)


def test_an_outlier_is_cut_in_interquartile_ranges_before_it_can_set_the_scale() -> None:
    x = np.arange(101.0)[:, np.newaxis]
    x[100] = 36_893
    z = fit_and_apply(x)[:, 0]
    unscaled = fit_and_apply(x, scale=False)[:, 0]
    assert unscaled[100] == 50 + 5 * 50  # median 50, quartiles 25 and 75
    assert np.ptp(z[:100]) > 2  # 0.03 where the raw outlier sets the sd
    assert fit_and_apply(x, scale=False, clip=None)[100, 0] == 36_893


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.99])
def test_mutations_survive_however_rare(share: float) -> None:
    x = (np.arange(200) < 200 * share).astype(float)[:, np.newaxis]
    np.testing.assert_array_equal(fit_and_apply(x, scale=False), x)
    assert np.unique(fit_and_apply(x)).size == 2


@pytest.mark.parametrize("rare", [1, 2, 60])
def test_copy_numbers_survive(rare: int) -> None:
    x = np.zeros((400, 1))
    for i, level in enumerate((-2, -1, 1, 2)):
        x[i * rare : (i + 1) * rare] = level
    np.testing.assert_array_equal(fit_and_apply(x, scale=False), x)


def test_an_outlier_in_a_column_that_is_mostly_one_value_is_cut() -> None:
    x = np.zeros((100, 1))
    x[:20, 0] = np.linspace(1, 2, 20)
    x[20] = 1e4
    assert fit_and_apply(x, scale=False).max() == pytest.approx(5 * np.sort(x[x > 0])[10])


def test_a_constant_column_becomes_0_also_for_another_test_value() -> None:
    x = np.full((7, 1), 0.1)
    modality = vector(x)
    z = prepared(modality, fit(modality, x), np.array([[0.1], [5.0], [NAN]]))
    assert z.tolist() == [[0], [0], [0]]


def test_a_column_without_training_values_is_0_with_a_note() -> None:
    x = np.array([[1.0, NAN], [2.0, NAN], [4.0, NAN]])
    modality = vector(x)
    fitted = fit(modality, x)
    assert prepared(modality, fitted, np.array([[1.0, 3.0]]))[0, 1] == 0
    assert fitted.notes == ("no training case has a value in 'b': imputed as 0",)


def test_levels_become_columns_and_unknown_or_missing_ones_none_of_them() -> None:
    x = np.array([[3.0, 1.0], [1.0, 2.0], [3.0, 4.0]])
    modality = vector(x, categorical=("a",))
    fitted = fit(modality, x)
    assert fitted.spec.features == ("a=1", "a=3", "b")
    assert prepared(modality, fitted, np.array([[3.0, 1], [7.0, 1], [NAN, 1]]))[:, :2].tolist() == [
        [0, 1],
        [0, 0],
        [0, 0],
    ]
    np.testing.assert_allclose(fitted.mean(), [1 / 3, 2 / 3, 0], atol=1e-7)


def test_groups_follow_their_columns() -> None:
    x = np.array([[1.0, 0, 5], [2.0, 1, 6], [1.0, 2, 7]])
    modality = vector(x, categorical=("a",), groups={"first": ("a", "c"), "second": ("c",), "none": ()})
    spec = fit(modality, x).spec
    assert spec.features == ("a=1", "a=2", "b", "c")
    assert spec.groups == {"first": (0, 1, 3), "second": (3,), "none": ()}


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (np.array([1.0, np.inf]), "column 'b' is infinite"),
        (np.array([1.0]), "expected one row of 2 columns, got an array of shape (1,)"),
        (np.array([[1.0, 2.0]]), "(1, 2)"),
        (np.array(["x", "y"]), "expected numbers"),
    ],
)
def test_a_bad_row_is_refused(ref: np.ndarray, words: str) -> None:
    with pytest.raises(DataError) as error:
        vector(np.zeros((1, 2))).load(ref)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "change",
    [{"features": ("a", "a")}, {"features": ("a",)}, {"categorical": frozenset({"z"})}, {"groups": {"g": ("z",)}}],
)
def test_a_contradictory_declaration_is_refused(change: dict) -> None:
    declared = {"features": ("a", "b"), **change}
    with pytest.raises(DataError, match="modality 'omic'"):
        Vector("omic", ModalityUse("vector", 2, **declared), VectorOptions())


def test_nothing_to_fit_on_is_refused() -> None:
    with pytest.raises(DataError, match="no training case has it"):
        vector(np.zeros((1, 2))).fit([])


def test_a_restored_state_prepares_the_same_and_refuses_other_columns() -> None:
    rng = np.random.default_rng(1)
    x = np.where(rng.random((30, 4)) < 0.2, NAN, rng.standard_normal((30, 4)))
    x[:, 1] = rng.integers(3, size=30)
    modality = vector(x, categorical=("b",), groups={"g": ("b", "d")})
    fitted = fit(modality, x)
    state = json.loads(json.dumps(fitted.state(), allow_nan=False))
    again = modality.restore(state)
    assert again.spec == fitted.spec
    assert again.state() == fitted.state()
    np.testing.assert_array_equal(prepared(modality, again, x), prepared(modality, fitted, x))
    with pytest.raises(DataError, match="absent d"):
        vector(x[:, :3]).restore(state)
    unclipped = vector(x, clip=None)
    state = json.loads(json.dumps(fit(unclipped, x).state(), allow_nan=False))
    np.testing.assert_array_equal(prepared(unclipped, unclipped.restore(state), x), fit_and_apply(x, clip=None))


def test_a_large_table_is_fitted_and_prepared_in_moments() -> None:
    x = np.random.default_rng(0).standard_normal((956, 2914))
    modality = Vector("omic", ModalityUse("vector", 2914), VectorOptions())
    start = perf_counter()
    fitted = modality.fit(modality.load(row) for row in x)
    for row in x:
        fitted(modality.load(row))
    assert perf_counter() - start < 10  # 0.6 s on an idle core; a loop over columns takes minutes


@pytest.mark.data
@pytest.mark.skipif("FUSIONBENCH_DATA" not in os.environ, reason="FUSIONBENCH_DATA is not set")
def test_real_copy_numbers_and_mutations_pass_and_outliers_do_not_set_the_scale() -> None:
    import pandas as pd

    table = "porpoise/datasets_csv_mutsig/tcga_brca_all_clean.csv.zip"
    frame = pd.read_csv(Path(os.environ["FUSIONBENCH_DATA"]) / table, index_col=0, low_memory=False)
    frame = frame.drop_duplicates("case_id")
    codes = frame.filter(regex="_(cnv|mut)$").to_numpy(dtype=np.float64)
    np.testing.assert_array_equal(fit_columns(codes, clip=5, scale=False)(codes), codes)
    rna = frame.filter(regex="_rnaseq$").to_numpy(dtype=np.float64)
    clipped = fit_columns(rna, clip=5, scale=False)(rna)
    assert 0.015 < (clipped != rna).mean() < 0.025
    assert _owed_to_one_cell(rna) > 0.10
    assert _owed_to_one_cell(clipped) < 0.005


def _owed_to_one_cell(x: np.ndarray) -> float:
    """Share of the columns that owe more than half of their variance to one cell."""
    squares = (x - x.mean(axis=0)) ** 2
    return float((squares.max(axis=0) > 0.5 * squares.sum(axis=0)).mean())
