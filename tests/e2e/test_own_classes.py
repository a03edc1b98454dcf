"""A CSV with a column of classes and a folder of h5 files go through every step without Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusionbench.tasks.threshold import best_threshold
from tests.conftest import Cli
from tests.own_cohort import write_h5

COHORT = """\
title = "Our oropharynx"
table = "patients.csv"
id = "patient"

[outcome]
task = "binary"
column = "hpv"
positive = "positive"
endpoint = "HPV status"

[modality.clinical]
columns = ["age", "smoker"]

[modality.slides]
folder = "features"
"""
SUITE = """
title = "HPV"
datasets = ["table[file=cohort.toml]"]
models = ["snn", "abmil", "logistic", "late-fusion"]
modalities = [["clinical"], ["slides"], ["clinical", "slides"]]
[protocol]
folds = 2
[train]
epochs = 2
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Forty patients, of whom two have no known status; the status moves ages and patches."""
    rng = np.random.default_rng(0)
    positive = np.arange(40) % 3 == 0
    cells = np.where(positive, "positive", "negative").astype(object)
    cells[[4, 7]] = ""
    ids = [f"P{i:02d}" for i in range(40)]
    age, smoker = rng.integers(50, 75, 40) - 6 * positive, rng.choice(["yes", "no"], 40)
    table = pd.DataFrame({"patient": ids, "age": age, "smoker": smoker, "hpv": cells})
    table.to_csv(tmp_path / "patients.csv", index=False)
    table.drop(columns="hpv")[:3].to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "features").mkdir()
    for id_, shift in zip(ids, positive, strict=True):
        write_h5(tmp_path / "features" / f"{id_}.h5", rng.normal(shift, 1, (4, 3)))
    (tmp_path / "cohort.toml").write_text(COHORT)
    new = COHORT.replace("patients.csv", "new.csv").replace('"features"', '"features"\nunknown = "ignore"')
    (tmp_path / "new.toml").write_text(new[: new.index("[outcome]")] + new[new.index("[modality.clinical]") :])
    (tmp_path / "hpv.toml").write_text(SUITE)
    return tmp_path


def thresholds_are_of_validation_patients(folder: Path) -> None:
    stored = pd.read_csv(folder / "cells.csv").query("status == 'ok'").set_index("key")["threshold"]
    assert stored.notna().all()
    target = pd.read_csv(folder / "targets.csv").set_index("case")["label"]
    for key, threshold in stored.items():
        rows = pd.read_parquet(folder / "cells" / str(key) / "predictions.parquet").query("split == 'val'")
        positive = (target[rows["case"]] == "positive").to_numpy()
        assert threshold == pytest.approx(best_threshold(positive, rows["P(positive)"].to_numpy()), abs=1e-15)


def test_a_binary_column_goes_through_every_step(cli: Cli, home: Path) -> None:
    seen = cli("data", "check", "cohort.toml")
    assert seen.returncode == 0, seen.stderr
    assert "38 cases of 38 groups; HPV status: 24 'negative', 14 'positive'" in seen.stdout
    assert "2 of 40 cases have no class for 'HPV status': left out" in seen.stdout

    ran = cli("run", "hpv.toml", "--no-track")
    assert ran.returncode == 0, ran.stderr
    table = pd.read_csv(home / "results/hpv/table.csv")
    assert {"snn", "abmil", "logistic", "late-fusion"} <= {*table["model"]}
    thresholds_are_of_validation_patients(home / "results/hpv")
    for verb in ("table", "report", "audit"):
        ended = cli(verb, "hpv.toml" if verb == "table" else "hpv")
        assert ended.returncode == 0, f"{verb}: {ended.stderr}"
    page = (home / "results/hpv/report.html").read_text(encoding="utf-8")
    assert "HPV status" in page
    assert "left out" in page

    cell = next(p.parent.name for p in (home / "results/hpv/cells").glob("*/cell.json") if '"abmil' in p.read_text())
    said = cli("predict", cell, "new.toml", "--to", "said.csv")
    assert said.returncode == 0, said.stderr
    rows = pd.read_csv("said.csv")
    assert list(rows.columns) == ["case", "prior", "modalities", "P(negative)", "P(positive)"]
    assert (rows["case"].tolist(), rows["prior"].any()) == (["P00", "P01", "P02"], False)
    np.testing.assert_allclose(rows["P(negative)"] + rows["P(positive)"], 1)

    published = cli("publish", "hpv")
    assert published.returncode == 0, published.stderr
    assert (home / "results/published/hpv/table.csv").exists()
