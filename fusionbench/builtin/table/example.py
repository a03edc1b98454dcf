"""A small made-up cohort with a modality of each kind, as files that a user could have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TOML = """\
title = "Example"
table = "patients.csv"
id = "patient"
folds = "fold"

[outcome]
time = "days"
unit = "day"
event = "died"

[modality.clinical]
columns = ["age", "sex", "grade"]

[modality.rna]
table = "rna.csv"

[modality.slides]
folder = "features"
map = "slides.csv"
case = "patient"
"""
CASES, GENES, WIDTH = 24, 5, 4


def write_example(folder: Path) -> Path:
    """The files, and the TOML's place; every third patient has two slides, every fourth lacks the rna."""
    import pandas as pd

    rng = np.random.default_rng(0)
    ids = [f"{i:03d}" for i in range(CASES)]
    table = {
        "patient": ids,
        "age": rng.integers(40, 80, CASES),
        "sex": rng.choice(["f", "m"], CASES),
        "grade": rng.choice([1, 2, 3], CASES),
        "days": rng.integers(30, 2000, CASES),
        "died": rng.choice([0, 1, 1], CASES),
        "fold": np.arange(CASES) % 2,
    }
    pd.DataFrame(table).to_csv(folder / "patients.csv", index=False)
    rna = pd.DataFrame(rng.normal(size=(CASES, GENES)).round(3), columns=[f"g{i}" for i in range(GENES)])
    rna.insert(0, "patient", ids)
    rna[rna.index % 4 > 0].to_csv(folder / "rna.csv", index=False)
    slides = [(f"{id_}-{n}", id_) for i, id_ in enumerate(ids) for n in range(2 if i % 3 == 0 else 1)]
    pd.DataFrame(slides, columns=["slide", "patient"]).to_csv(folder / "slides.csv", index=False)
    (folder / "features").mkdir(exist_ok=True)
    for slide, _ in slides:
        np.save(folder / "features" / f"{slide}.npy", rng.normal(size=(3, WIDTH)).astype(np.float32))
    (folder / "cohort.toml").write_text(TOML, encoding="utf-8")
    return folder / "cohort.toml"
