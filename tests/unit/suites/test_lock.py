"""suite.lock.toml: versions, sources, and hashes of what all models were given."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

from fusionbench.execution.cell_record import cell_columns, computed_by
from fusionbench.suites.cell import ORACLE, Plan
from fusionbench.suites.lock import lock_text, make_lock
from tests.unit.suites.test_plan import SUITE, Toy, planned, registry

TEXT = SUITE.replace("folds = 2", "folds = 2\nrepeats = 2")


class Known(Toy):
    @property
    def info(self) -> Any:
        return replace(super().info, checksums={"a.csv": "c0ffee"})


def locked(plan: Plan, **cohorts: Toy) -> dict[str, Any]:
    """As it is read back from the file."""
    toys: Any = {(name, "patient"): toy for name, toy in (cohorts or {"toy": Known()}).items()}
    records = [{"cell": cell_columns(cell), **computed_by(cell, registry())} for cell in plan.todo()]
    return tomllib.loads(lock_text(make_lock(plan, registry(), toys, records=records)))


def test_plugins_and_their_distributions_stand_by_what_they_bring() -> None:
    source = {"plugin": "toys", "distribution": "toys", "distribution_version": "1"}
    lock = locked(planned(TEXT.replace('"uni", ', "")))
    assert lock["model_plugins"] == {"late": source, "uni": source}  # uni as a member of late
    assert lock["models"] == {"late": "1", "uni": "1"}
    toy = lock["datasets"]["toy"]
    assert toy.items() >= {"version": "1", **source}.items()
    assert toy["cases"] == {"patient": 40}
    assert toy["fingerprint"] == {"patient": "f"}
    assert toy["checksums"] == {"a.csv": "c0ffee"}


def test_the_lock_counts_the_cases_that_have_each_modality() -> None:
    """Every fifth case of the toy cohort lacks omics."""
    counted = locked(planned(TEXT))["datasets"]["toy"]["counts"]["patient"]
    assert (counted["cases"], counted["having"]) == (40, {"clinical": 40, "omic": 32})


def test_every_fold_has_its_split_and_its_masks() -> None:
    plan = planned(TEXT, toy=Known(true_risk={c.id: 0.0 for c in Toy().cases}))
    assert any(c.model.name == ORACLE for c in plan.listed)
    toy = locked(plan)["datasets"]["toy"]
    places = {f"base/{repeat}/{fold}" for repeat in (0, 1) for fold in (0, 1)}
    assert toy["splits"].keys() == toy["masks"].keys() == places
    assert len({*toy["splits"].values(), *toy["masks"].values()}) == 8


def test_the_masks_hash_follows_the_masks_and_no_model() -> None:
    def masks(text: str) -> dict[str, str]:
        return locked(planned(text))["datasets"]["toy"]["masks"]  # type: ignore[no-any-return]

    assert masks(TEXT.replace('"uni", ', "").replace('["clinical"], ', "")) == masks(TEXT.replace('["clinical"], ', ""))
    assert masks(TEXT.replace('"half"', '"rate:0.5"')) != masks(TEXT)


def test_a_dataset_without_a_cell_is_locked_all_the_same() -> None:
    text = TEXT.replace('["toy"]', '["toy", "other"]')
    plan = planned(text, other=Toy())
    toy_only = replace(plan, cells=tuple(c for c in plan.cells if c.dataset.name == "toy"))
    other = locked(toy_only, toy=Known(), other=Known())["datasets"]["other"]
    assert (other["version"], other["splits"], other["masks"]) == ("1", {}, {})
