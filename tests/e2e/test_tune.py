"""`fusionbench tune`: searched on inner folds alone, kept through a kill, run as a suite of its own."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fusionbench.session import Session
from fusionbench.tools.tuning import TuneOptions
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error
from tests.full_disk import small_disk
from tests.own_cohort import write_cohort
from tests.unit.results.test_run_lock import another

SUITE = """
title = "Mine"
datasets = ["table[file=cohort.toml]"]
models = ["snn", "survival-forest[min_leaf=3,trees=25]", "late-fusion[member=cox]"]
modalities = [["clinical", "rna"]]
metrics = ["harrell_c_index", "ibs"]
[protocol]
folds = 2
[train]
epochs = 3
"""
SPACE = """
[model]
min_leaf = { low = 2, high = 5 }
"""
SEARCH = ("-m", "survival-forest", "--trials", "3", "--inner-folds", "2", "--space", "space.toml")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_mine(tmp_path)


def write_mine(folder: Path) -> Path:
    """A suite over a cohort of its own, with a search space beside it."""
    write_cohort(folder)
    (folder / "mine.toml").write_text(SUITE)
    (folder / "space.toml").write_text(SPACE)
    return folder / "mine.toml"


def record(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "mine-tuned.search.toml").read_text())


def test_a_search_becomes_a_suite(cli: Cli, suite: Path, tmp_path: Path) -> None:
    searched = cli("tune", "mine.toml", *SEARCH)
    assert searched.returncode == 0, searched.stderr
    assert "run it: fusionbench run results/mine/tuning/mine-tuned.toml" in searched.stdout
    assert searched.stderr.count("(3 trials, 0 pruned, 0 failed): min_leaf=") == 2
    found = record(tmp_path / "results/mine/tuning")
    assert [study["fold"] for study in found["study"]] == [0, 1]
    assert found["command"] == "fusionbench tune mine.toml " + " ".join(SEARCH)
    for study in found["study"]:
        assert study["value"] >= study["default"]

    again = cli("tune", "mine.toml", *SEARCH)  # every trial is there
    assert again.returncode == 0
    assert record(tmp_path / "results/mine/tuning") == found

    second = cli("tune", "mine.toml", "-m", "snn", "--trials", "3", "--inner-folds", "2")
    assert second.returncode == 0, second.stderr
    assert len(record(tmp_path / "results/mine/tuning")["study"]) == 4

    path = "results/mine/tuning/mine-tuned.toml"
    assert cli("run", path, "--no-track").returncode == 0
    with (tmp_path / "results/mine-tuned/table.csv").open() as file:
        rows = {row["model"]: row["tuned"] for row in csv.DictReader(file)}
    forest = "survival-forest[min_leaf=3,trees=25]"
    assert rows == {"snn": "tuned", forest: "tuned", "late-fusion[member=cox]": "default"}
    assert "nothing to do" in cli("run", path, "--no-track").stdout
    assert cli("audit", path).returncode == 0

    cells = pd.read_csv(tmp_path / "results/mine-tuned/cells.csv")
    for model in ("snn", forest):
        key = cells.loc[(cells["model"] == model) & (cells["fold"] == 0), "key"].iloc[0]
        told = cli("predict", key, "cohort.toml")  # restored with the options it was tuned to
        assert told.returncode == 0, told.stderr


def test_test_cases_have_no_say(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other ages, expressions and times of the test cases: the same options with the same values. One training case
    that changes moves them.
    """
    monkeypatch.chdir(tmp_path)
    values = []
    for out, part in (("as-it-is", None), ("noise", "test"), ("moved", "train")):
        session = Session(out=tmp_path / out, device="cpu", threads=1)
        plan = session.plan("mine.toml")
        split = next(c.split for c in plan.listed if c.fold == 0)
        if part is not None:
            change(tmp_path, set(getattr(split, part)))
            session = Session(out=tmp_path / out, device="cpu", threads=1)
            assert next(c.split for c in session.plan("mine.toml").listed if c.fold == 0) == split
        session.tune("mine.toml", TuneOptions(("snn",), trials=2, inner_folds=2))
        values.append([s for s in record(tmp_path / out / "mine/tuning")["study"] if s["fold"] == 0])
    assert len(values[0]) == 1
    assert values[0] == values[1]
    assert values[1] != values[2]


def change(folder: Path, cases: set[str]) -> None:
    """Who died stays, since folds are stratified by it."""
    patients = pd.read_csv(folder / "patients.csv", dtype=str, keep_default_na=False)
    mine = patients["patient"].isin(cases)
    patients.loc[mine, "age"] = "50"
    patients.loc[mine, "days"] = [str(100 + 7 * i) for i in range(mine.sum())]
    patients.to_csv(folder / "patients.csv", index=False)
    rna = pd.read_csv(folder / "rna.csv", dtype={"patient": str})
    rna.loc[rna["patient"].isin(cases), "gene_0"] = 0.25
    rna.to_csv(folder / "rna.csv", index=False)


def test_a_killed_search_goes_on(suite: Path, tmp_path: Path, cli: Cli) -> None:
    args = ("tune", "mine.toml", *SEARCH, "--trials", "8")
    journal = tmp_path / "results/mine/tuning/journal.log"
    command = [sys.executable, "-c", "from fusionbench.cli import main; main()", *args]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (journal.is_file() and journal.read_text().count('"op_code":6') >= 5):
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "results/mine/tuning/mine-tuned.toml").exists(), "it was killed too late to test anything"
    later = cli(*args)
    assert later.returncode == 0, later.stderr
    assert "going on where process" in later.stderr
    assert cli(*args, "--out", "calm").returncode == 0
    assert record(tmp_path / "results/mine/tuning")["study"] == record(tmp_path / "calm/mine/tuning")["study"]


def test_more_trials_are_added_and_the_first_ones_kept(suite: Path, tmp_path: Path, cli: Cli) -> None:
    for trials, to in (("3", "more"), ("6", "more"), ("6", "at-once")):
        assert cli("tune", "mine.toml", *SEARCH, "--trials", trials, "--to", to).returncode == 0
    more, at_once = record(tmp_path / "more"), record(tmp_path / "at-once")
    assert more["trials"] == 6
    assert more["study"] == at_once["study"]
    fewer = cli("tune", "mine.toml", *SEARCH, "--trials", "4", "--to", "more")
    one_error(fewer, "trials = 6, and this asks for 4")


def test_two_searches_in_one_folder(suite: Path, tmp_path: Path, cli: Cli) -> None:
    (folder := tmp_path / "results/mine/tuning").mkdir(parents=True)
    with another(folder) as process:
        refused = cli("tune", "mine.toml", *SEARCH)
        one_error(refused, f"is being computed by process {process.pid} on ", "or choose another --to")
    assert [path.name for path in folder.iterdir()] == ["run.lock"]


def test_a_search_on_a_full_disk_goes_on_once_there_is_room(suite: Path, tmp_path: Path, cli: Cli) -> None:
    with small_disk(tmp_path / "small", "8k") as grow:
        for _ in range(2):
            full = cli("tune", "mine.toml", *SEARCH, "--to", "small")
            assert full.returncode == 2
            assert "No space left on device; free some space: the same command then goes on" in full.stderr
        grow("1m")
        later = cli("tune", "mine.toml", *SEARCH, "--to", "small")
        assert later.returncode == 0, later.stderr
        assert "ended in half a line, which was cut off" in full.stderr + later.stderr
        assert cli("tune", "mine.toml", *SEARCH, "--to", "large").returncode == 0
        assert record(tmp_path / "small")["study"] == record(tmp_path / "large")["study"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-m", "snnn"), ("unknown model of this suite 'snnn'", "did you mean 'snn'")),
        (("-m", "late-fusion"), ("late-fusion is built on others; tune those",)),
        (("-m", "snn", "--objective", "harrell"), ("unknown objective 'harrell'", "harrell_c_index")),
        (("-m", "snn", "--space", "nowhere.toml"), ("unknown search space 'nowhere.toml'", "by its path")),
        (("-m", "snn", "--space", "healnet-paper"), ("unknown option of snn 'layers'",)),
        (("-m", "snn", "--inner-folds", "90"), ("no 90 inner folds", "--inner-folds")),
        (("-m", "snn", "-d", "hancock"), ("unknown dataset of this suite 'hancock'",)),
    ],
)
def test_bad_input_before_any_compute(
    cli: Cli, suite: Path, tmp_path: Path, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    one_error(cli("tune", "mine.toml", "--trials", "2", *args), *words)
    assert not (tmp_path / "results/mine/tuning").exists()


def test_a_tuned_suite_whose_cohort_has_changed(cli: Cli, suite: Path, tmp_path: Path) -> None:
    assert cli("tune", "mine.toml", *SEARCH).returncode == 0
    patients = pd.read_csv(tmp_path / "patients.csv", dtype=str, keep_default_na=False)
    patients[:-4].to_csv(tmp_path / "patients.csv", index=False)
    pd.read_csv(tmp_path / "rna.csv", dtype=str)[:-8].to_csv(tmp_path / "rna.csv", index=False)
    without_slides = (tmp_path / "cohort.toml").read_text().partition("[modality.slides]")[0]
    (tmp_path / "cohort.toml").write_text(without_slides)
    path = "results/mine/tuning/mine-tuned.toml"
    one_error(cli("run", path), "mine-tuned.search.toml: ", "was tuned on another fold", "tune this model anew")


def test_without_optuna(cli: Cli, suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    one_error(cli("tune", "mine.toml", *SEARCH), 'pip install "fusionbench[tune]"')


def test_executors_flags_are_those_of_run(cli: Cli, suite: Path) -> None:
    one_error(cli("tune", "mine.toml", *SEARCH, "-j", "0"), "-j 0: at least 1 cell")
    one_error(cli("tune", "mine.toml", *SEARCH, "--executor", "seriel"), "did you mean 'serial'")
