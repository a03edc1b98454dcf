"""A suite file of the user's own is named by its path, to every verb."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusionbench.session import Session
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

SUITE = """
title = "Mine"
datasets = ["breast-cancer"]
models = ["cox", "survival-forest"]
modalities = [["clinical"]]
[protocol]
folds = 2
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.toml").write_text(SUITE)
    return tmp_path / "mine" / "study.toml"


def test_every_verb_takes_the_path(cli: Cli, study: Path, tmp_path: Path) -> None:
    path = "mine/study.toml"
    assert "4 cells to run" in cli("run", path, "--dry-run").stdout
    assert "study: 4 cells computed" in cli("run", path, "--no-track").stdout
    for args in (
        ("validate", path),
        ("table", path),
        ("table", "study"),
        ("audit", path),
        ("compare", path, "cox", "survival-forest"),
        ("score", path, "--metric", "uno_c_index"),
    ):
        result = cli(*args)
        assert result.returncode == 0, f"{args}: {result.stderr}"
    for args in (("report", path), ("report", "--all")):
        result = cli(*args)
        assert result.returncode == 0, f"{args}: {result.stderr}"
    assert "no report" not in result.stdout
    assert "study/report.html" in Path("results/index.html").read_text(encoding="utf-8")
    assert cli("audit", "study").stdout == cli("audit", path).stdout  # by name as its last run locked it


def test_a_notebook_takes_the_path_too(study: Path, tmp_path: Path) -> None:
    session = Session(out=tmp_path / "results", device="cpu")
    assert session.run(str(study), track=False).complete
    assert set(session.table(str(study))["model"]) == {"cox", "survival-forest"}


def test_a_file_that_is_not_there(cli: Cli) -> None:
    one_error(cli("run", "mine/studdy.toml"), "mine/studdy.toml: no such suite file")


def test_a_file_that_is_called_like_an_installed_suite(cli: Cli, study: Path) -> None:
    shutil.copy(study, study.with_name("quickstart.toml"))
    for verb in ("run", "validate"):
        taken = ("an installed suite is called 'quickstart', too: ", "benchmarks/quickstart.toml")
        one_error(cli(verb, "mine/quickstart.toml"), *taken, 'write a line `name = "..."` at the top of mine/')


def test_faults_name_the_file(cli: Cli, study: Path) -> None:
    study.write_text(SUITE.replace("models", "modells"))
    one_error(cli("run", "mine/study.toml"), "mine/study.toml: modells: unknown key", "did you mean 'models'")
