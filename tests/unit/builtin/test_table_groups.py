"""A table of slides that names no `group`: equal outcomes and covariates are noticed, and the column is proposed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.builtin.vector import Vector
from fusionbench.core.data_warning import Fix
from fusionbench.data.cohort import Cohort, load_cohort
from fusionbench.data.inspection import warnings_of

FILES = Path(__file__).parents[2] / "files" / "slides"


def read(folder: Path, changes: dict[str, str] | None = None, frame: pd.DataFrame | None = None) -> Cohort:
    """The cohort of `slides.csv`, with another table or TOML."""
    text = (FILES / "cohort.toml").read_text()
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / "cohort.toml").write_text(text)
    table = pd.read_csv(FILES / "slides.csv", dtype=str) if frame is None else frame
    table.to_csv(folder / "slides.csv", index=False)
    return load_cohort(
        Table(TableOptions(file=str(folder / "cohort.toml")), Path("nowhere")), {"vector": Vector, "bag": Bag}
    )


def test_slides_of_a_patient_are_noticed_by_outcome_and_covariates(tmp_path: Path) -> None:
    """60 slides of 48 patients; ids say nothing, age and sex alone are shared by many, and no column is the patient."""
    cohort = read(tmp_path, frame=pd.read_csv(FILES / "slides.csv", dtype=str).drop(columns="patient"))
    warnings = {w.kind: w for w in warnings_of(cohort)}
    assert set(warnings) == {"equal-outcomes"}
    warning = warnings["equal-outcomes"]
    assert warning.text.startswith("20 of 60 cases have the follow-up and all values of a case of another group")
    assert "name the patient under `group`" in warning.text
    slides = pd.read_csv(FILES / "slides.csv", dtype=str)
    several = slides[slides.patient.duplicated(keep=False)]
    assert sorted(warning.names) == sorted(several.slide)


def test_the_column_of_patients_is_proposed(tmp_path: Path) -> None:
    """It is told instead of what the rows have in common, and `--fix` answers it."""
    (warning,) = warnings_of(read(tmp_path))
    assert warning.kind == "group-unnamed"
    assert warning.fixes == (Fix((), "group", "patient"),)
    slides = pd.read_csv(FILES / "slides.csv", dtype=str)
    assert sorted(warning.names) == sorted(slides[slides.patient.duplicated(keep=False)].slide)
    assert warning.text == (
        "60 rows of slides.csv have 48 values of 'patient', and rows with one of them have one follow-up: if it is the "
        'patient, say group = "patient", or a patient stands on both sides of a split'
    )


def test_nothing_is_said_where_the_group_is_named(tmp_path: Path) -> None:
    cohort = read(tmp_path, {'id = "slide"': 'id = "slide"\ngroup = "patient"'})
    assert len({case.group for case in cohort.cases}) == 48
    assert not warnings_of(cohort)
    assert not cohort.info.notes


def test_patients_of_equal_age_and_sex_are_not_slides(tmp_path: Path) -> None:
    """One row a patient, times in whole months: some agree in time, event, age and sex by chance."""
    patients = pd.read_csv(FILES / "slides.csv", dtype=str).drop_duplicates("patient")
    coarse = patients.assign(
        age=[str(50 + 10 * (int(a) // 20)) for a in patients.age], months=lambda f: f.months.str[:1]
    )
    assert coarse.duplicated(["age", "sex", "months", "died"]).sum() >= 3
    for frame in (patients, coarse):
        cohort = read(tmp_path, frame=frame)
        assert not {"equal-outcomes", "group-unnamed"} & {w.kind for w in warnings_of(cohort)}


@pytest.mark.parametrize("other", ["hospital", "slide_number"])
def test_other_columns_are_not_proposed(tmp_path: Path, other: str) -> None:
    patients = pd.read_csv(FILES / "slides.csv", dtype=str).drop_duplicates("patient")
    values = {"hospital": [f"H{i % 5}" for i in range(48)], "slide_number": [str(i // 2) for i in range(48)]}
    cohort = read(tmp_path, frame=patients.assign(**{other: values[other]}))
    assert "group-unnamed" not in {w.kind for w in warnings_of(cohort)}
