from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusionbench import DataError, Options
from fusionbench.builtin.breast_cancer import BreastCancer
from fusionbench.builtin.vector import Vector
from fusionbench.data.cohort import load_cohort


@pytest.fixture(scope="module")
def dataset() -> BreastCancer:
    return BreastCancer(Options(), Path("nowhere"))


def test_it_is_the_published_series(dataset: BreastCancer) -> None:
    cases = dataset.cases()
    assert len({case.id for case in cases}) == 198
    assert sum(case.target.event for case in cases) == 51
    # The first two rows of the bundled table: 723 days with a metastasis, 6591 days without.
    assert cases[0].target.time == pytest.approx(23.75, abs=0.01)
    assert [case.target.event for case in cases[:2]] == [True, False]
    assert cases[1].target.time == pytest.approx(216.5, abs=0.1)


def test_clinical_columns_hold_what_their_names_say(dataset: BreastCancer) -> None:
    x = np.stack([case.refs["clinical"] for case in dataset.cases()])
    column = dict(zip(dataset.info().modalities["clinical"].features, x.T, strict=True))
    assert column["age"].min() == 24
    assert column["age"].max() == 60
    assert column["size"].max() == 5
    assert column["er"].sum() == 134
    assert np.isnan(column["grade"]).sum() == 2
    grades = column["grade"][~np.isnan(column["grade"])]
    assert np.unique(grades, return_counts=True)[1].tolist() == [30, 83, 83]


def test_genes_are_the_76_probes(dataset: BreastCancer) -> None:
    genes = dataset.info().modalities["genes"]
    assert genes.dim == len(genes.features) == 76
    assert all(name.startswith("X2") for name in genes.features)


def test_it_loads_as_a_cohort_and_has_no_slides(dataset: BreastCancer) -> None:
    cohort = load_cohort(dataset, {"vector": Vector})
    assert cohort.label == "breast-cancer"
    assert cohort.without_modality == ()
    assert len(cohort.info.checksums["sksurv.datasets.load_breast_cancer"]) == 64
    with pytest.raises(DataError, match="no slides"):
        dataset.cases("slide")
