"""Masks from a file, and by outcome, from the command line to the table, the audit and the lock."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

SUITE = """
title = "Masks from a file"
datasets = ["synthetic[cases=60,bag_min=10,bag_max=10]"]
models = ["cox[l1_ratio=0.01]"]
modalities = [["vector", "bag"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
test_patterns = ["file:masks/test.csv"]
[[variant]]
name = "trained"
protocol.train_pattern = "file:masks/train.csv"
[[variant]]
name = "probed"
protocol = {train_pattern = "mnar:bag:0.5", test_patterns = ["mnar:bag:0.5"], mask_draws = 2}
"""
TESTED = {f"case-{i:05d}": ("vector", "bag")[i % 2] for i in range(0, 60, 4)}
TRAINED = {f"case-{i:05d}": ("vector", "bag")[i % 2] for i in range(1, 60, 5)}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    (folder / "masks").mkdir(parents=True)
    (folder / "mine.toml").write_text(SUITE)
    for name, rows in (("test", TESTED), ("train", TRAINED)):
        lines = ["case,modality,fold", *(f"{case},{modality}," for case, modality in rows.items())]
        (folder / "masks" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_masks_from_a_file(cli: Cli, study: Path, tmp_path: Path) -> None:
    ran = cli("run", "study/mine.toml", "--no-track")
    assert ran.returncode == 0, ran.stderr
    results = tmp_path / "results" / "mine"
    _predictions_differ_for_the_hidden_cases_alone(results)
    _a_fit_has_not_seen_what_the_file_hides(results)
    _the_table_and_the_audit_mark_what_depends_on_the_outcome(cli, results)
    _the_lock_holds_the_files(cli, study, results)


def _predictions_differ_for_the_hidden_cases_alone(results: Path) -> None:
    frame = pd.read_parquet(results / "predictions.parquet")
    frame = frame[frame["model"] != "oracle"]
    for variant in ("base", "trained"):
        risk = frame[frame["variant"] == variant].pivot(index="case", columns="pattern", values="risk")
        assert list(risk.columns) == ["file:test.csv", "full"]
        assert set(risk.index[risk["full"] != risk["file:test.csv"]]) == set(TESTED)
    probed = frame[frame["variant"] == "probed"].pivot(index="case", columns=["pattern", "draw"], values="risk")
    events = pd.read_csv(results / "targets.csv").set_index("case")["event"].loc[probed.index].astype(bool)
    for draw in (0, 1):
        hidden = probed["mnar:bag:0.5", draw] != probed["full", 0]
        assert not hidden[events].any()
        assert hidden.sum() == pytest.approx((~events).sum() / 2, abs=1)


def _a_fit_has_not_seen_what_the_file_hides(results: Path) -> None:
    for path in results.glob("cells/*/cell.json"):
        cell = json.loads(path.read_text())["record"]["cell"]
        if cell["model"] == "oracle":
            continue
        ledgers = json.loads((path.parent / "preprocess.json").read_text())
        assert set(ledgers) == {"vector", "bag"}
        for modality, state in ledgers.items():
            hidden = {case for case, of in TRAINED.items() if of == modality}
            assert bool(hidden & set(state["ledger"])) == (cell["variant"] != "trained")


def _the_table_and_the_audit_mark_what_depends_on_the_outcome(cli: Cli, results: Path) -> None:
    assert cli("table", "mine").returncode == 0
    text = (results / "table.md").read_text()
    assert "### pattern file:test.csv" in text
    assert "file:train.csv" in text
    assert "pattern mnar:bag:0.5: the outcome decides from whom bag is hidden" in text
    audit = cli("audit", "mine")
    assert audit.returncode == 0, audit.stdout
    (line,) = (of for of in audit.stdout.splitlines() if "depend on its outcome" in of)
    assert line.startswith("DECLARED")
    assert "(probed): asked for by mnar:bag:0.5 at test, mnar:bag:0.5 in training" in line
    assert "(base)" not in line


def _the_lock_holds_the_files(cli: Cli, study: Path, results: Path) -> None:
    lock = tomllib.loads((results / "suite.lock.toml").read_text())
    assert set(lock["mask_files"]) == {"masks/test.csv", "masks/train.csv"}
    file = study / "masks" / "train.csv"
    assert lock["mask_files"]["masks/train.csv"]["text"] == file.read_text()
    passed = cli("audit", "mine").stdout
    file.rename(study / "away.csv")
    one_error(cli("audit", "mine"), "mine.toml: train_pattern: masks/train.csv: cannot be read (")
    (study / "away.csv").rename(file)
    file.write_text(file.read_text() + "case-00000,bag,\n")
    status = cli("status", "mine")
    assert "masks of training, as read (hash)" in status.stdout
    (study / "mine.toml").unlink()
    assert cli("audit", "mine").stdout == passed
