"""A pathology group's files become a cohort: checked, run with every model, predicted on; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusionbench.core.registry import discover
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error
from tests.own_cohort import TOML, write_cohort, write_h5

REGISTRY = discover(("models",))
ALL = sorted(REGISTRY.names("models"))
SUITE = f"""
title = "Every model"
datasets = ["table[file=data/cohort.toml]"]
models = {json.dumps(ALL)}
modalities = [["rna"], ["slides"], ["clinical", "rna", "slides"]]
[protocol]
folds = 2
test_patterns = ["full", "only:*"]
[train]
epochs = 1
"""
SMALL = """
title = "Small"
datasets = ["table[file=data/cohort.toml]"]
models = ["cox"]
modalities = [["clinical"], ["slides"]]
[protocol]
folds = 2
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with data/ and study.toml."""
    (tmp_path / "data").mkdir()
    write_cohort(tmp_path / "data")
    (tmp_path / "study.toml").write_text(SMALL)
    return tmp_path


def test_data_check_says_what_is_in_it(cli: Cli, home: Path) -> None:
    result = cli("data", "check", "data/cohort.toml")
    assert result.returncode == 0, result.stderr
    for words in (
        "Our patients",
        "120 cases of 120 groups; overall survival: ",
        "median follow-up (reverse Kaplan-Meier) ",
        "clinical: vector of width 4 (2 categorical), 120 cases have it, 0 lack it; ",
        "rna: vector of width 6, 106 cases have it, 14 lack it; 0.0% of its cells are missing",
        "slides: bag of width 16, 102 cases have it, 18 lack it; ",
        "nothing suspicious",
    ):
        assert words in result.stdout
    same = cli("data", "check", "table[file=data/cohort.toml]")
    assert same.stdout == result.stdout


def test_data_check_as_json(cli: Cli, home: Path) -> None:
    found = json.loads(cli("data", "check", "data/cohort.toml", "--json").stdout)
    assert set(found) == {"files", "problems", "facts", "warnings"}
    assert found["problems"] == []
    assert found["warnings"] == []
    assert found["facts"]["cases"] == 120
    assert [m["name"] for m in found["facts"]["modalities"]] == ["clinical", "rna", "slides"]


def test_data_check_warns_and_does_not_fail(cli: Cli, home: Path) -> None:
    path = home / "data/cohort.toml"
    path.write_text(TOML.replace('"dead"', '"X"').replace('"alive"', '"dead"').replace('"X"', '"alive"'))
    result = cli("data", "check", str(path))
    assert result.returncode == 0
    assert "warning: censorship may be reversed: " in result.stdout
    assert [w["kind"] for w in json.loads(cli("data", "check", str(path), "--json").stdout)["warnings"]] == [
        "censorship-reversed"
    ]


@pytest.mark.slow
def test_every_model_runs_on_it(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path
    monkeypatch.setenv("FUSIONBENCH_BAG_CACHE", str(home / "cache"))  # as a user has it; 64 cells read every bag
    (home / "data").mkdir()
    write_cohort(home / "data")
    patients = pd.read_csv(home / "data/patients.csv", dtype=str, keep_default_na=False)
    patients.loc[::24, ["days", "status"]] = "0", "dead"  # every model takes an event on the day of entry
    patients.to_csv(home / "data/patients.csv", index=False)
    (home / "every.toml").write_text(SUITE)
    assert cli("data", "check", "data/cohort.toml").returncode == 0
    result = cli("run", "every.toml", "--no-track")
    assert result.returncode == 0, result.stderr
    table = pd.read_csv(home / "results/every/table.csv")
    assert set(table["model"]) == set(ALL)
    table = table[table["n_skipped"] == 0]
    of_classes = {name for name in ALL if "survival" not in REGISTRY.model(name.partition("[")[0]).tasks}
    assert of_classes == {"logistic", "random-forest"}
    assert set(table["model"]) == set(ALL) - of_classes
    assert np.isfinite(table["mean"]).all()
    whole = table[(table["modalities"] == "clinical+rna+slides") & (table["pattern"] == "full")]
    assert {"healnet", "mcat", "porpoise", "early-fusion", "late-fusion", "cox"} <= set(whole["model"])
    assert (whole["n_cases"] == 120).all()
    assert cli("audit", "every.toml").returncode == 0


def test_a_changed_file_is_computed_anew(cli: Cli, home: Path) -> None:
    run = ("run", "study.toml", "--no-track")
    assert "4 cells computed, 0 were there already" in cli(*run).stdout
    assert "nothing to do" in cli(*run).stdout
    file = next((home / "data/features").glob("*.h5"))
    for change in (
        lambda: write_h5(file, np.zeros((3, 16))),
        lambda: (home / "data/rna.csv").write_text(
            (home / "data/rna.csv").read_text().replace("0001,", "0001,9").replace("0001,9-", "0001,-9")
        ),
        lambda: (home / "data/cohort.toml").write_text(TOML.replace('"smoker"]', '"smoker"]\ncategorical = ["stage"]')),
    ):
        change()
        assert "4 cells computed, 0 were there already" in cli(*run).stdout
    (home / "data/cohort.toml").write_text((home / "data/cohort.toml").read_text().replace("Our patients", "Ours"))
    assert "nothing to do" in cli(*run).stdout


def test_a_suite_elsewhere_finds_the_cohort_beside_it(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "else").mkdir()
    monkeypatch.chdir(home / "else")
    dry = cli("run", "../study.toml", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "table[file=data/cohort.toml]" in dry.stdout, "a label is what the suite says"


def test_new_patients_are_predicted_on(cli: Cli, home: Path) -> None:
    """Their table has fewer levels and rows, no outcome; a level keeps its column."""
    cli("run", "study.toml", "--no-track")
    cells = (home / "results/study/cells").glob("*/cell.json")
    cell = next(p.parent.name for p in cells if json.loads(p.read_text())["record"]["cell"]["modalities"] == "clinical")
    old = pd.read_csv(home / "data/patients.csv", dtype=str, keep_default_na=False)
    new = old[old["sex"] == "m"].drop(columns=["days", "status"])
    new.to_csv(home / "data/new.csv", index=False)
    clinical = TOML.partition("[modality.clinical]")[2].partition("[modality.rna]")[0]
    text = f'table = "new.csv"\nid = "patient"\n[modality.clinical]{clinical}'
    (home / "data/new.toml").write_text(text)
    (home / "data/same.toml").write_text(text.replace("new.csv", "patients.csv"))
    risks = []
    for name in ("new", "same"):
        result = cli("predict", cell, f"data/{name}.toml", "--to", f"{name}-risk.csv")
        assert result.returncode == 0, result.stderr
        risks.append(pd.read_csv(home / f"{name}-risk.csv", dtype={"case": str}).set_index("case")["risk"])
    assert len(risks[0]) == len(new) < len(old)
    assert np.allclose(risks[0], risks[1][risks[0].index])


@pytest.mark.parametrize("verb", [("data", "check", "data/cohort.toml"), ("run", "study.toml", "--no-track")])
def test_several_faults_at_once_before_any_compute(cli: Cli, home: Path, verb: tuple[str, ...]) -> None:
    table = pd.read_csv(home / "data/patients.csv", dtype=str, keep_default_na=False)
    table.loc[3, "days"], table.loc[4, "status"], table.loc[6, "patient"] = "lost", "unknown", "0005"
    table.to_csv(home / "data/patients.csv", index=False)
    write_h5(home / "data/features/S0001-0.h5", np.full((2, 16), np.nan))
    write_h5(home / "data/features/S0002-0.h5", np.ones((2, 8)))
    write_h5(home / "data/features/S0003-0.h5", np.ones((2, 2, 16)), "feats")
    stderr = one_error(
        cli(*verb),
        "data/cohort.toml: 8 problems",
        "patients.csv, column 'days', row 5: 'lost' is no number",
        "patients.csv, column 'status', row 6: 'unknown' says neither observed nor censored",
        "patients.csv, column 'patient': 1 id has several rows (first: '0005', rows 7 and 8)",
        "rna.csv has 1 row of cases that the case table does not have, the first is '0006' in row 7",
        "slides.csv, row 8: slide 'S0006-0' is of '0006', a case that the case table does not have",
        "S0001-0.h5: 32 values are NaN or infinite",
        "S0002-0.h5: 8 features where 118",
        "S0003-0.h5: no array `features`",
    )
    assert stderr.count("\n  - ") == 8
    assert not (home / "results/study/cells").exists()
