"""The table cohort: what its TOML may say, how its files are read, and each fault as one line with its place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.table import slides
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.builtin.table.example import write_example
from fusionbench.builtin.table.outcome import MONTHS
from fusionbench.builtin.table.values import code
from fusionbench.builtin.vector import Vector
from fusionbench.core.errors import DataError, FusionBenchError, SuiteError
from fusionbench.data.cohort import Cohort, load_cohort
from tests.own_cohort import TOML, write_h5


def table(home: Path) -> Table:
    return Table(TableOptions(file=str(home / "cohort.toml")), Path("nowhere"))


def read(home: Path) -> Cohort:
    return load_cohort(table(home), {"vector": Vector, "bag": Bag})


def toml(home: Path, old: str, new: str) -> None:
    text = (home / "cohort.toml").read_text()
    assert old in text
    (home / "cohort.toml").write_text(text.replace(old, new))


def cells(home: Path, file: str, *changes: tuple[int, str, str]) -> None:
    """Write (row, column, cell) into a CSV; row 0 is the first below the header."""
    frame = pd.read_csv(home / file, dtype=str, keep_default_na=False)
    for row, column, cell in changes:
        frame.loc[row, column] = cell
    frame.to_csv(home / file, index=False)


def test_the_cohort_is_what_the_files_say(home: Path) -> None:
    cohort = read(home)
    sheet = pd.read_csv(home / "patients.csv", dtype=str, keep_default_na=False)
    assert [c.id for c in cohort.cases] == [c.group for c in cohort.cases] == sheet["patient"].tolist()
    first = cohort.cases[1]
    assert first.target is not None
    assert first.target.time == pytest.approx(int(sheet["days"][1]) / 30.4375)
    assert [c.target.event for c in cohort.cases if c.target] == (sheet["status"] == "dead").tolist()
    clinical = cohort.modalities["clinical"].use
    assert clinical.features == ("age", "sex", "stage", "smoker")
    assert clinical.categorical == {"sex", "smoker"}
    assert cohort.modalities["rna"].use.groups == {"first": ("gene_0", "gene_1"), "second": ("gene_2", "gene_3")}
    assert np.isnan(cohort.cases[3].refs["clinical"][0])


def test_a_patient_lacks_what_the_files_lack(home: Path) -> None:
    cases = read(home).cases
    assert [i for i, c in enumerate(cases) if "rna" not in c.refs] == [0, 9, 18, 27]
    assert [i for i, c in enumerate(cases) if "slides" not in c.refs] == [0, 7, 14, 21, 28]


def test_the_slides_of_a_patient_are_one_bag(home: Path) -> None:
    slides = next(path for path in home.rglob("S0005-0.h5")).parent
    for name in ("._S0005-0.h5", ".DS_Store", "Thumbs.db", "desktop.ini"):  # what systems put into folders
        (slides / name).write_bytes(b"no slide")
    cohort = read(home)
    names = [path.name for path in cohort.cases[5].refs["slides"]]
    assert names == ["S0005-0.h5", "S0005-1.h5"]
    bag = cohort.modalities["slides"].load(cohort.cases[5].refs["slides"])
    assert bag.values.shape[1] == 16
    assert all(path.is_absolute() for path in cohort.cases[5].refs["slides"])


def test_a_row_without_any_known_cell_is_a_missing_modality(home: Path) -> None:
    cells(home, "patients.csv", *((4, column, "") for column in ("age", "sex", "stage", "smoker")))
    assert "clinical" not in read(home).cases[4].refs


@pytest.mark.parametrize("unit", MONTHS)
def test_units(home: Path, unit: str) -> None:
    toml(home, 'unit = "day"', f'unit = "{unit}"')
    days = int(pd.read_csv(home / "patients.csv")["days"][2])
    months = {"day": days / 30.4375, "week": days * 7 / 30.4375, "month": days, "year": days * 12}
    target = table(home).cases()[2].target
    assert target is not None
    assert target.time == pytest.approx(months[unit])


@pytest.mark.parametrize(
    ("words", "cells_of", "events"),
    [
        ('event = "e"', ("1", "0"), (True, False)),
        ('event = "e"', ("1.0", "0.0"), (True, False)),
        ('event = "e"', ("True", "False"), (True, False)),
        ('censorship = "e"', ("1", "0"), (False, True)),
        ('event = "e"\nobserved = 2\ncensored = [0, 1]', ("2", "1"), (True, False)),
        ('event = "e"\nobserved = ["dead", "relapse"]\ncensored = "alive"', ("relapse", "alive"), (True, False)),
        ('censorship = "e"\nobserved = "no"\ncensored = "yes"', ("yes", "no"), (False, True)),
    ],
)
def test_which_way_round(home: Path, words: str, cells_of: tuple[str, str], events: tuple[bool, bool]) -> None:
    frame = pd.read_csv(home / "patients.csv", dtype=str, keep_default_na=False)
    frame["e"] = [cells_of[i % 2] for i in range(len(frame))]
    frame.to_csv(home / "patients.csv", index=False)
    toml(home, 'event = "status"\nobserved = "dead"\ncensored = "alive"', words)
    assert tuple(c.target.event for c in table(home).cases()[:2] if c.target) == events


FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "p.tsv": lambda frame, path: frame.to_csv(path, sep="\t", index=False),
    "p.parquet": lambda frame, path: frame.to_parquet(path, index=False),
    "p.zip": lambda frame, path: frame.to_csv(
        path, index=False, compression={"method": "zip", "archive_name": "x.csv"}
    ),
    "p.csv": lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_alike(home: Path, name: str) -> None:
    before = read(home)
    frame = pd.read_csv(home / "patients.csv", dtype={"patient": str})
    FORMATS[name](frame, home / name)
    toml(home, "patients.csv", name)
    after = read(home)
    assert [(c.id, c.target) for c in after.cases] == [(c.id, c.target) for c in before.cases]
    for one, other in zip(before.cases, after.cases, strict=True):
        assert np.array_equal(one.refs["clinical"], other.refs["clinical"], equal_nan=True)


def test_a_spreadsheet_with_semicolons_and_decimal_commas(home: Path) -> None:
    frame = pd.read_csv(home / "rna.csv", dtype={"patient": str})
    before = read(home).cases[1].refs["rna"]
    frame.to_csv(home / "rna.csv", sep=";", decimal=",", index=False)
    pd.read_csv(home / "patients.csv", dtype=str).to_csv(home / "patients.csv", sep=";", index=False)
    pd.read_csv(home / "slides.csv", dtype=str).to_csv(home / "slides.csv", sep=";", index=False)
    toml(home, 'id = "patient"\n', 'id = "patient"\nseparator = ";"\ndecimal = ","\n')
    assert np.array_equal(read(home).cases[1].refs["rna"], before)


def test_empty_rows_and_spaces_around_ids_do_no_harm(home: Path) -> None:
    text = (home / "patients.csv").read_text().replace("\n0004,", "\n,,,,,,,\n 0004 ,")
    (home / "patients.csv").write_text(text + ",,,,,,,\n")
    assert [c.id for c in read(home).cases][4] == "0004"


def test_ids_that_a_parquet_file_holds_as_numbers(home: Path) -> None:
    frame = pd.read_csv(home / "patients.csv").rename(columns={"patient": "n"})
    frame["n"] = frame["n"].astype(float)
    frame.to_parquet(home / "p.parquet")
    (home / "cohort.toml").write_text(
        'table = "p.parquet"\nid = "n"\n[outcome]\ntime = "days"\nunit = "day"\nevent = "status"\nobserved = "dead"\n'
        'censored = "alive"\n[modality.clinical]\ncolumns = "age"\n'
    )
    assert read(home).cases[7].id == "7"


def test_prefix_suffix_and_exclude(home: Path) -> None:
    toml(home, 'table = "rna.csv"\n', 'table = "rna.csv"\nprefix = "gene_"\nsuffix = "_0"\nexclude = ["gene_5"]\n')
    assert read(home).modalities["rna"].use.features == tuple(f"gene_{i}" for i in range(5))


def test_codes_named_categorical(home: Path) -> None:
    toml(home, '"smoker"]', '"smoker"]\ncategorical = ["stage"]')
    assert read(home).modalities["clinical"].use.categorical == {"sex", "smoker", "stage"}


def test_levels_are_shown_by_their_text(home: Path) -> None:
    """`explain` shows these names; a text's code would be a number of fourteen digits."""
    toml(home, '"smoker"]', '"smoker"]\ncategorical = ["stage"]')
    cohort = read(home)
    clinical = cohort.modalities["clinical"]
    fitted = clinical.fit([clinical.load(case.refs["clinical"]) for case in cohort.cases])
    names = ("age", "sex=m", "sex=f", "stage=1", "stage=2", "stage=3", "stage=4", "smoker=yes", "smoker=no")
    assert set(fitted.spec.features) == set(names)
    assert clinical.restore(fitted.state()).spec.features == fitted.spec.features


def test_groups_stay_together(home: Path) -> None:
    toml(home, 'id = "patient"', 'id = "patient"\ngroup = "hospital"')
    assert {c.group for c in read(home).cases} == {f"H{i}" for i in range(6)}


def test_published_folds(home: Path) -> None:
    toml(home, 'id = "patient"', 'id = "patient"\nfolds = "hospital"')
    folds = read(home).folds
    assert folds is not None
    assert len(folds) == 6
    assert folds[1].test == ("0001", "0007", "0013", "0019", "0025")
    assert len(folds[1].train) == 25
    cells(home, "patients.csv", *((i, "hospital", "1") for i in range(30)))
    with pytest.raises(DataError, match=r"folds: column 'hospital' of patients\.csv holds one value"):
        table(home).folds()


def test_without_a_map_a_file_is_a_case(home: Path) -> None:
    toml(home, 'map = "slides.csv"\ncase = "patient"\n', 'unknown = "ignore"\n')
    for path in (home / "features").iterdir():
        path.rename(path.with_name(path.name[1:5] + ("" if "-0" in path.name else "x") + ".h5"))
    cohort = read(home)
    assert [p.name for p in cohort.cases[5].refs["slides"]] == ["0005.h5"]
    assert "file 0005x.h5, a case that the case table does not have" in cohort.info.notes[0]


def test_what_is_unknown_can_be_ignored_and_is_said(home: Path) -> None:
    cells(home, "slides.csv", (3, "patient", "stranger"))
    write_h5(home / "features" / "extra.h5", np.ones((2, 16)))
    cells(home, "rna.csv", (3, "patient", "stranger"))
    toml(home, 'map = "slides.csv"', 'unknown = "ignore"\nmap = "slides.csv"')
    toml(home, 'table = "rna.csv"', 'unknown = "ignore"\ntable = "rna.csv"')
    rna, unmapped, unknown = read(home).info.notes
    assert rna.endswith("rna.csv has 1 row of cases that the case table does not have: ignored")
    assert unmapped.endswith("of slides that slides.csv does not have, the first is extra.h5: ignored")
    assert unknown.endswith(
        "slide 'S0004-0' is of 'stranger', a case that the case table does not have (1 slide so): ignored"
    )


def test_a_slide_of_the_map_without_a_file_is_said(home: Path) -> None:
    (home / "features" / "S0001-0.h5").unlink()
    cohort = read(home)
    assert "slides" not in cohort.cases[1].refs
    assert "1 of 30 slides of slides.csv have no file in features, the first is 'S0001-0'" in cohort.info.notes[0]


def test_slides_may_be_named_with_the_ending_of_the_image() -> None:
    assert [slides.bare(s) for s in ("a.svs", "a.b.NDPI", "a.h5", "a")] == ["a", "a.b", "a", "a"]


def test_the_fingerprint_follows_every_file_and_not_the_title(home: Path) -> None:
    prints = [read(home).fingerprint]
    changes: list[Callable[[], object]] = [
        lambda: cells(home, "patients.csv", (2, "age", "33")),
        lambda: cells(home, "rna.csv", (2, "gene_3", "7")),
        lambda: write_h5(home / "features" / "S0002-0.h5", np.ones((3, 16))),
        lambda: cells(home, "slides.csv", (2, "patient", "0002")),
        lambda: toml(home, '"smoker"]', '"smoker"]\ncategorical = ["stage"]'),
    ]
    for change in changes:
        change()
        prints.append(read(home).fingerprint)
    assert len(set(prints)) == len(changes) + 1
    toml(home, "Our patients", "Mine")
    assert read(home).fingerprint == prints[-1]
    assert set(read(home).info.checksums) == {"outcome", "modality.clinical", "modality.rna", "modality.slides"}


def test_a_key_that_changes_nothing_that_is_read_makes_no_stored_result_stale(home: Path) -> None:
    before = read(home).fingerprint
    toml(home, 'table = "rna.csv"', 'table = "rna.csv"\nabsent = "ignore"')
    assert read(home).fingerprint == before


def test_new_patients_have_no_outcome(home: Path) -> None:
    cells(home, "patients.csv", (0, "days", ""), (0, "status", ""))
    assert table(home).cases()[0].target is None
    with pytest.raises(DataError, match="case '0000': no follow-up"):
        read(home)


def test_a_large_folder_is_looked_at_by_shape_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_h5(home / "features" / "S0001-0.h5", np.full((2, 16), np.nan))
    with pytest.raises(DataError, match="32 values are NaN"):
        read(home)
    monkeypatch.setattr(slides, "READ_WHOLE", 0)
    assert read(home).cases


def test_rows_are_cases(home: Path) -> None:
    with pytest.raises(SuiteError, match=r"set protocol.unit = 'patient'"):
        table(home).cases("slide")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch pwned",)


def features(name: str, values: np.ndarray, key: str = "features") -> Callable[[Path], None]:
    return lambda home: write_h5(home / "features" / name, values, key)


def torch_file(value: object) -> Callable[[Path], None]:
    def spoil(home: Path) -> None:
        (home / "features" / "S0001-0.h5").unlink()
        torch.save(value, home / "features" / "S0001-0.pt")

    return spoil


def cell(file: str, *changes: tuple[int, str, str]) -> Callable[[Path], None]:
    return lambda home: cells(home, file, *changes)


def words(old: str, new: str) -> Callable[[Path], None]:
    return lambda home: toml(home, old, new)


def several_in_zip(home: Path) -> None:
    with zipfile.ZipFile(home / "p.zip", "w") as archive:
        for name in ("patients.csv", "slides.csv"):
            archive.write(home / name, name)
    toml(home, "patients.csv", "p.zip")


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(home: Path) -> None:
        (home / name).write_bytes(content)
        toml(home, "patients.csv", name)

    return spoil


def damaged_zip(home: Path) -> None:
    """An archive whose compressed bytes are changed, its names and sizes left alone."""
    with zipfile.ZipFile(home / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(home / "patients.csv", "p.csv")
    data = bytearray((home / "p.zip").read_bytes())
    data[60:70] = b"\xff" * 10
    (home / "p.zip").write_bytes(data)
    toml(home, "patients.csv", "p.zip")


def column_twice(home: Path) -> None:
    """A parquet file may have two columns of one name."""
    frame = pd.read_csv(home / "patients.csv", dtype=str)
    arrays = [pa.array(frame["age"]), *(pa.array(frame[name]) for name in frame.columns)]
    pq.write_table(pa.table(arrays, names=["age", *frame.columns]), home / "p.parquet")
    toml(home, "patients.csv", "p.parquet")


ODD_NUMBERS = ("1_0", "0x1F", "inf", "１２", "١٢", "12:30", "1e", "- 5", "1d5", "(5)")
"""What Python or a spreadsheet reads as a number, or a person might, and what is none here."""
ONE = [
    # time and event
    (cell("patients.csv", (4, "days", "lost")), "patients.csv, column 'days', row 6: 'lost' is no number; write days"),
    (cell("patients.csv", (4, "days", "-3"), (6, "days", "-1")), "column 'days', row 6 and 1 more: '-3' is no time"),
    *((cell("patients.csv", (4, "days", odd)), f"column 'days', row 6: {odd!r} is no number") for odd in ODD_NUMBERS),
    (cell("patients.csv", (4, "status", "gone")), "column 'status', row 6: 'gone' says neither observed nor censored"),
    (cell("patients.csv", (4, "status", "gone")), "the column has 3 values ('alive', 'dead', 'gone')"),
    (words('observed = "dead"\ncensored = "alive"\n', ""), "row 2 and 29 more: '"),
    (cell("patients.csv", (4, "status", "")), "patients.csv, row 6: 'status' is empty and 'days' is not"),
    (words('unit = "day"', 'unit = "days"'), "outcome.unit: Input should be 'day', 'week', 'month' or 'year'"),
    (words('event = "status"', 'event = "status"\ncensorship = "status"'), "outcome: name one column: event (1 = obs"),
    (words('observed = "dead"\n', ""), "outcome: give both observed and censored"),
    (words('"alive"', '["alive", "dead"]'), "outcome: 'dead' stands under observed and under censored"),
    # ids
    (
        cell("patients.csv", (4, "patient", "0002")),
        "column 'patient': 1 id has several rows (first: '0002', rows 4 and 6)",
    ),
    (cell("patients.csv", (9, "patient", "")), "patients.csv, column 'patient', row 11: no id (1 row so)"),
    (
        cell("rna.csv", (4, "patient", "0002")),
        "rna.csv, column 'patient': 1 id has several rows (first: '0002', rows 3 and 6)",
    ),
    (
        cell("rna.csv", (4, "patient", "0099")),
        "rna.csv has 1 row of cases that the case table does not have, the first",
    ),
    # files
    (
        words("patients.csv", "patient.csv"),
        "patient.csv: cannot be read (No such file or directory); write its path as seen from the cohort's file; "
        "looked for /",
    ),
    (
        words("patients.csv", "patients.xls"),
        "unknown kind of table '.xls'; known are .csv, .tsv, .txt, .xlsx, .parquet, .zip; save it as .xlsx or CSV",
    ),
    (written("p.csv", b"\xff\xfe\x00a,b\n1,2\n"), "p.csv: its first bytes say utf-16, and it is not; save it as UTF-8"),
    (written("p.parquet", b"xx"), "p.parquet: cannot be read as a table ("),
    (written("p.zip", b"xx"), "p.zip: no readable zip ("),
    (written("p.csv", b""), "p.csv: cannot be read as a table (No columns to parse from file)"),
    (written("p.csv", b"patient,days\n"), "p.csv: has no rows"),
    (written("p.csv", b"patient,days,days\n1,2,3\n"), "p.csv: 1 column name used twice, the first is 'days'"),
    (
        written("p.csv", b"patient;days\n1;2\n"),
        "one column only, 'patient;days'; if its cells are separated by ';', say",
    ),
    (written("p.csv", b"patient,days\n1,2,3\n"), "p.csv: cannot be read as a table ("),
    (several_in_zip, "p.zip: holds 2 files (patients.csv, slides.csv); zip one table alone"),
    # columns
    (words('"age"', '"ages"'), "modality.clinical.columns: unknown column of patients.csv 'ages'; did you mean 'age'"),
    (words('time = "days"', 'time = "day"'), "outcome.time: unknown column of patients.csv 'day'; did you mean 'days'"),
    (
        words('id = "patient"', 'id = "patients"'),
        "id: unknown column of patients.csv 'patients'; did you mean 'patient'",
    ),
    (words('"smoker"]', '"smoker", "days"]'), "column 'days' of patients.csv is the time; a model must not see it"),
    (damaged_zip, "p.zip: no readable zip (Error -3 while decompressing data"),
    (column_twice, "p.parquet: 1 column name used twice, the first is 'age'; rename one"),
    (words('"smoker"]', '"smoker", "status"]'), "column 'status' of patients.csv is the outcome; a model must not see"),
    (words('"smoker"]', '"smoker"]\nprefix = "pat"'), "column 'patient' of patients.csv is the case's id"),
    (words('"smoker"]', '"smoker"]\nprefix = "dna_"'), "no column of patients.csv has the prefix 'dna_'; correct it"),
    (words('"smoker"]', '"smoker"]\nsuffix = ["e", "_x"]'), "no column of patients.csv has the suffix '_x'; correct"),
    (
        words("[modality.slides]", '[modality.more]\ncolumns = ["age", "hospital"]\n[modality.slides]'),
        "modality.clinical and modality.more both take 1 column of patients.csv, the first is 'age'",
    ),
    (
        words('"smoker"]', '"smoker"]\ncategorical = "hospital"'),
        "categorical: 'hospital' is no column of this modality",
    ),
    (words('"gene_1"]', '"gene_9"]'), "modality.rna.groups.first: unknown column of rna.csv 'gene_9'; did you mean"),
    (cell("patients.csv", (20, "age", "<50")), "column 'age', row 22: '<50' is no number, as 24 of 25 cells are"),
    (cell("rna.csv", (2, "gene_1", "inf")), "rna.csv, column 'gene_1', row 4: an infinite value"),
    (
        words('table = "rna.csv"\n', 'table = "rna.csv"\nexclude = ["gene_0", "gen"]\n'),
        "exclude: unknown column of rna.csv",
    ),
    # the TOML
    (words('id = "patient"', "id = patient"), "cohort.toml: not valid TOML: "),
    (words('id = "patient"', 'id = "patient"\ngrup = "x"'), "grup: unknown key 'grup'; did you mean 'group'?"),
    (
        words('unit = "day"', 'unit = "day"\nendpont = "x"'),
        "outcome.endpont: unknown key 'endpont'; did you mean 'endpoi",
    ),
    (
        words('folder = "features"', 'folder = "features"\nmapp = "x"'),
        "modality.slides.mapp: unknown key 'mapp'; did you",
    ),
    (words('id = "patient"\n', "id = 3\n"), "id: write a text in quotes (got 3)"),
    (words('"age", ', "3, "), "modality.clinical.columns.0: write a text in quotes (got 3)"),
    (words('["gene_2", "gene_3"]', "3"), "modality.rna.groups.second: write a text in quotes, or a list of texts"),
    (words('table = "rna.csv"\n', 'table = "rna.csv"\nprefix = ""\n'), "modality.rna: an empty prefix or suffix"),
    (words('id = "patient"\n', ""), "id: this key is needed and is not there"),
    (words('folder = "features"', 'folder = "features"\nprefix = "x"'), "prefix belongs to a modality of columns"),
    (words('table = "rna.csv"', 'table = "rna.csv"\nmap = "x.csv"'), "map belongs to a modality of a folder"),
    (
        words('columns = ["age", "sex", "stage", "smoker"]', ""),
        "say where it is: columns, prefix or suffix, or another",
    ),
    (words('map = "slides.csv"\n', ""), "slide and case are columns of a map: name its file"),
    # slides
    (words('"features"', '"feature"'), "modality.slides.folder: 'feature' is no folder; looked for /"),
    (words('case = "patient"', 'case = "patients"'), "modality.slides.case: unknown column of slides.csv 'patients'"),
    (
        cell("slides.csv", (4, "patient", "0099")),
        "slides.csv, row 6: slide 'S0005-0' is of '0099', a case that the case",
    ),
    (cell("slides.csv", (4, "patient", "")), "slides.csv, row 6: 'slide' or 'patient' is empty"),
    (cell("slides.csv", (6, "slide", "S0005-0")), "row 8: slide 'S0005-0' is of '0006' here and of '0005' above"),
    (
        features("x.h5", np.ones((2, 16))),
        "1 file of features of slides that slides.csv does not have, the first is x.h5",
    ),
    (features("S0001-0.h5", np.ones((2, 2, 16)), "feats"), "S0001-0.h5: no array `features`, and none that may be it"),
    (features("S0001-0.h5", np.ones((2, 8))), "S0001-0.h5: 8 features where 29 other files have 16"),
    (
        features("S0001-0.h5", np.full((2, 16), np.nan)),
        "S0001-0.h5: 32 values are NaN or infinite, the first at (0, 0)",
    ),
    (features("S0001-0.h5", np.ones((0, 16))), "S0001-0.h5: no instance; leave the modality out of this case"),
    (
        features("S0001-0.h5", np.ones((2, 2, 16))),
        "S0001-0.h5: expected (instance, feature), got an array of shape (2, 2, 16)",
    ),
    (lambda home: (home / "features/S0001-0.h5").write_bytes(b""), "S0001-0.h5: cannot be read ("),
    (torch_file({"x": Evil()}), "S0001-0.pt: cannot be read: pickled objects, which can run code and are refused"),
    (torch_file([torch.zeros(2, 16)]), "S0001-0.pt: holds a list; save one plain tensor"),
]


@pytest.mark.parametrize(("spoil", "said"), ONE, ids=lambda x: x[:50] if isinstance(x, str) else "")
def test_a_fault_is_one_line_with_its_place(home: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(home)
    with pytest.raises(FusionBenchError) as error:
        read(home)
    message = str(error.value)
    assert said in message
    assert message.startswith(f"{home / 'cohort.toml'}: ")
    assert not Path("pwned").exists()


def test_all_problems_of_the_toml_are_said_at_once(home: Path) -> None:
    toml(home, 'unit = "day"', 'units = "day"')
    toml(home, 'folder = "features"', 'folders = "features"')
    with pytest.raises(DataError) as error:
        read(home)
    first, *lines = str(error.value).splitlines()
    assert first.endswith("cohort.toml: 3 problems")
    assert [line.partition(":")[0] for line in lines] == [
        *("  - outcome.unit", "  - outcome.units", "  - modality.slides.folders")
    ]


def test_many_problems_are_counted(home: Path) -> None:
    for path in (home / "features").iterdir():
        write_h5(path, np.full((1, 16), np.nan))
    with pytest.raises(DataError) as error:
        read(home)
    assert str(error.value).splitlines()[-1] == "  - and 10 more"


def test_a_toml_that_is_not_there_says_how_to_name_one() -> None:
    with pytest.raises(DataError, match=r"cohort.toml: no such file; .* table\[file=PATH\] \(docs/own-data.md\)"):
        Table(TableOptions(), Path("nowhere")).info()


def test_a_wide_table_does_not_list_all_its_columns(home: Path) -> None:
    wide = pd.DataFrame(np.ones((1, 200)), columns=[f"g{i}" for i in range(200)])
    wide.insert(0, "patient", "0001")
    wide.to_csv(home / "rna.csv", index=False)
    toml(home, TOML.partition("groups")[2].partition("\n")[0], ' = {a = ["g1999"]}')
    with pytest.raises(DataError, match=r"did you mean 'g199' or .*\? It has 201 columns$"):
        read(home)


def test_a_column_without_a_name_is_not_taken_silently(home: Path) -> None:
    pd.read_csv(home / "rna.csv", dtype=str).to_csv(home / "rna.csv")  # pandas' index, as people leave it in
    with pytest.raises(DataError, match=r"modality.rna: column 1 of rna.csv has no name; name it, or name the columns"):
        read(home)


def test_codes_of_texts_do_not_depend_on_the_table() -> None:
    assert code("3") == code("3.0") == 3
    assert len({code(text) for text in ("f", "m", "F", "ä", "yes", "no")}) == 6
    assert code("f") == float(int(code("f"))) < 2**48


def test_the_example_is_read(tmp_path: Path) -> None:
    write_example(tmp_path)
    cohort = read(tmp_path)
    assert {name: m.kind for name, m in cohort.modalities.items()} == {
        "clinical": "vector",
        "rna": "vector",
        "slides": "bag",
    }
    assert len(cohort.folds or ()) == 2
