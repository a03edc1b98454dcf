"""Cells as people write them: what is a number, what only looks like one, and what `data check` says of levels."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.table.cells import CellForm, suggest
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.builtin.vector import Vector
from fusionbench.core.errors import DataError
from fusionbench.data.cohort import Cohort, FaultyCohort, load_cohort
from fusionbench.data.fixes import Problem, toml_lines
from fusionbench.data.inspection import Inspection, examine
from fusionbench.data.inspection.levels import spellings, unknown_levels
from fusionbench.data.inspection.summary import lines

READERS = {"vector": Vector, "bag": Bag}


def dataset(home: Path) -> Table:
    return Table(TableOptions(file=str(home / "cohort.toml")), home)


def read(home: Path) -> Cohort:
    return load_cohort(dataset(home), READERS)


def look(home: Path) -> Inspection:
    return examine(dataset(home), READERS)


def say(home: Path, text: str, *, top: bool = False) -> None:
    path = home / "cohort.toml"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n{before}" if top else f"{before}\n{text}\n", encoding="utf-8")


def replaced(home: Path, old: str, new: str) -> None:
    path = home / "cohort.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def column(home: Path, name: str, cells: list[str], file: str = "patients.csv") -> None:
    """Write a column of a CSV; cells are repeated to its length."""
    frame = pd.read_csv(home / file, dtype=str, keep_default_na=False)
    frame[name] = [cells[i % len(cells)] for i in range(len(frame))]
    frame.to_csv(home / file, index=False)


def values(cohort: Cohort, name: str) -> list[float]:
    """The first three cells of a clinical column."""
    at = cohort.modalities["clinical"].use.features.index(name)
    return [float(case.refs["clinical"][at]) for case in cohort.cases[:3]]


@pytest.mark.parametrize("text", ["1", "-1.5", "+5", "1.", ".5", "007", "1e5", "1E+05", "−2", "true", "False"])
def test_numbers(text: str) -> None:
    said = {"true": 1.0, "False": 0.0}
    assert CellForm().number(text) == said.get(text, float(text.replace("−", "-")) if text not in said else None)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1_2",
            "1_0",
            "0x1F",
            "0b1",
            "inf",
            "-inf",
            "Infinity",
            "nan",
            "NaN",
            "１２",
            "١٢",
            "१२",
            "1,5",
            "5%",
            "1 2",
            "",
        ),
        *(
            ".",
            "-",
            "+",
            "e5",
            "1e",
            "--5",
            "- 5",
            "1e5.5",
            "1-2",
            "1/2",
            "½",
            "²",
            "Ⅳ",
            "12:30",
            "2012-01-02",
            "1.2.3",
        ),
    ],
)
def test_no_numbers(text: str) -> None:
    assert CellForm().number(text) is None


@pytest.mark.parametrize(
    ("form", "text", "number"),
    [
        (CellForm(decimal=","), "1,5", 1.5),
        (CellForm(decimal=","), "1.5", None),
        (CellForm(decimal=",", thousands="."), "1.234.567,5", 1234567.5),
        (CellForm(decimal=",", thousands="."), "12.34", None),
        (CellForm(decimal=",", thousands="."), "1234,5", 1234.5),
        (CellForm(thousands=","), "0,123", None),
        (CellForm(thousands=" "), "12\u00a0345", 12345),
        (CellForm(thousands=" "), "12\u202f345", 12345),
        (CellForm(thousands="'"), "1'234.5", 1234.5),
        (CellForm(units=("%",)), "12 %", 12),
        (CellForm(units=("kg", "g")), "12kg", 12),
        (CellForm(units=("g", "kg")), "12 kg", 12),
        (CellForm(units=("€",)), "€ 5", 5),
        (CellForm(units=("kg",)), "kg", None),
    ],
)
def test_other_forms(form: CellForm, text: str, number: float | None) -> None:
    assert form.number(text) == number


@pytest.mark.parametrize(
    ("texts", "keys"),
    [
        (["1,5", "2,25", "3"], {"decimal": ","}),
        (["12,345", "1,234", "999"], {"thousands": ","}),
        (["1.234,5", "2,0"], {"decimal": ",", "thousands": "."}),
        (["1 234", "12 000"], {"thousands": " "}),
        (["5%", "6 %"], {"units": ["%"]}),
        (["70 kg", "81,5 KG"], {"decimal": ",", "units": ["KG", "kg"]}),
        (["12.5 mg/dl", "7"], {"units": ["mg/dl"]}),
        (["1,5", "2.5", "3,1"], {"decimal": ",", "replace": {"2.5": "2,5"}}),
        (["<50", *["1,5"] * 12], {"decimal": ","}),
        (["12 months", "2 years"], {"units": ["months"], "replace": {"2 years": "24.0 months"}}),
        (["5 cm", "4 cm", "30 mm"], {"units": ["cm"], "replace": {"30 mm": "3.0 cm"}}),
        (["5,5 cm", "4,1 cm", "30 mm"], {"decimal": ",", "units": ["cm"], "replace": {"30 mm": "3,0 cm"}}),
        (["1 month", "6 months"], {"units": ["month", "months"]}),
        (["70 kg", "500 g", "72 kg"], {"units": ["kg"], "replace": {"500 g": "0.5 kg"}}),
        (["5 mg/dl", "70 mmol/l"], {}),
        (["5", "4 cm", "30 mm"], {}),
        (["5 cm", "4 kg"], None),
        (["T1", "T2"], None),
        (["1+", "2+", "0"], None),
        (["f", "m"], None),
        (["3A", "3B"], None),
        (["1_2", "3_4"], None),
        (["2012-03-01", "2012-04-01"], None),
        (["1,5", "<50"], None),
        (["1", "2"], None),
    ],
)
def test_what_looks_like_numbers(texts: list[str], keys: dict[str, Any] | None) -> None:
    reading = suggest(texts, CellForm())
    assert (None if reading is None else dict(reading.keys)) == keys


def test_times_with_units_are_converted_into_the_declared_one(home: Path) -> None:
    """A number without a unit is in the declared one; half a year is never read as six days."""
    column(home, "days", ["6 months", "1 year", "730", "400 days", "2 weeks"])
    (problem,) = [line for line in look(home).problems if isinstance(line, Problem)]
    assert "column 'days', row 2 and 23 more: '6 months' is no number; their units differ: 'months' (6)" in problem
    say(home, toml_lines(problem.fixes, tomllib.loads((home / "cohort.toml").read_text())))
    times = [case.target.time for case in read(home).cases[:5] if case.target]
    assert times == pytest.approx([6, 12, 730 / 30.4375, 400 / 30.4375, 14 / 30.4375])


def test_an_ambiguous_comma_is_told_both_ways() -> None:
    reading = suggest(["12,345", "1,234"], CellForm())
    assert reading is not None
    assert (dict(reading.keys), dict(reading.otherwise)) == ({"thousands": ","}, {"decimal": ","})


@pytest.mark.parametrize(
    ("cells", "keys", "numbers"),
    [
        (["1.071,5 kg", "82 kg", "77,25 kg"], 'decimal = ","\nthousands = "."\nunits = ["kg"]', [1071.5, 82, 77.25]),
        (["12%", "7 %", "?"], 'units = "%"\nmissing = "?"', [12, 7, np.nan]),
        (["<50", "60", "70"], 'replace = {"<50" = "49"}', [49, 60, 70]),
        (["999", "60", "70"], 'missing = ["999"]', [np.nan, 60, 70]),
        (["1", "2", "3"], 'decimal = ","', [1, 2, 3]),
    ],
)
def test_a_column_is_read_as_the_toml_says(home: Path, cells: list[str], keys: str, numbers: list[float]) -> None:
    column(home, "age", cells)
    say(home, f"[column.age]\n{keys}")
    cohort = read(home)
    assert np.array_equal(values(cohort, "age"), numbers, equal_nan=True)
    assert "age" not in cohort.modalities["clinical"].use.categorical


def test_a_typed_number_is_not_read_by_the_form_of_texts(home: Path) -> None:
    """A spreadsheet and a parquet file hold numbers as numbers, whatever sign the texts beside them have."""
    frame = pd.read_csv(home / "patients.csv", dtype={"patient": str})
    frame["age"] = pd.Series([1.5, "2,5", 3] * 10, dtype=object)
    frame.to_excel(home / "p.xlsx", index=False)
    replaced(home, "patients.csv", "p.xlsx")
    say(home, '[column.age]\ndecimal = ","')
    assert values(read(home), "age") == [1.5, 2.5, 3.0]


def test_the_form_of_one_file_leaves_the_others_alone(home: Path) -> None:
    before = read(home)
    frame = pd.read_csv(home / "rna.csv", dtype={"patient": str})
    frame.to_csv(home / "rna.csv", sep=";", decimal=",", index=False, encoding="utf-16")
    say(home, '[file."rna.csv"]\nseparator = ";"\ndecimal = ","')
    after = read(home)
    for one, other in zip(before.cases, after.cases, strict=True):
        assert np.array_equal(one.refs["clinical"], other.refs["clinical"], equal_nan=True)
        assert ("rna" in one.refs) == ("rna" in other.refs)
        assert "rna" not in one.refs or np.array_equal(one.refs["rna"], other.refs["rna"])


def test_levels_are_listed_as_people_wrote_them(home: Path) -> None:
    column(home, "sex", ["männlich", "weiblich", "weiblich"])
    column(home, "stage", ["007", "1.0", "2"])
    replaced(home, '"smoker"]', '"smoker"]\ncategorical = ["stage"]')
    found = look(home)
    assert found.facts is not None
    assert found.facts.modalities[0].levels["sex"] == {"weiblich": 20, "männlich": 10}
    assert list(found.facts.modalities[0].levels["stage"]) == ["007", "1.0", "2"]
    assert "  sex: 2 levels: 'weiblich' 20, 'männlich' 10" in list(lines(found.facts))
    cohort = read(home)
    vector = cohort.modalities["clinical"]
    fitted = vector.fit([vector.load(case.refs["clinical"]) for case in cohort.cases])
    assert {"sex=männlich", "sex=weiblich", "stage=007", "stage=1.0"} <= set(fitted.spec.features)


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        (["1,5", "2,5", "3,25"], "texts-for-numbers", "say decimal = ','"),
        (
            ["5 cm", "6 cm", "30 mm"],
            "texts-for-numbers",
            "units differ: 'cm' (20), 'mm' (10); say units = ['cm']",
        ),
        (["5 mg/dl", "7 mmol/l"], "texts-for-numbers", "'mg/dl' (15), 'mmol/l' (15); write all numbers in one unit"),
        (["5", "6 cm", "30 mm"], "texts-for-numbers", "'cm' (10), 'mm' (10); write all numbers in one unit"),
        (["M", "m", "f", "f"], "spelling", "'m' (8) and 'M' (8)"),
        (["stage II", "stage  II", "stage I"], "spelling", "differ by case or spaces only"),
        (["yes", "no", "?"], "unknown-level", "has '?' (10 cases)"),
        (["yes", "no", "[Not Available]"], "unknown-level", "'[Not Available]' (10 cases)"),
        (["yes", "no", "-"], "unknown-level", "has '-' (10 cases)"),
        (["01.02.2011", "3.2.2012", "2011-05-06"], "dates", "holds dates"),
        (["2-Mar", "11-Sep", "1-Apr"], "dates", "holds dates"),
        (["007", "012", "100"], "numbers-for-codes", "cells such as '007'"),
        (["1E5", "2E3", "4"], "numbers-for-codes", "cells such as '1E5'"),
        (["a"] * 15 + ["b"] * 14 + ["once"], "single-case", "with a single case ('once')"),
    ],
)
def test_a_suspicious_column_of_texts(home: Path, cells: list[str], kind: str, said: str) -> None:
    column(home, "smoker", cells)
    [warning] = [w for w in look(home).warnings if w.where == "clinical"]
    assert warning.kind == kind
    assert said in warning.text
    assert warning.names == ("smoker",)


@pytest.mark.parametrize(
    "cells", [["+", "-", "+"], ["G1", "G2", "G3"], ["1", "2", "3"], ["0.5", "1e-05", "10"], ["none", "one"]]
)
def test_an_ordinary_column_is_not_suspicious(home: Path, cells: list[str]) -> None:
    column(home, "smoker", cells)
    assert [w.text for w in look(home).warnings if w.where == "clinical"] == []


def test_unknown_levels_and_spellings() -> None:
    assert unknown_levels({"+": 3, "-": 2}) == []
    assert unknown_levels({"-": 2, "x": 1, "#N/A": 1, "Unknown": 1, "none": 1}) == ["-", "#N/A", "Unknown"]
    assert spellings({"f": 5, "F": 2, "m": 3, "Stage II": 1, "stageii": 1}) == {"F": "f", "stageii": "Stage II"}
    assert spellings({"ä": 2, "a\u0308": 1}) == {"a\u0308": "ä"}


def excel(home: Path, **sheets: pd.DataFrame) -> None:
    with pd.ExcelWriter(home / "rna.xlsx") as book:
        for name, frame in sheets.items():
            frame.to_excel(book, sheet_name=name, index=False)
    replaced(home, "rna.csv", "rna.xlsx")


def rna(home: Path) -> pd.DataFrame:
    return pd.read_csv(home / "rna.csv", dtype={"patient": str})


def test_a_spreadsheet_reads_like_its_csv(home: Path) -> None:
    before = [case.refs.get("rna") for case in read(home).cases]
    table = rna(home)
    excel(home, values=table, empty=pd.DataFrame())
    after = [case.refs.get("rna") for case in read(home).cases]
    assert [a is None for a in before] == [a is None for a in after]
    # Both parsers may round the last of 17 digits otherwise.
    assert all(np.allclose(a, b, rtol=1e-15) for a, b in zip(before, after, strict=True) if a is not None)


def test_a_sheet_by_name(home: Path) -> None:
    table = rna(home)
    excel(home, notes=pd.DataFrame({"x": ["y"]}), values=table)
    with pytest.raises(DataError, match=r"rna.xlsx: has 2 sheets \('notes', 'values'\); name the one to read"):
        read(home)
    say(home, '[file."rna.xlsx"]\nsheet = "value"')
    with pytest.raises(DataError, match="unknown sheet 'value'; did you mean 'values'"):
        read(home)
    replaced(home, '"value"', '"values"')
    assert "rna" in read(home).cases[1].refs


def test_a_damaged_spreadsheet(home: Path) -> None:
    (home / "rna.xlsx").write_bytes(b"no zip")
    replaced(home, "rna.csv", "rna.xlsx")
    with pytest.raises(DataError, match=r"rna.xlsx: cannot be read as a table"):
        read(home)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("cp1252", "no UTF-8 text; save it as UTF-8 (in a spreadsheet: CSV UTF-8), or say encoding = 'cp1252'"),
        ("utf-16-le", "or say encoding = 'utf-16-le'"),
        ("utf-16", ""),
        ("utf-8-sig", ""),
    ],
)
def test_encodings(home: Path, encoding: str, said: str) -> None:
    column(home, "sex", ["männlich", "weiblich"])
    text = (home / "patients.csv").read_text(encoding="utf-8")
    (home / "patients.csv").write_bytes(text.encode(encoding))
    if said:
        with pytest.raises(FaultyCohort) as error:
            read(home)
        assert said in str(error.value)
        assert "reads '0000,H0" in str(error.value)
        [problem] = error.value.problems
        assert isinstance(problem, Problem)
        say(home, toml_lines(problem.fixes, {}))
    assert "männlich" in read(home).modalities["clinical"].use.levels["sex"].values()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('encoding = "ebcdic-7"', "unknown encoding 'ebcdic-7'; write utf-8, utf-16, cp1252 or latin-1"),
        ('encoding = "ascii"', "encoding says ascii, and it is not; save it as UTF-8"),
        ('encoding = "utf-16"', "encoding says utf-16, and it is not"),
    ],
)
def test_a_wrong_encoding(home: Path, keys: str, said: str) -> None:
    column(home, "sex", ["männlich", "weiblich"])
    say(home, f'[file."patients.csv"]\n{keys}')
    with pytest.raises(DataError) as error:
        read(home)
    assert said in str(error.value)


def test_a_matrix_of_genes_and_samples_is_recognised(home: Path) -> None:
    before = [case.refs.get("rna") for case in read(home).cases]
    rna(home).set_index("patient").T.to_csv(home / "rna.csv", index_label="Hugo_Symbol")
    with pytest.raises(
        FaultyCohort, match=r"the columns of rna.csv are cases \(26 of 26, the first is '0001'\)"
    ) as error:
        read(home)
    [problem] = error.value.problems
    assert isinstance(problem, Problem)
    say(home, toml_lines(problem.fixes, {}))
    cohort = read(home)
    after = [case.refs.get("rna") for case in cohort.cases]
    assert cohort.modalities["rna"].use.features == tuple(f"gene_{i}" for i in range(6))
    assert all(
        (a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in zip(before, after, strict=True)
    )


def test_a_matrix_of_cases_and_cases_is_left_as_it_is(home: Path) -> None:
    ids = rna(home)["patient"]
    near = pd.DataFrame(np.eye(len(ids)), columns=list(ids))
    near.insert(0, "patient", ids)
    near.to_csv(home / "rna.csv", index=False)
    replaced(home, 'groups = {first = ["gene_0", "gene_1"], second = ["gene_2", "gene_3"]}', "")
    assert read(home).modalities["rna"].use.features == tuple(ids)


def test_a_column_without_a_value_is_ignored_and_noted(home: Path) -> None:
    column(home, "smoker", [""])
    cohort = read(home)
    assert cohort.info.notes == ("modality 'clinical': 1 of 4 columns have no value ('smoker'): ignored",)


def test_an_absent_column_can_be_ignored(home: Path) -> None:
    replaced(home, '"smoker"]', '"smoker", "bmi"]\nprefix = "lab_"')
    with pytest.raises(DataError, match=r"unknown column of patients.csv 'bmi'"):
        read(home)
    replaced(home, 'prefix = "lab_"', 'prefix = "lab_"\nabsent = "ignore"')
    cohort = read(home)
    assert cohort.modalities["clinical"].use.features == ("age", "sex", "stage", "smoker")
    assert [note.partition(": ")[0] for note in cohort.info.notes] == [
        "modality.clinical.columns",
        "modality.clinical.prefix",
    ]


def test_an_empty_time_is_no_follow_up_whatever_the_event_says(home: Path) -> None:
    frame = pd.read_csv(home / "patients.csv", dtype=str, keep_default_na=False)
    frame.loc[[3, 5], "days"] = ""
    frame.loc[5, "status"] = ""
    frame.to_csv(home / "patients.csv", index=False)
    said = "2 cases ('0003', '0005'): no follow-up; leave the cases out (exclude), or predict on the cases"
    with pytest.raises(FaultyCohort) as error:
        read(home)
    assert list(error.value.problems) == [said]
    assert look(home).problems == (said,)
    say(home, 'exclude = ["0003", "0005"]', top=True)
    cohort = read(home)
    assert len(cohort.cases) == 28
    assert look(home).problems == ()


def test_an_excluded_case_that_is_not_there(home: Path) -> None:
    say(home, 'exclude = "0033"', top=True)
    with pytest.raises(DataError, match=r"exclude: patients.csv has no case '0033'"):
        read(home)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[column.agee]\nunits = "y"', "column.agee: no table has this column (did you mean 'age'?)"),
        ('[file."rna.tsv"]\ndecimal = ","', 'file."rna.tsv": no key of the TOML names this table'),
        ('[column.age]\ndecimal = ","\nthousands = ","', "decimal and thousands are both ','"),
        ('[column.age]\ndecimals = ","', "column.age.decimals: unknown key 'decimals'; did you mean 'decimal'?"),
    ],
)
def test_a_form_of_what_is_not_there(home: Path, text: str, said: str) -> None:
    say(home, text)
    with pytest.raises(DataError) as error:
        read(home)
    assert said in str(error.value)


def test_the_case_column_of_a_map_is_called_like_the_case_tables(home: Path) -> None:
    replaced(home, 'map = "slides.csv"\ncase = "patient"\n', 'map = "slides.csv"\n')
    assert "slides" in read(home).cases[1].refs


def test_another_name_of_the_ids_is_found(home: Path) -> None:
    rna(home).rename(columns={"patient": "Sample ID"}).to_csv(home / "rna.csv", index=False)
    with pytest.raises(FaultyCohort, match="Column 'Sample ID' holds ids of cases; say id = 'Sample ID'"):
        read(home)


def test_a_modality_of_few_cases_is_warned_about(home: Path) -> None:
    rna(home).head(2).to_csv(home / "rna.csv", index=False)
    [warning] = look(home).warnings
    assert warning.kind == "rare-modality"
    assert "rna: 2 of 30 cases have it ('0001', '0002'), fewer than 10" in warning.text


SPOILT: list[Callable[[Path], object]] = [
    lambda home: (home / "rna.csv").unlink(),
    lambda home: (home / "slides.csv").write_bytes(b"\xff\xfe\xfa"),
    lambda home: shutil.rmtree(home / "features"),
]


def test_a_case_table_that_cannot_be_read_does_not_hide_the_others(home: Path) -> None:
    (home / "patients.csv").unlink()
    for spoil in SPOILT[:2]:
        spoil(home)
    found = look(home)
    assert [line.partition(":")[0] for line in found.problems] == ["patients.csv", "rna.csv", "slides.csv"]
    assert found.facts is None


def test_a_faulty_modality_does_not_hide_what_the_others_show(home: Path) -> None:
    SPOILT[2](home)
    column(home, "smoker", ["yes", "no", "?"])
    found = look(home)
    assert len(found.problems) == 1
    assert [w.kind for w in found.warnings] == ["unknown-level"]
    assert found.facts is not None
    assert [m.name for m in found.facts.modalities] == ["clinical", "rna"]


def test_ids_that_all_differ_are_not_to_be_ignored(home: Path) -> None:
    table = rna(home)
    table["patient"] = "P" + table["patient"]
    table.to_csv(home / "rna.csv", index=False)
    [problem] = look(home).problems
    assert "no case of rna.csv is in the case table" in problem
    assert not isinstance(problem, Problem), "no key answers it"
