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


@pytest.fixture(scope="module")
def dataset() -> Wisconsin:
    return Wisconsin(WisconsinOptions(), Path("nowhere"))


def test_it_is_the_bundled_table_split_by_columns(dataset: Wisconsin) -> None:
    cases, bundled = dataset.cases(), load_breast_cancer()
    assert Counter(case.target.label for case in cases) == {"malignant": 212, "benign": 357}
    assert cases[0].target.label == bundled.target_names[bundled.target[0]] == "malignant"
    columns = dict(zip(bundled.feature_names, bundled.data.T, strict=True))
    uses = dataset.info().modalities
    assert sorted(name for use in uses.values() for name in use.features) == sorted(columns), "each column once"
    assert {name: use.dim for name, use in uses.items()} == {"size": 9, "surface": 21}
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
    assert cohort.info.classes == ("benign", "malignant"), "the second is the positive one"
    assert len(cohort.info.checksums["sklearn.datasets.load_breast_cancer"]) == 64
    with pytest.raises(DataError, match="no slides"):
        dataset.cases("slide")
