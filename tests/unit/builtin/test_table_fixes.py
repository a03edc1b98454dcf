"""What `data check --fix` prints answers what it is about: pasted into the TOML, nothing is left."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.builtin.vector import Vector
from fusionbench.core.data_warning import Fix
from fusionbench.data.cohort import load_cohort
from fusionbench.data.fixes import Problem, toml_lines
from fusionbench.data.inspection import Inspection, examine
from tests.e2e.test_messy_cohort import paste

N = 40
TOML = """
table = "patients.csv"
id = "patient"
outcome = {time = "days", unit = "day", event = "died"}

[modality.clinical]
columns = ["age", "size"]

[modality.rna]
table = "rna.csv"
"""
READERS = {"vector": Vector, "bag": Bag}


def write(folder: Path, change: Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]]) -> Path:
    """A sound cohort of 40 patients but for the change."""
    rng = np.random.default_rng(0)
    ids = [f"p{i:02d}" for i in range(N)]
    patients = pd.DataFrame(
        {
            "patient": ids,
            "age": rng.integers(40, 90, N),
            "size": rng.integers(1, 999, N),
            "days": rng.integers(300, 3000, N),
            "died": rng.integers(0, 2, N),
        }
    )
    rna = pd.DataFrame(rng.normal(size=(N, 6)).round(4), columns=list("abcdef"))
    rna.insert(0, "patient", ids)
    patients, rna = change(patients, rna)
    patients.to_csv(folder / "patients.csv", index=False)
    rna.to_csv(folder / "rna.csv", index=False)
    (folder / "cohort.toml").write_text(TOML)
    return folder / "cohort.toml"


def table(path: Path) -> Table:
    return Table(TableOptions(file=str(path)), path.parent)


def look(path: Path) -> Inspection:
    return examine(table(path), READERS)


def several_rows(patients: pd.DataFrame, rna: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.concat([patients, patients[:2].assign(age=1)]), pd.concat([rna, rna[5:8]])


def few_have_it(patients: pd.DataFrame, rna: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return patients, rna[10:12]


def ids_of_slides(patients: pd.DataFrame, rna: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = [f"P{i // 2}-{i % 2}" if i < 20 else f"P{i}-0" for i in range(N)]
    return patients.assign(patient=ids), rna.assign(patient=ids)


def copies(patients: pd.DataFrame, rna: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    rna.loc[[3, 4], list("abcdef")] = rna.loc[[1, 2], list("abcdef")].to_numpy()
    return patients, rna


def slides(patients: pd.DataFrame, rna: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows 5 to 9 are of the patients of rows 0 to 4; `rna` differs."""
    patients.loc[5:9, ["age", "size", "days", "died"]] = patients.loc[0:4, ["age", "size", "days", "died"]].to_numpy()
    return patients, few_have_it(patients, rna)[1]


def slides_with_patients(patients: pd.DataFrame, rna: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    patients, rna = slides(patients, rna)
    return patients.assign(person=[f"x{i - 5 if 5 <= i < 10 else i}" for i in range(N)]), rna


REPEATED = (
    "patients.csv, column 'patient': 2 ids have several rows (first: 'p00', rows 2 and 42)",
    "rna.csv, column 'patient': 3 ids have several rows (first: 'p05', rows 7 and 42)",
)
CASES = {
    several_rows: (REPEATED, [Fix(("file", f), "repeated", "first") for f in ("patients.csv", "rna.csv")]),
    few_have_it: (("rna: 2 of 40 cases have it",), [Fix(("modality", "rna"), "ignore", True)]),
    ids_of_slides: (("20 of 40 cases share the beginning",), [Fix((), "exclude", [f"P{i}-1" for i in range(10)])]),
    copies: (("rna: 4 of 40 cases have rows equal",), [Fix((), "exclude", ["p03", "p04"])]),
    slides: (
        ("10 of 40 cases have the follow-up and all values",),
        [Fix((), "exclude", ["p05", "p06", "p07", "p08", "p09"])],
    ),
    slides_with_patients: (("40 rows of patients.csv have 35 values of 'person'",), [Fix((), "group", "person")]),
}


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
def test_what_fix_prints_leaves_nothing(
    tmp_path: Path, change: Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]]
) -> None:
    said, wanted = CASES[change]
    path = write(tmp_path, change)
    found = look(path)
    told = [*found.problems, *(warning.text for warning in found.warnings)]
    assert all(any(line.startswith(words) for line in told) for words in said), told
    fixes = [fix for line in found.problems if isinstance(line, Problem) for fix in line.fixes]
    fixes += [fix for warning in found.warnings for fix in warning.fixes]
    assert [fix for fix in fixes if fix in wanted] == wanted
    paste(toml_lines(fixes, tomllib.loads(TOML)), path)
    left = look(path)
    assert (left.problems, left.warnings) == ((), ())


def test_the_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, several_rows)
    text = TOML + '[file."rna.csv"]\nrepeated = "last"\n[file."patients.csv"]\nrepeated = "last"\n'
    path.write_text(text)
    cohort = load_cohort(table(path), READERS)
    assert cohort.info.notes == (
        "patients.csv: 2 rows but the last of 2 ids left out",
        "rna.csv: 3 rows but the last of 3 ids left out",
    )
    ages = {case.id: case.refs["clinical"][0] for case in cohort.cases}
    assert (len(ages), ages["p00"], ages["p01"]) == (N, 1, 1)
    path.write_text(text.replace('"last"', '"first"'))
    assert load_cohort(table(path), READERS).cases[0].refs["clinical"][0] != 1


def test_an_ignored_modality_is_as_if_it_did_not_stand_there(tmp_path: Path) -> None:
    path = write(tmp_path, lambda patients, rna: (patients, rna))
    path.write_text(TOML.partition("[modality.rna]")[0])
    without = load_cohort(table(path), READERS)
    path.write_text(TOML + 'ignore = true\n[file."rna.csv"]\nseparator = ","\n')
    (tmp_path / "rna.csv").unlink()
    ignored = load_cohort(table(path), READERS)
    assert ignored.fingerprint == without.fingerprint
    assert ignored.info.notes == ("modality.rna: ignored",)
    content = tomllib.loads(TOML)
    for modality in content["modality"].values():
        modality["ignore"] = True
    path.write_text(tomli_w.dumps(content))
    assert look_problem(path) == "every modality has ignore = true; leave one in"


def look_problem(path: Path) -> str:
    (problem,) = look(path).problems
    return problem.partition(": ")[2]
