"""One cohort twice: as its owners mean it, and as a spreadsheet, a matrix and a folder of theirs hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

N = 60
GENES = 8
OUTCOME = {"time": "days", "unit": "day", "event": "status", "observed": "dead", "censored": "alive"}
CLINICAL = ["age", "weight", "ki67", "volume", "sex", "smoker", "er", "grade", "site"]

FAULTS = {
    "another encoding": "patients.csv: no UTF-8 text",
    "another separator": "patients.csv: one column only, 'patient;age",
    "a text among numbers": "column 'age', row 4: '<50' is no number",
    "decimal comma": "clinical: column 'weight' holds texts that look like numbers ('",
    "one number with a point among commas": "write all numbers in one way",
    "unit": "units = ['kg']",
    "percent": "clinical: column 'ki67' holds texts that look like numbers",
    "thousands": "thousands = ','",
    "spelling of a level": "clinical: column 'sex' has levels that differ by case or spaces only",
    "unknown as a level": "clinical: column 'smoker' has '?' (4 cases)",
    "unknown in words": "clinical: column 'er' has 'not known' (3 cases)",
    "level of one case": "clinical: column 'grade' has 1 of 4 levels with a single case ('G4')",
    "codes read as numbers": "clinical: column 'site' was read as numbers and has cells such as '007'",
    "dates as texts": "clinical: column 'biopsy' holds dates",
    "constant": "clinical: 1 column ('study') has the same value in all cases",
    "like ids": "clinical: 1 column ('sample') is categorical with about one level per case",
    "named like an outcome": "clinical: 1 column ('os_status') has an outcome-like name",
    "knows the outcome": "clinical: 1 column ('marker') reveals the outcome",
    "the outcome itself": "column 'days' of patients.csv is the time",
    "an absent column": "modality.clinical.columns: unknown column of patients.csv 'bmi'",
    "no time": "column 'days', row 10: '1_0' is no number",
    "a negative time": "column 'days', row 12: '-3' is no time",
    "no follow-up": "2 cases ('p012', 'p013'): no follow-up",
    "spelling of the event": "column 'status', row 16 and 1 more: 'ALIVE' says neither observed nor censored",
    "an event of a third value": "('ALIVE', 'alive', 'dead', 'lost')",
    "a time without an event": "row 20: 'status' is empty and 'days' is not",
    "a time of zero": "1 of 54 cases have a time of 0 ('p020')",
    "transposed matrix": "modality.rna: the columns of rna.csv are cases",
    "numbers of a whole table as texts": "rna: 8 columns ('gene_0', 'gene_1', 'gene_2', 'gene_3' and 4 more) hold",
    "rows of unknown cases": "modality.rna: rna.csv has 1 row of cases that the case table does not have",
    "several sheets": "labs.xlsx: has 2 sheets ('values', 'legend')",
    "another name of the id": "modality.labs.id: unknown column of labs.xlsx 'patient'",
    "a column without a name": "modality.labs: column 4 of labs.xlsx has no name",
    "dates of a spreadsheet": "labs.xlsx, column 'taken' holds dates",
    "files of unknown cases": "modality.slides: file p999.npy, a case that the case table does not have",
}
"""What is wrong with the messy cohort, and how `data check` says so."""
EXCLUDED = ("p008", "p010", "p012", "p013", "p016", "p018", "p020")
"""Cases whose follow-up nobody can mend in a TOML."""


def clean_tables() -> dict[str, pd.DataFrame]:
    """patients, rna (cases x genes) and labs, with the cells as they are meant."""
    rng = np.random.default_rng(3)
    ids = [f"p{i:03d}" for i in range(N)]
    event = rng.random(N) < 0.5
    patients = pd.DataFrame(
        {
            "patient": ids,
            "age": rng.integers(45, 80, N).astype(float),
            "weight": rng.integers(500, 999, N) / 10,
            "ki67": rng.integers(1, 60, N).astype(float),
            "volume": rng.integers(1000, 9999, N).astype(float),
            "sex": rng.choice(["f", "m"], N),
            "smoker": rng.choice(["yes", "no"], N).astype(object),
            "er": rng.choice(["positive", "negative"], N).astype(object),
            "grade": rng.choice(["G1", "G2", "G3"], N).astype(object),
            "site": rng.choice(["007", "012", "100"], N),
            "days": rng.integers(100, 3000, N),
            "status": np.where(event, "dead", "alive"),
        }
    )
    patients.loc[2, "age"] = np.nan
    patients.loc[[30, 31, 32, 33], "smoker"] = None
    patients.loc[[34, 35, 36], "er"] = None
    patients.loc[37, "grade"] = None
    rna = pd.DataFrame(
        (rng.normal(5, 2, (N, GENES)) * 1000).round() / 1000, columns=[f"gene_{i}" for i in range(GENES)]
    )
    rna.insert(0, "patient", ids)
    labs = pd.DataFrame({"patient": ids, "hb": rng.integers(80, 160, N) / 10, "plt": rng.integers(100, 400, N)})
    return {"patients": patients, "rna": rna, "labs": labs}


def write_slides(folder: Path, extra: tuple[str, ...] = ()) -> None:
    """features/, one file a case."""
    (folder / "features").mkdir(parents=True)
    rng = np.random.default_rng(4)
    for name in (*(f"p{i:03d}" for i in range(N)), *extra):
        np.save(folder / "features" / f"{name}.npy", rng.normal(size=(3, 4)).astype(np.float32))


def write_clean(folder: Path) -> Path:
    """The cohort as it is meant: three CSV files, a folder and a TOML."""
    tables = clean_tables()
    write_slides(folder)
    tables["patients"] = tables["patients"][~tables["patients"]["patient"].isin(EXCLUDED)]
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    content: dict[str, Any] = {
        "table": "patients.csv",
        "id": "patient",
        "outcome": OUTCOME,
        "modality": {
            "clinical": {"columns": CLINICAL, "categorical": ["site"]},
            "rna": {"table": "rna.csv", "unknown": "ignore"},
            "labs": {"table": "labs.csv", "unknown": "ignore"},
            "slides": {"folder": "features", "unknown": "ignore"},
        },
    }
    (folder / "cohort.toml").write_text(tomli_w.dumps(content), encoding="utf-8")
    return folder / "cohort.toml"


def write_messy(folder: Path) -> Path:
    """The same cohort with every fault of `FAULTS`."""
    tables = clean_tables()
    write_slides(folder, ("p999",))
    _write_patients(folder, tables["patients"])
    matrix = tables["rna"].set_index("patient").T.map(lambda value: f"{value:.3f}".replace(".", ","))
    matrix["p888"] = matrix["p000"]
    matrix.to_csv(folder / "rna.csv", index_label="gene", sep=";")
    labs = tables["labs"].rename(columns={"patient": "Pat-ID"})
    labs[""] = range(N)
    labs["taken"] = pd.date_range("2012-03-01", periods=N)
    with pd.ExcelWriter(folder / "labs.xlsx") as book:
        labs.to_excel(book, sheet_name="values", index=False)
        pd.DataFrame({"column": ["hb"], "means": ["haemoglobin"]}).to_excel(book, sheet_name="legend", index=False)
    extra = ["biopsy", "study", "sample", "os_status", "marker", "days", "bmi"]
    content: dict[str, Any] = {
        "table": "patients.csv",
        "id": "patient",
        "outcome": OUTCOME,
        "modality": {
            "clinical": {"columns": [*CLINICAL, *extra]},
            "rna": {"table": "rna.csv"},
            "labs": {"table": "labs.xlsx"},
            "slides": {"folder": "features"},
        },
    }
    (folder / "cohort.toml").write_text(tomli_w.dumps(content), encoding="utf-8")
    return folder / "cohort.toml"


def _write_patients(folder: Path, patients: pd.DataFrame) -> None:
    table = patients.copy()
    rng = np.random.default_rng(5)
    table["age"] = table["age"].map(lambda v: "" if np.isnan(v) else f"{v:.0f}")
    table.loc[2, "age"] = "<50"
    table["weight"] = table["weight"].map(lambda v: f"{v} kg".replace(".", ","))
    table.loc[5, "weight"] = table.loc[5, "weight"].replace(",", ".")
    table["ki67"] = table["ki67"].map(lambda v: f"{v:.0f}%")
    table["volume"] = table["volume"].map(lambda v: f"{v:,.0f}")
    table.loc[table["sex"] == "m", "sex"] = rng.choice(["m", "M"], (table["sex"] == "m").sum(), p=[0.8, 0.2])
    table["smoker"] = table["smoker"].fillna("?")
    table["er"] = table["er"].fillna("not known")
    table["grade"] = table["grade"].fillna("G4")
    table["biopsy"] = [f"{1 + i % 28:02d}.0{1 + i % 9}.2011" for i in range(N)]
    table["study"] = "Köln"
    table["sample"] = [f"S{i}a" for i in rng.permutation(N)]
    table["os_status"] = rng.choice(["a", "b"], N)
    table["marker"] = (patients["status"] == "dead") * 3 + rng.integers(0, 2, N)
    days, status = table["days"].astype(str), table["status"].copy()
    days[8], days[10], days[12], days[13], days[20] = "1_0", "-3", "", "", "0"
    status[12], status[13] = "", "alive"
    status[14] = " ALIVE"  # it was alive
    status[16], status[18] = "lost", ""
    table["days"], table["status"] = days, status
    table.to_csv(folder / "patients.csv", index=False, sep=";", encoding="cp1252")
