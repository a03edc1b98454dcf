from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from fusionbench import DataError
from fusionbench.builtin.vector import Vector
from fusionbench.builtin.wisconsin import Wisconsin, WisconsinOptions
from fusionbench.data.cohort import load_cohort
from fusionbench.data.inspection import warnings_of


@pytest.fixture(scope="module")
def dataset() -> Wisconsin:
    return Wisconsin(WisconsinOptions(), Path("nowhere"))


def test_its_columns_are_those_of_the_bundled_table(dataset: Wisconsin) -> None:
    cases, bundled = dataset.cases(), load_breast_cancer()
    assert Counter(case.target.label for case in cases) == {"malignant": 212, "benign": 357}
    assert cases[0].target.label == bundled.target_names[bundled.target[0]] == "malignant"
    columns = dict(zip(bundled.feature_names, bundled.data.T, strict=True))
    uses = dataset.info().modalities
    assert {name: use.dim for name, use in uses.items()} == {"texture": 6, "shape": 6}
    assert uses["shape"].features == tuple(f"{of}" for of in bundled.feature_names if "symm" in of or "fractal" in of)
    for modality, use in uses.items():
        x = np.stack([case.refs[modality] for case in cases])
        np.testing.assert_array_equal(x, np.column_stack([columns[name] for name in use.features]))


def test_a_part_is_the_first_rows(dataset: Wisconsin) -> None:
    part = Wisconsin(WisconsinOptions(cases=200), Path("nowhere"))
    assert [case.id for case in part.cases()] == [case.id for case in dataset.cases()[:200]]
    assert part.info().checksums != dataset.info().checksums


def test_it_says_that_its_modalities_are_made_up(dataset: Wisconsin) -> None:
    assert "made-up modalities" in dataset.info().title


def test_it_loads_as_a_cohort_and_has_no_slides(dataset: Wisconsin) -> None:
    cohort = load_cohort(dataset, {"vector": Vector})
    assert cohort.label == "wisconsin"
    assert warnings_of(cohort) == (), "no column tells the class alone"
    assert cohort.info.classes == ("benign", "malignant"), "the second is the positive one"
    assert len(cohort.info.checksums["sklearn.datasets.load_breast_cancer"]) == 64
    with pytest.raises(DataError, match="no slides"):
        dataset.cases("slide")
