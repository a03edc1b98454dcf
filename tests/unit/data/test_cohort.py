from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from fusionbench import Case, DataError, Dataset, DatasetInfo, Fold, ModalityUse, Options, PluginError, SurvivalTarget
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.grid import Grid
from fusionbench.builtin.vector import Vector
from fusionbench.core.endpoints import ClassTarget, TaskName
from fusionbench.data.cohort import Cohort, FaultyCohort, load_cohort
from fusionbench.testing.toys import TOYS, toy_cases

READERS = {"vector": Vector, "bag": Bag, "grid": Grid}


class ToyOptions(Options):
    size: int = 6


class Toy(Dataset):
    """A cohort whose cases and info a test can spoil."""

    name = "toy"
    Options = ToyOptions
    case_list: Sequence[Case] = ()
    modalities: Mapping[str, ModalityUse] = {name: TOYS[name] for name in ("omic", "image", "map")}
    published: Sequence[Fold] | None = None
    classes: tuple[str, ...] = ()

    def info(self) -> DatasetInfo:
        task: TaskName = "survival" if not self.classes else "binary" if len(self.classes) == 2 else "multiclass"
        endpoint = "response" if self.classes else "overall survival"
        return DatasetInfo("Toy", self.modalities, endpoint, checksums={"file": "abc"}, task=task, classes=self.classes)

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        return self.case_list

    def folds(self) -> Sequence[Fold] | None:
        return self.published


def toy(cases: Sequence[Case] | None = None, **changes: Any) -> Toy:
    dataset = Toy(ToyOptions(**changes.pop("options", {})), Path("nowhere"))
    dataset.case_list = toy_cases(6, modalities=("omic", "image", "map")) if cases is None else cases
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def spoilt(i: int, **changes: Any) -> list[Case]:
    """Six cases, one of them changed; `refs` are laid over its own."""
    cases = list(toy_cases(6, modalities=("omic", "image", "map")))
    refs = {**cases[i].refs, **changes.pop("refs", {})}
    cases[i] = replace(cases[i], **{"refs": refs, **changes})
    return cases


def load(dataset: Toy, **flags: Any) -> Cohort:
    return load_cohort(dataset, READERS, **flags)


def test_a_sound_cohort_comes_with_readers_specs_and_targets() -> None:
    folds = [Fold(("toy-000",), (), ("toy-001",))]
    cohort = load(toy(published=folds, options={"size": 7}))
    assert cohort.label == "toy[size=7]"
    assert list(cohort.modalities) == ["omic", "image", "map"]
    assert cohort.folds == tuple(folds)
    assert cohort.targets["toy-003"] == cohort.cases[3].target
    omic, grid = cohort.specs_raw["omic"], cohort.specs_raw["map"]
    assert (omic.kind, omic.dim, omic.groups["group_1"]) == ("vector", 12, (2, 3, 4))
    assert (grid.kind, grid.axes) == ("grid", 2)


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ([], "the cohort is empty"),
        (spoilt(1, id="toy-000"), "case ids occur more than once, the first is 'toy-000'"),
        (spoilt(1, target=None), "case 'toy-001': no follow-up"),
        (spoilt(1, target=SurvivalTarget(-1, True)), "case 'toy-001': time is -1"),
        (spoilt(1, target=SurvivalTarget(float("nan"), True)), "time is nan"),
        (spoilt(1, target=SurvivalTarget(float("inf"), True)), "time is inf"),
        (spoilt(1, target=SurvivalTarget(1, "dead")), "event is 'dead'"),
        ([replace(c, target=SurvivalTarget(1, False)) for c in spoilt(1)], "none of 6 cases has an observed event"),
        (spoilt(1, refs={"omics": 1}), "unknown modality 'omics'; did you mean 'omic'?"),
        (spoilt(1, refs={"omic": np.full(12, np.inf)}), "modality 'omic', case 'toy-001': column 'gene_0' is infinite"),
        (spoilt(1, refs={"image": np.zeros((0, 8))}), "modality 'image', case 'toy-001': no instance"),
        (spoilt(1, refs={"image": Path("gone.h5")}), "modality 'image', case 'toy-001': gone.h5: no such file"),
        ([replace(c, refs={k: c.refs[k] for k in ("omic", "map")}) for c in spoilt(0)], "no case has modality 'image'"),
    ],
)
def test_each_fault_is_one_line_naming_the_place(cases: list[Case], words: str) -> None:
    with pytest.raises(DataError) as error:
        load(toy(cases))
    assert str(error.value).startswith("toy")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_without_a_value_is_noted() -> None:
    cases = [replace(c, refs={**c.refs, "omic": np.where(np.arange(12) == 4, np.nan, 1.0)}) for c in spoilt(0)]
    assert load(toy(cases)).info.notes == ("modality 'omic': 1 of 12 columns have no value ('gene_4'): ignored",)


def test_all_faults_are_told_at_once_and_survive_a_worker() -> None:
    cases = spoilt(1, target=None)
    cases[2] = replace(cases[2], target=SurvivalTarget(-1, True))
    cases[3] = replace(cases[3], target=None, refs={"omics": 1})
    with pytest.raises(FaultyCohort) as error:
        load(toy(cases))
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    assert str(error.value).splitlines() == [
        "toy: 2 problems",
        "  - 2 cases ('toy-001', 'toy-003'): no follow-up; leave the cases out (exclude), or predict on the cases",
        "  - case 'toy-002': time is -1; give months >= 0 or leave the case out",
    ]


def test_an_end_on_the_day_of_entry_is_a_time() -> None:
    assert load(toy(spoilt(1, target=SurvivalTarget(0, True)))).targets["toy-001"].time == 0


def test_a_case_without_any_modality_is_kept_and_counted() -> None:
    cases = spoilt(0)
    cases[2] = replace(cases[2], refs={})
    assert load(toy(cases)).without_modality == ("toy-002",)


def test_new_patients_need_neither_target_nor_every_column() -> None:
    refs = {"omic": np.where(np.arange(12) == 4, np.nan, 1.0)}
    cohort = load(toy([Case("new", "new", None, refs)]), new_patients=True)
    assert cohort.targets == {}
    with pytest.raises(DataError, match="time is -1"):
        load(toy([Case("new", "new", SurvivalTarget(-1, True), refs)]), new_patients=True)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (ModalityUse("vectr", 3), "unknown modality kind 'vectr'; did you mean 'vector'?"),
        (ModalityUse("vector", 3, options={"clipp": 3}), "option 'clipp' of 'vector'"),
        (ModalityUse("vector", 3, options={"clip": -1}), "option 'clip' of 'vector'"),
    ],
)
def test_an_unknown_reader_or_option_is_the_plugins_fault(use: ModalityUse, words: str) -> None:
    with pytest.raises(PluginError) as error:
        load(toy(modalities={"omic": use}))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_fingerprint_follows_what_is_known_of_the_cohort() -> None:
    once = load(toy()).fingerprint
    assert once == load(toy()).fingerprint
    fewer = spoilt(0)
    fewer[0] = replace(fewer[0], refs={"omic": fewer[0].refs["omic"]})
    changed = [
        toy(spoilt(1, group="other")),
        toy(spoilt(1, target=SurvivalTarget(1, True))),
        toy(fewer),
        toy(options={"size": 7}),
        toy(version="2"),
        toy(info=lambda: DatasetInfo("Toy", Toy.modalities, checksums={"file": "abd"})),
    ]
    prints = [load(dataset).fingerprint for dataset in changed]
    assert len({once, *prints}) == len(changed) + 1


def of_classes(*labels: str | None) -> list[Case]:
    return [
        replace(case, target=None if label is None else ClassTarget(label))
        for case, label in zip(spoilt(0), labels, strict=True)
    ]


def test_cases_without_a_class_are_left_out_and_counted() -> None:
    cohort = load(toy(of_classes("no", None, "yes", "no", None, "yes"), classes=("no", "yes")))
    assert [case.id for case in cohort.cases] == ["toy-000", "toy-002", "toy-003", "toy-005"]
    assert cohort.info.notes == ("2 of 6 cases have no class for 'response': left out",)
    new = load(toy(of_classes("no", None, "no", "no", None, "no"), classes=("no", "yes")), new_patients=True)
    assert (len(new.cases), new.info.notes) == (6, ())


@pytest.mark.parametrize(
    ("cases", "classes", "words"),
    [
        (of_classes(*["no"] * 6), ("no", "yes"), "no case is of class 'yes' (no: 6); classes cannot be learnt"),
        (of_classes(*["no", "yes"] * 3), ("no", "yes", "?"), "no case is of class '?' (no: 3, yes: 3)"),
        (of_classes(*[None] * 6), ("no", "yes"), "no case has a class for 'response'; fill the cells of its column"),
        (
            of_classes(*["no", "yes"] * 2, "no", "yess"),
            ("no", "yes"),
            "'toy-005': unknown class 'yess'; did you mean",
        ),
        (
            [*of_classes(*["no", "yes"] * 3)[:5], spoilt(0)[5]],
            ("no", "yes"),
            "case 'toy-005': the target is a SurvivalTarget; the endpoint 'response' has classes",
        ),
        ([*spoilt(0)[:5], of_classes(*["no"] * 6)[5]], (), "case 'toy-005': "),
    ],
)
def test_a_fault_of_classes_is_one_line(cases: list[Case], classes: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError) as error:
        load(toy(cases, classes=classes))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
