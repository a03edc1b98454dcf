"""A cohort as a user has it: a spreadsheet, a table of expressions, a folder of patch features and a map."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

WIDTH = 16


def write_files(folder: Path, patients: int = 120, seed: int = 0) -> None:
    """patients.csv, rna.csv, slides.csv and features/*.h5.

    A hidden score drives time, expressions and patches. Ages are missing for some, every ninth patient has no
    expressions, every seventh no slide, every fifth has two.
    """
    rng = np.random.default_rng(seed)
    ids = [f"{i:04d}" for i in range(patients)]
    score = rng.normal(size=patients)
    patient_table(ids, score, rng).to_csv(folder / "patients.csv", index=False)
    rna = pd.DataFrame(rng.normal(size=(patients, 6)).round(4), columns=[f"gene_{i}" for i in range(6)])
    rna["gene_0"] += score
    rna.insert(0, "patient", ids)
    rna[rna.index % 9 > 0].to_csv(folder / "rna.csv", index=False)
    slides = [(f"S{id_}-{n}", id_) for i, id_ in enumerate(ids) if i % 7 for n in range(1 if i % 5 else 2)]
    pd.DataFrame([(f"{s}.svs", p) for s, p in slides], columns=["slide", "patient"]).to_csv(
        folder / "slides.csv", index=False
    )
    (folder / "features").mkdir()
    for slide, id_ in slides:
        size = int(rng.integers(4, 10))
        write_h5(folder / "features" / f"{slide}.h5", rng.normal(score[int(id_)] / 2, 1, (size, WIDTH)))


def patient_table(ids: list[str], score: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """One row a patient; times in days, `status` dead or alive."""
    n = len(ids)
    death, end = rng.exponential(900 * np.exp(-score)), rng.uniform(300, 2500, n)
    age = rng.integers(40, 85, n).astype(object)
    age[3:8] = ""
    return pd.DataFrame(
        {
            "patient": ids,
            "hospital": [f"H{i % 6}" for i in range(n)],
            "age": age,
            "sex": rng.choice(["f", "m"], n),
            "stage": rng.choice([1, 2, 3, 4], n),
            "smoker": rng.choice(["yes", "no", ""], n),
            "days": np.minimum(death, end).round().astype(int) + 1,
            "status": np.where(death <= end, "dead", "alive"),
        }
    )


def write_h5(path: Path, features: np.ndarray, name: str = "features") -> None:
    with h5py.File(path, "w") as file:
        file[name] = features.astype(np.float32)
        file["coords"] = np.zeros((len(features), 2), dtype=np.int64)


TOML = """\
title = "Our patients"
table = "patients.csv"
id = "patient"

[outcome]
time = "days"
unit = "day"
event = "status"
observed = "dead"
censored = "alive"

[modality.clinical]
columns = ["age", "sex", "stage", "smoker"]

[modality.rna]
table = "rna.csv"
groups = {first = ["gene_0", "gene_1"], second = ["gene_2", "gene_3"]}

[modality.slides]
folder = "features"
map = "slides.csv"
case = "patient"
"""


def write_cohort(folder: Path, patients: int = 120) -> Path:
    """Files and TOML; returns the latter."""
    write_files(folder, patients)
    (folder / "cohort.toml").write_text(TOML, encoding="utf-8")
    return folder / "cohort.toml"
