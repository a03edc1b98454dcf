"""Switches of a protocol through the real harness: what a suite asks for is what its cells record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import Cli

SUITE = """
title = "Every switch"
datasets = ["synthetic[cases=80,bag_min=10,bag_max=12]"]
models = ["cox", "snn"]
modalities = [["vector"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
[train]
epochs = 2
"""
SWITCHES = {
    "split": 'protocol.fold_source = "random"',
    "bins": 'protocol.bins_from = "cohort"',
    "fitted": 'protocol.fitted_on = "cohort"',
    "raw": 'protocol.impute = "mean"\nprotocol.clip = "none"\nprotocol.scale = false',
    "last": "train.restore_best = false",
    "all": 'protocol.base = "as-published"\nprotocol.unit = "patient"\ntrain.base = "as-published"\ntrain.epochs = 2',
}


@pytest.fixture
def results(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of a package of one's own, run once with a variant for each switch."""
    variants = "".join(f'[[variant]]\nname = "{name}"\n{text}\n' for name, text in SWITCHES.items())
    site = tmp_path / "site"
    info = site / "switches-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "switches.py").write_text(
        "from pathlib import Path\nfrom fusionbench import hookimpl\n\n\n@hookimpl\ndef fusionbench_suites():\n"
        f"    return [Path({str(site / 'switches.toml')!r})]\n"
    )
    (site / "switches.toml").write_text(SUITE + variants)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: switches\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fusionbench]\nswitches = switches\n")
    monkeypatch.syspath_prepend(site)
    result = cli("run", "switches", "--no-track")
    assert result.returncode == 0, result.stderr
    return tmp_path / "results" / "switches"


def test_switches(cli: Cli, results: Path) -> None:
    _the_table_names_each_switch(results)
    _cells_record_what_they_were_asked(results)
    _the_audit_declares_what_is_switched_off(cli)
    _pairs_are_made_where_the_test_rows_are_the_same(results)


def _the_table_names_each_switch(results: Path) -> None:
    table = pd.read_csv(results / "table.csv")
    of = table.drop_duplicates("variant").set_index("variant")["protocol"].to_dict()
    assert of["base"] == of["last"] == "clean"
    assert of["split"] == "clean, fold_source=random"
    assert of["raw"] == "clean, impute=mean, clip=none, scale=false"
    assert of["all"] == "as-published, unit=patient"
    text = (results / "table.md").read_text()
    assert "sd with ddof 1 (0 of all)" in text


def _cells_record_what_they_were_asked(results: Path) -> None:
    records: dict[tuple[str, str], Any] = {}
    for path in results.glob("cells/*/cell.json"):
        record = json.loads(path.read_text())["record"]
        cell = record["cell"]
        if cell["fold"] == 0:
            records[cell["model"], cell["variant"]] = record
    usual, bins = (records["snn", name]["fit"]["edges"] for name in ("base", "bins"))
    assert usual != bins
    assert records["snn", "all"]["recipe"]["class_weights"] == "inverse"
    assert records["snn", "all"]["cell"]["protocol"]["fold_source"] == "random"


def _the_audit_declares_what_is_switched_off(cli: Cli) -> None:
    found = cli("audit", "switches", "--json")
    assert found.returncode == 0, found.stderr
    verdicts = {line["rule"]: line["verdict"] for line in json.loads(found.stdout)}
    declared = {rule for rule, verdict in verdicts.items() if verdict == "DECLARED"}
    assert declared >= {
        "fitted states saw training cases only",
        "time bins came from training cases only",
        "test folds of a repeat do not overlap",
    }
    assert "BREACH" not in verdicts.values()
    assert verdicts["groups stand on one side of a split"] == "pass"


def _pairs_are_made_where_the_test_rows_are_the_same(results: Path) -> None:
    """`split` and `all` share their random splits; the others share the suite's folds."""
    table = pd.read_csv(results / "table.csv")
    tied = table[table["tie_group"].notna()].groupby("variant").size()
    assert set(tied.index) >= {"base", "split"}


def test_stored_results_answer_further_questions(cli: Cli, results: Path, tmp_path: Path) -> None:
    compared = cli("compare", "switches", "snn", "cox", "--json")
    assert compared.returncode == 0, compared.stderr
    pairs = json.loads(compared.stdout)
    assert {p["variant_a"] for p in pairs} == {"base", *SWITCHES}
    assert all(p["n_cases"] == 80 or (p["variant_a"] in ("split", "all") and p["n_cases"] <= 24) for p in pairs)
    scored = cli("score", "switches", "--metric", "uno_c_index")
    assert scored.returncode == 0, scored.stderr
    assert "uno_c_index" in scored.stdout
    assert (results / "scores" / "uno_c_index.csv").is_file()
    _imports(cli, results, tmp_path, lambda f: f, "")


Change = Callable[[pd.DataFrame], pd.DataFrame]


def _imports(cli: Cli, results: Path, tmp_path: Path, change: Change, said: str) -> None:
    frame = pd.read_parquet(results / "predictions.parquet")
    mine = frame[(frame["model"] == "cox") & (frame["variant"] == "base")].assign(model="closed")
    change(mine).to_csv(tmp_path / "mine.csv", index=False)
    ended = cli("import", "switches", str(tmp_path / "mine.csv"))
    if said:
        assert ended.returncode == 2
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr
        return
    assert ended.returncode == 0, ended.stderr
    table = pd.read_csv(results / "table.csv").set_index(["model", "variant"])
    assert table.loc[("closed", "base"), "mean"] == pytest.approx(table.loc[("cox", "base"), "mean"])
    assert table.loc[("closed", "base"), "policy"] == "imported"


BAD: dict[str, tuple[Change, str]] = {
    "unknown": (
        lambda f: f.assign(case=f["case"].replace(f["case"].iloc[0], "nobody")),
        "'nobody' is not one of its 40",
    ),
    "duplicate": (lambda f: pd.concat([f, f.head(1)]), "is there twice"),
    "missing": (lambda f: f.iloc[1:], "1 of its 40 test cases are absent"),
    "nan": (lambda f: f.assign(risk=f["risk"].where(f.index != f.index[0])), "is nan; every risk must be a finite"),
    "infinite": (lambda f: f.assign(risk=float("inf")), "is inf; every risk must be a finite number"),
    "text": (lambda f: f.assign(risk="high"), "column 'risk' holds 'high', which is no number"),
    "column": (lambda f: f.drop(columns="risk"), "no column risk"),
    "surplus": (lambda f: f.assign(age=3), "unknown column 'age'"),
    "own": (lambda f: f.assign(model="snn"), "of its own; give your model another name"),
    "fold": (lambda f: f.assign(fold=9), "the suite has no fold 9 of repeat 0"),
    "variant": (lambda f: f.assign(variant="bse"), "unknown variant 'bse'; did you mean 'base'"),
    "dataset": (lambda f: f.assign(dataset="mine"), "unknown dataset 'mine'"),
    "curve": (lambda f: f.assign(**{c: 2.0 for c in f.columns if c.startswith("S_")}), "S must lie in [0, 1]"),
}


def test_bad_predictions_are_refused_and_change_nothing(cli: Cli, results: Path, tmp_path: Path) -> None:
    before = (results / "table.csv").read_bytes()
    for change, said in BAD.values():
        _imports(cli, results, tmp_path, change, said)
    assert (results / "table.csv").read_bytes() == before
    absent = cli("import", "switches", "absent.csv")
    assert (absent.returncode, "absent.csv: cannot be read" in absent.stderr) == (2, True)


def test_runs_that_differ_are_not_compared(cli: Cli, results: Path) -> None:
    assert cli("run", "switches", "--no-track", "--out", "second").returncode == 0
    same = cli("compare", "switches", "snn", "cox", "--other", "second", "--json")
    assert same.returncode == 0, same.stderr
    assert all(p["model_b"] == "cox (other run)" for p in json.loads(same.stdout))
    assert cli("run", "switches", "--no-track", "--out", "third", "--seed", "5").returncode == 0
    refused = cli("compare", "switches", "snn", "cox", "--other", "third")
    assert refused.returncode == 2
    assert "cannot be compared, they differ in suite.seed (0 and 5)" in refused.stderr
    assert "splits of synthetic" in refused.stderr
