"""A cohort under a protocol: other options of its readers, and vectors side by side as one modality."""

from __future__ import annotations

import numpy as np
import pytest

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.vector import Vector
from fusionbench.core.interfaces import Dataset
from fusionbench.core.protocol import Protocol
from fusionbench.core.types import Case, DatasetInfo, ModalityUse, SurvivalTarget
from fusionbench.data.cohort import Cohort, load_cohort
from fusionbench.data.preprocessing import fit_preprocessor
from fusionbench.data.protocol_view import apply_protocol, protocol_modalities

SETS = [("clinical",), ("clinical", "omic", "image")]


class Toy(Dataset):
    name = "toy"

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            "Toy",
            {
                "clinical": ModalityUse(
                    "vector",
                    2,
                    features=("age", "stage"),
                    categorical=frozenset({"stage"}),
                    levels={"stage": {0.0: "early", 1.0: "late"}},
                ),
                "omic": ModalityUse("vector", 3, features=("a", "b", "c"), groups={"g": ("a", "c")}),
                "image": ModalityUse("bag", 4),
            },
        )

    def cases(self, unit: str = "patient") -> list[Case]:
        rng = np.random.default_rng(0)
        made = []
        for i in range(12):
            refs = {
                "clinical": np.array([50.0 + i, i % 3]),
                "omic": rng.normal(size=3) * 100,
                "image": rng.normal(size=(5, 4)) + 7,
            }
            if i == 3:
                del refs["clinical"]
            if i == 4:
                del refs["clinical"], refs["omic"]
            made.append(Case(f"c{i}", f"c{i}", SurvivalTarget(float(i + 1), i % 2 == 0), refs))
        made[5].refs["omic"][1] = np.nan  # type: ignore[index]
        return made


@pytest.fixture
def cohort() -> Cohort:
    from pathlib import Path

    return load_cohort(Toy(Toy.Options(), Path()), {"vector": Vector, "bag": Bag})


def test_the_clean_protocol_changes_nothing(cohort: Cohort) -> None:
    assert apply_protocol(cohort, Protocol(), SETS) is cohort
    assert protocol_modalities(cohort, Protocol(), SETS[1]) == SETS[1]


def test_joined_vectors_are_one_modality_under_the_same_row_name(cohort: Cohort) -> None:
    protocol = Protocol(vectors="joined")
    made = apply_protocol(cohort, protocol, SETS)
    names = protocol_modalities(made, protocol, SETS[1])
    assert names == ("clinical+omic", "image")
    assert "+".join(names) == "+".join(SETS[1])
    assert protocol_modalities(made, protocol, SETS[0]) == SETS[0]
    use = made.info.modalities["clinical+omic"]
    assert use.features == ("age", "stage", "a", "b", "c")
    assert use.categorical == {"stage"}
    assert use.levels == {"stage": {0.0: "early", 1.0: "late"}}
    assert dict(use.groups) == {"g": ("a", "c")}
    assert made.specs_raw["clinical+omic"].dim == 5
    by_id = {case.id: case for case in made.cases}
    np.testing.assert_array_equal(by_id["c0"].refs["clinical+omic"][:2], [50, 0])
    assert np.isnan(by_id["c3"].refs["clinical+omic"][:2]).all()
    assert "clinical+omic" not in by_id["c4"].refs
    assert made.fingerprint == cohort.fingerprint


def test_columns_of_one_name_get_their_modality_in_front(cohort: Cohort) -> None:
    class Twice(Toy):
        def info(self) -> DatasetInfo:
            uses = dict(super().info().modalities)
            uses["omic"] = ModalityUse("vector", 3, features=("age", "b", "c"))
            return DatasetInfo("Toy", uses)

    from pathlib import Path

    twice = load_cohort(Twice(Twice.Options(), Path()), {"vector": Vector, "bag": Bag})
    made = apply_protocol(twice, Protocol(vectors="joined"), SETS)
    assert made.info.modalities["clinical+omic"].features == (
        *("clinical.age", "clinical.stage", "omic.age", "omic.b", "omic.c"),
    )


def test_preprocessing_as_published_imputes_the_mean_and_scales_nothing(cohort: Cohort) -> None:
    protocol = Protocol(impute="mean", clip=None, scale=False)
    made = apply_protocol(cohort, protocol, SETS)
    fitted = fit_preprocessor(made.modalities, made.cases)
    raw = {case.id: case.refs for case in cohort.cases}
    values = fitted.prepare(made.cases[0], ("omic", "image")).bags
    np.testing.assert_allclose(values["omic"].values[0], raw["c0"]["omic"], rtol=1e-6)
    np.testing.assert_allclose(values["image"].values, raw["c0"]["image"], rtol=1e-6)
    filled = fitted.prepare(made.cases[5], ("omic",)).bags["omic"].values[0, 1]
    known = [r["omic"][1] for i, r in raw.items() if "omic" in r and i != "c5"]
    assert float(filled) == pytest.approx(np.mean(known), rel=1e-5)
    usual = fit_preprocessor(cohort.modalities, cohort.cases).prepare(cohort.cases[0], ("image",)).bags["image"]
    assert abs(float(usual.values.mean())) < 3
