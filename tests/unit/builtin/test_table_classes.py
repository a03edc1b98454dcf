"""A case table with a column of classes: which cell means which class, and each fault as one line with its remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.builtin.vector import Vector
from fusionbench.core.endpoints import ClassTarget
from fusionbench.core.errors import DataError
from fusionbench.data.cohort import Cohort, load_cohort
from fusionbench.data.fixes import Problem, toml_lines
from fusionbench.data.inspection import Inspection, examine
from fusionbench.data.inspection.summary import lines
from tests.e2e.test_messy_cohort import paste

READERS = {"vector": Vector, "bag": Bag}
BINARY = 'task = "binary"\ncolumn = "hpv"\n'
MULTI = 'task = "multiclass"\ncolumn = "hpv"\n'
YES_NO = ["yes", "no"] * 20
GRADES = ["G1", "G2", "G3", "G10"] * 10
NUMBERS = [f"{x:.3f}" for x in np.random.default_rng(1).normal(size=40)]


def cohort(folder: Path, cells: Sequence[Any], outcome: str, **columns: Sequence[Any]) -> Table:
    """One row a cell, beside an age and a size that know nothing of it."""
    rng, n = np.random.default_rng(0), len(cells)
    known = {"age": rng.integers(40, 90, n), "size": rng.normal(size=n).round(3), **columns}
    ids = [f"p{i:02d}" for i in range(n)]
    pd.DataFrame({"patient": ids, "hpv": cells, **known}).to_csv(folder / "patients.csv", index=False)
    (folder / "cohort.toml").write_text(
        f'table = "patients.csv"\nid = "patient"\n[outcome]\n{outcome}\n[modality.m]\ncolumns = {list(known)!r}\n'
    )
    return Table(TableOptions(file=str(folder / "cohort.toml")), folder)


def load(dataset: Table, **flags: Any) -> Cohort:
    return load_cohort(dataset, READERS, **flags)


def look(dataset: Table) -> Inspection:
    return examine(dataset, READERS)


def labels(found: Cohort) -> list[str]:
    return [target.label for target in found.targets.values() if isinstance(target, ClassTarget)]


@pytest.mark.parametrize(
    ("cells", "outcome", "classes", "first"),
    [
        (YES_NO, BINARY + 'positive = "yes"', ("no", "yes"), "yes"),
        (YES_NO, BINARY + 'positive = "no"', ("yes", "no"), "yes"),
        (YES_NO, BINARY + 'classes = ["yes", "no"]', ("yes", "no"), "yes"),
        ([1, 0] * 20, BINARY + "positive = 1", ("0", "1"), "1"),
        (["1.0", "0.0"] * 20, BINARY + "positive = 1", ("0", "1"), "1"),
        ([True, False] * 20, BINARY + "positive = true\nnegative = false", ("false", "true"), "true"),
        (["p16+", "pos", "neg"] * 9, BINARY + 'positive = ["pos", "p16+"]', ("neg", "pos"), "pos"),
        (["pos", "no", "neg"] * 9, BINARY + 'positive = "pos"\nnegative = ["neg", "no"]', ("neg", "pos"), "pos"),
        (GRADES, MULTI + 'classes = ["G3", "G1", "G2", "G10"]', ("G3", "G1", "G2", "G10"), "G1"),
        (
            GRADES,
            MULTI + 'classes = {low = ["G1", "G2"], mid = "G3", high = "G10"}',
            ("low", "mid", "high"),
            "low",
        ),
        (["-", "+"] * 20, BINARY + 'positive = "+"', ("-", "+"), "-"),
    ],
)
def test_cells_and_their_classes(
    tmp_path: Path, cells: list[Any], outcome: str, classes: tuple[str, ...], first: str
) -> None:
    found = load(cohort(tmp_path, cells, outcome))
    assert found.info.classes == classes
    assert (found.info.task, found.info.endpoint) == ("binary" if len(classes) == 2 else "multiclass", "hpv")
    assert labels(found)[0] == first
    assert {*labels(found)} == {*classes}
    assert len(labels(found)) == len(cells)


def test_an_empty_cell_is_no_class_and_is_counted(tmp_path: Path) -> None:
    found = load(cohort(tmp_path, ["", "NA", *YES_NO], BINARY + 'positive = "yes"\nendpoint = "HPV status"'))
    assert len(found.cases) == 40
    assert found.info.notes == ("2 of 42 cases have no class for 'HPV status': left out",)


def test_new_patients_have_empty_cells_or_one_class(tmp_path: Path) -> None:
    empty = cohort(tmp_path, [""] * 5, BINARY + 'positive = "yes"')
    assert len(load(empty, new_patients=True).cases) == 5
    with pytest.raises(DataError, match=r"no case has a class for 'hpv'; fill the cells .* or predict on the cases"):
        load(empty)
    one = cohort(tmp_path, ["no"] * 5, BINARY + 'positive = "yes"\nnegative = "no"')
    assert load(one, new_patients=True).info.classes == ("no", "yes")


def test_the_fingerprint_follows_classes_and_their_order_and_not_the_spelling_of_the_toml(tmp_path: Path) -> None:
    outcomes = [BINARY + 'positive = "yes"', BINARY + 'classes = ["no", "yes"]', BINARY + 'positive = "no"']
    same, again, turned = (load(cohort(tmp_path, YES_NO, outcome)).fingerprint for outcome in outcomes)
    assert same == again != turned
    other = ["no", "yes", *YES_NO[2:]]
    assert load(cohort(tmp_path, other, outcomes[0])).fingerprint != same


FAULTS: list[tuple[list[str], str, str]] = [
    (
        YES_NO,
        BINARY + 'positive = "yess"',
        "outcome.positive: no row of patients.csv has \"yess\" in column 'hpv' (did",
    ),
    (["yes"] * 9, BINARY + 'positive = "yes"', "column 'hpv': all filled cells are 'yes'; two classes are needed"),
    (["yes"] * 9, MULTI, "column 'hpv': all filled cells are 'yes'; two classes are needed"),
    (["no"] * 9, BINARY + 'positive = "yes"\nnegative = "no"', "no case is of class 'yes' (no: 9)"),
    (GRADES, MULTI + 'classes = ["G1", "G2", "G3", "G10", "G5"]', "no case is of class 'G5'"),
    (
        ["yes", "no", "maybe"] * 9,
        BINARY + 'positive = "yes"',
        "besides the positive 'yes' it has 2 values ('maybe' 9, 'no' 9), and task = \"binary\" has one other class",
    ),
    ([*GRADES, "G4", "G4"], MULTI + 'classes = ["G1", "G2", "G3", "G10"]', "row 42 and 1 more: 'G4' is in no class"),
    (NUMBERS, BINARY + "positive = 1", "column 'hpv': 40 different numbers, from -2.711 to 2.118, are a measurement"),
    (NUMBERS, MULTI, "column 'hpv': 40 different numbers, from -2.711 to 2.118, are a measurement"),
    (
        ["yes", "no", "Yes", " no"] * 9,
        BINARY + 'positive = "yes"',
        "differ by case or spaces only: 'Yes' (9) and 'yes'",
    ),
    (["yes", "no", "NO"] * 9, BINARY + 'positive = "yes"', "differ by case or spaces only: 'no' (9) and 'NO'"),
    ([*YES_NO, "unknown"], BINARY + 'positive = "yes"', "'unknown' (1 case) looks like 'not known'"),
    (YES_NO, BINARY, "has 2 values ('no' 20, 'yes' 20): say which cells mean the positive class"),
    (GRADES, MULTI, 'say the classes in their order, classes = ["G1", "G2", "G3", "G10"]'),
    (YES_NO, BINARY + 'classes = ["a", "b", "c"]', "task = 'binary' has two classes, and `classes` names 3"),
    (YES_NO, MULTI + 'classes = ["yes", "no"]', "names 2: correct them, or say task = 'binary'"),
    (
        YES_NO,
        BINARY + 'positive = "yes"\ntime = "age"\nevent = "size"',
        "outcome: time, event belongs to survival, and",
    ),
    (
        YES_NO,
        'column = "hpv"\npositive = "yes"',
        "outcome: column, positive belongs to an outcome of classes: say task",
    ),
    (YES_NO, 'task = "binry"\ncolumn = "hpv"', "outcome.task: unknown task 'binry'; did you mean 'binary'?"),
    (
        YES_NO,
        'task = "binary"\ncolumn = "hpvv"\npositive = 1',
        "outcome.column: unknown column of patients.csv 'hpvv'; did",
    ),
    (YES_NO, 'task = "binary"\npositive = 1', "outcome.column: this key is needed and is not there"),
    (YES_NO, BINARY + 'positiv = "yes"', "outcome.positiv: unknown key 'positiv'; did you mean 'positive'"),
    (YES_NO, BINARY + 'positive = [["yes"]]', "outcome.positive: write a text or a number, or a list of them"),
    (YES_NO, BINARY + 'classes = {a = [{x = 1}], b = "no"}', "outcome.classes.a: write a text or a number, or a list"),
    (YES_NO, BINARY + 'positive = "yes"\nclasses = ["no", "yes"]', "classes says what positive and negative say"),
    (YES_NO, BINARY + 'negative = "no"', "outcome: negative needs positive"),
    (YES_NO, BINARY + 'positive = ["yes", 1]\nnegative = ["no", "1.0"]', "outcome: '1' stands there twice"),
    (YES_NO, MULTI + 'positive = "yes"', "outcome: positive and negative are of two classes"),
    (YES_NO, BINARY + 'classes = {no = [], yes = "yes"}', "outcome: class 'no' has no name or no cell"),
]


@pytest.mark.parametrize(("cells", "outcome", "said"), FAULTS, ids=lambda x: x[:40] if isinstance(x, str) else "")
def test_a_fault_is_one_line(tmp_path: Path, cells: list[str], outcome: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        load(cohort(tmp_path, cells, outcome))
    message = str(error.value)
    assert said in message
    assert "\n" not in message
    assert "cohort.toml" in message


@pytest.mark.parametrize(
    ("cells", "outcome"),
    [
        (["yes", "no", "Yes", " NO"] * 10, BINARY + 'positive = "yes"'),
        ([*YES_NO, "unknown", "?"], BINARY + 'positive = "yes"'),
        ([*GRADES, "G4", "G4"], MULTI + 'classes = ["G1", "G2", "G3", "G10"]'),
        (GRADES, MULTI),
    ],
)
def test_what_fix_prints_leaves_nothing(tmp_path: Path, cells: list[str], outcome: str) -> None:
    dataset = cohort(tmp_path, cells, outcome)
    found = look(dataset)
    fixes = [fix for line in found.problems if isinstance(line, Problem) for fix in line.fixes]
    assert fixes
    paste(toml_lines(fixes, tomllib.loads(dataset.path.read_text())), dataset.path)
    left = look(Table(dataset.options, tmp_path))
    assert (left.problems, left.warnings) == ((), ())


def copied(cells: Sequence[str], names: str) -> list[str]:
    """The classes under other names."""
    of = dict(zip(dict.fromkeys(cells), names, strict=False))
    return [of[cell] for cell in cells]


@pytest.mark.parametrize(
    ("cells", "outcome", "column"),
    [
        (YES_NO, BINARY + 'positive = "yes"', copied(YES_NO, "ab")),
        (YES_NO, BINARY + 'positive = "yes"', [9 + i % 3 if cell == "yes" else i % 4 for i, cell in enumerate(YES_NO)]),
        (YES_NO, BINARY + 'positive = "yes"', [i if cell == "yes" else "" for i, cell in enumerate(YES_NO)]),
        (GRADES, MULTI + 'classes = ["G1", "G2", "G3", "G10"]', copied(GRADES, "bdac")),
    ],
    ids=("copy", "measurement", "filled", "copy of grades"),
)
def test_a_column_that_knows_the_class_is_warned_about(
    tmp_path: Path, cells: list[str], outcome: str, column: list[Any]
) -> None:
    found = look(cohort(tmp_path, cells, outcome, other=column))
    assert not found.problems
    assert [(w.kind in ("predicts-event", "filled-by-event"), w.names) for w in found.warnings] == [(True, ("other",))]
    assert "reveals the outcome (" in found.warnings[0].text


def test_the_column_itself_cannot_be_a_modalitys(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'hpv' of patients.csv is the outcome; a model must not see it"):
        load(cohort(tmp_path, YES_NO, BINARY + 'positive = "yes"', hpv=YES_NO))


def test_a_rare_class_is_warned_about_and_classes_are_counted(tmp_path: Path) -> None:
    found = look(cohort(tmp_path, ["yes"] * 3 + ["no"] * 37, BINARY + 'positive = "yes"'))
    assert [w.kind for w in found.warnings] == ["rare-class"]
    assert found.warnings[0].text.startswith("3 of 40 cases are of class 'yes' ('p00', 'p01', 'p02'), fewer than 10")
    assert found.facts is not None
    assert [*lines(found.facts)][1] == "40 cases of 40 groups; hpv: 37 'no', 3 'yes'"


def test_a_hospital_with_one_class_by_chance_is_no_patient(tmp_path: Path) -> None:
    """Three pairs of rows of one class each say nothing where nine of ten cases are of that class."""
    cells = ["yes"] * 5 + ["no"] * 45
    pairs = [f"h{i}" for i in range(44)] + ["a", "a", "b", "b", "c", "c"]
    dataset = cohort(tmp_path, cells, BINARY + 'positive = "yes"', hospital=pairs)
    assert not any(w.kind == "group-unnamed" for w in look(dataset).warnings)
    dataset.path.write_text(dataset.path.read_text().replace(", 'hospital'", ""))
    assert not any(w.kind == "group-unnamed" for w in look(Table(dataset.options, tmp_path)).warnings)
