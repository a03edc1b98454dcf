"""Files as programs and people leave them: read as they are meant, or refused with one line that says what to do."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fusionbench.core.errors import DataError
from fusionbench.data.fixes import Problem
from tests.unit.builtin.test_table import read, table, toml

Change = Callable[[Path], None]


def text(change: Callable[[str], str], name: str = "patients.csv") -> Change:
    """A file with another text."""

    def spoil(home: Path) -> None:
        path = home / name
        path.write_bytes(change(path.read_text(encoding="utf-8")).encode("utf-8", errors="surrogatepass"))

    return spoil


def data(change: Callable[[bytes], bytes], name: str = "patients.csv") -> Change:
    """A file with other bytes."""

    def spoil(home: Path) -> None:
        (home / name).write_bytes(change((home / name).read_bytes()))

    return spoil


def with_keys(spoil: Change, keys: str) -> Change:
    """With keys under `[file."patients.csv"]`."""

    def both(home: Path) -> None:
        spoil(home)
        with (home / "cohort.toml").open("a") as file:
            file.write(f'\n[file."patients.csv"]\n{keys}\n')

    return both


def quoted_newlines(home: Path) -> None:
    frame = pd.read_csv(home / "patients.csv", dtype=str, keep_default_na=False)
    frame.assign(note="two\nlines, and a comma").to_csv(home / "patients.csv", index=False)


def name_of_two_lines(home: Path) -> None:
    text(lambda t: t.replace("stage", '"stage\n(TNM)"', 1))(home)
    toml(home, '"stage"', '"stage (TNM)"')


def links(home: Path) -> None:
    shutil.move(home / "features", home / "elsewhere")
    (home / "features").symlink_to(home / "elsewhere")


def decomposed(home: Path) -> None:
    """An accent as a letter of its own in one file, as macOS writes names, and not in the others."""
    text(lambda t: re.sub(r"(?m)^(?=\d{4})", "\u00e9", t))(home)
    text(lambda t: re.sub(r"(?m)^(?=\d{4})", "e\u0301", t), "rna.csv")(home)
    text(lambda t: re.sub(r"(?m),(?=\d{4}$)", ",e\u0301", t), "slides.csv")(home)


def two_endings(home: Path) -> None:
    text(lambda t: t + "".join(line.replace(".svs", ".tiff") + "\n" for line in t.splitlines()[1:]), "slides.csv")(home)


READ: dict[str, Change] = {
    "mark of UTF-8 in the TOML": data(lambda b: b"\xef\xbb\xbf" + b, "cohort.toml"),
    "mark of UTF-8": data(lambda b: b"\xef\xbb\xbf" + b),
    "UTF-16": data(lambda b: b.decode().encode("utf-16")),
    "Windows line ends": data(lambda b: b.replace(b"\n", b"\r\n")),
    "old Mac line ends": data(lambda b: b.replace(b"\n", b"\r")),
    "no line end at the end": data(bytes.rstrip),
    "empty rows at the end": text(lambda t: t + ",,,,,,,\n\n , , , , , , , \n"),
    "empty columns at the end": text(lambda t: "".join(f"{line},,\n" for line in t.splitlines())),
    "everything quoted": text(lambda t: "".join('"' + line.replace(",", '","') + '"\n' for line in t.splitlines())),
    "quoted newlines": quoted_newlines,
    "spaces around names": text(lambda t: t.replace("patient,hospital", " patient , hospital ", 1)),
    "spaces behind ids": text(lambda t: re.sub(r"(?m)^(\d{4})", r"\1  ", t), "rna.csv"),
    "fixed spaces behind ids": text(lambda t: re.sub(r"(?m)^(\d{4})", "\\1\u00a0", t), "rna.csv"),
    "a title above": with_keys(text(lambda t: "Our patients\n\n" + t), "header = 3"),
    "a spreadsheet's sep=": with_keys(text(lambda t: "sep=;\n" + t.replace(",", ";")), 'header = 2\nseparator = ";"'),
    "a link to the folder": links,
    "slides with two endings": two_endings,
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_as_it_is_meant(home: Path, name: str) -> None:
    before = read(home)
    READ[name](home)
    cohort = read(home)
    assert cohort.fingerprint == before.fingerprint
    assert cohort.info.notes == before.info.notes


def test_accents_and_names_of_two_lines(home: Path) -> None:
    """They are what they look like; the ids of three files are one set."""
    decomposed(home)
    name_of_two_lines(home)
    cohort = read(home)
    assert cohort.cases[0].id == "\u00e90000"
    assert "stage (TNM)" in cohort.modalities["clinical"].use.features
    assert sum("slides" in case.refs for case in cohort.cases) > 20


def of_kind(name: str, change: Callable[[Path, pd.DataFrame], None]) -> Change:
    """The case table under another name."""

    def spoil(home: Path) -> None:
        change(home / name, pd.read_csv(home / "patients.csv", dtype=str))
        toml(home, 'table = "patients.csv"', f'table = "{name}"')

    return spoil


def as_excel(path: Path, frame: pd.DataFrame) -> None:
    frame.to_excel(path.with_suffix(".xlsx"), index=False)
    path.with_suffix(".xlsx").rename(path)


def long_table(home: Path) -> None:
    frame = pd.read_csv(home / "rna.csv", dtype=str)
    frame.melt("patient", var_name="gene").to_csv(home / "rna.csv", index=False)
    toml(home, 'groups = {first = ["gene_0", "gene_1"], second = ["gene_2", "gene_3"]}\n', "")


def both_formats(home: Path) -> None:
    for path in list((home / "features").iterdir()):
        torch.save(torch.ones(2, 16), path.with_suffix(".pt"))


HEADER = (
    "the names of the columns are in row 2, the first that has 'patient'; say header = 2 under [file.\"patients.csv\"]"
)
TOLD: dict[str, tuple[Change, str]] = {
    "title": (text(lambda t: "Our patients,,\n" + t), HEADER),
    "title of one cell": (text(lambda t: "Our patients\n" + t), HEADER),
    "comment": (text(lambda t: "# exported, 2024\n" + t), HEADER),
    "empty row": (text(lambda t: "\n" + t), HEADER),
    "title of a spreadsheet": (
        of_kind("p.xlsx", lambda path, frame: frame.to_excel(path, index=False, startrow=2)),
        "p.xlsx: the names of the columns are in row 3",
    ),
    "spreadsheet called csv": (of_kind("p.csv", as_excel), "p.csv: is a spreadsheet or another archive, whatever its"),
    "parquet called csv": (of_kind("p.csv", lambda path, frame: frame.to_parquet(path)), "p.csv: is a parquet file"),
    "gzip called csv": (data(gzip.compress), "patients.csv: is compressed by gzip, whatever its ending; unpack it"),
    "gzip": (of_kind("p.csv.gz", lambda path, frame: frame.to_csv(path)), "unknown kind of table '.gz'; known are"),
    "old spreadsheet": (data(lambda b: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "is an old spreadsheet (.xls)"),
    "pointer": (data(lambda b: b"version https://git-lfs.github.com/spec/v1\n"), "fetch it with: git lfs pull"),
    "web page": (data(lambda b: b"<!DOCTYPE html><html></html>"), "patients.csv: is a web page and not a table"),
    "capital letter": (lambda home: toml(home, "patients.csv", "Patients.csv"), "(did you mean 'patients.csv'?)"),
    "TOML of UTF-16": (data(lambda b: b.decode().encode("utf-16"), "cohort.toml"), "; save it as UTF-8"),
    "long table": (long_table, "of a table with a row a value, make a column a value), or say bag = true"),
    "two formats": (both_formats, "S0001-0.h5 and S0001-0.pt are of one slide (30 slides so); keep one of them"),
    "a link to itself": (
        lambda home: (home / "features" / "x.npy").symlink_to("x.npy"),
        "1 file of features of slides that slides.csv does not have, the first is x.npy",
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told_in_one_line(home: Path, name: str) -> None:
    spoil, said = TOLD[name]
    spoil(home)
    with pytest.raises(DataError) as error:
        read(home)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_header_further_down_is_answered_by_a_key_and_rows_keep_their_numbers(home: Path) -> None:
    text(lambda t: "Our patients\n\n" + t.replace("\n0002,H2,", "\n0002,H2,old", 1))(home)
    with pytest.raises(DataError) as error:
        read(home)
    (first, second) = error.value.problems  # type: ignore[attr-defined]
    assert isinstance(first, Problem)
    assert [(fix.table, fix.key, fix.value) for fix in first.fixes] == [(("file", "patients.csv"), "header", 3)]
    assert "column 'age', row 6: 'old" in second  # the fourth row below the title's two


def test_a_row_a_value_is_not_answered_by_the_first_row(home: Path) -> None:
    long_table(home)
    with pytest.raises(DataError) as error:
        read(home)
    assert not any(isinstance(line, Problem) for line in error.value.problems)  # type: ignore[attr-defined]


def test_types_of_numbers_in_feature_files(home: Path) -> None:
    """float64, bfloat16, float16 and tensors that ask for gradients are what they hold."""
    kinds = [torch.float64, torch.bfloat16, torch.float16, torch.float32]
    for i, path in enumerate(sorted((home / "features").iterdir())):
        tensor = torch.full((1, 2, 16), 0.5, dtype=kinds[i % 4], requires_grad=i % 2 == 0)
        torch.save(tensor, path.with_suffix(".pt"))
        path.unlink()
    cohort = read(home)
    bags = [cohort.modalities["slides"].load(case.refs["slides"]).values for case in cohort.cases if len(case.refs) > 2]
    assert len(bags) > 10
    assert all((bag == np.float32(0.5)).all() and bag.shape[1] == 16 for bag in bags)
    assert {case.id for case in table(home).cases()} == {case.id for case in cohort.cases}
