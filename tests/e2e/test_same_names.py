"""Two distributions bring a model of one name: every verb goes on, and `distribution:name` says which is meant."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.conftest import Cli

CODE = """
from fusionbench import hookimpl


@hookimpl
def fusionbench_models():
    from fusionbench_controls.cox import Cox

    return [type("Cox", (Cox,), {"__doc__": "Another Cox model.", "name": "cox", "version": "7"})]
"""
SUITE = """
title = "Two of one name"
datasets = ["synthetic[cases=80]"]
models = ["MODEL"]
modalities = [["vector"]]
metrics = ["harrell_c_index"]

[protocol]
folds = 2
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution `stranger` that brings a model `cox`, too."""
    site = tmp_path / "site"
    info = site / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "stranger_with_cox.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fusionbench]\nstranger = stranger_with_cox\n")
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("stranger")
def test_both_are_listed_as_broken_with_the_remedy(cli: Cli) -> None:
    listed = cli("plugins", "--json")
    assert listed.returncode == 0, listed.stderr
    broken = {row["name"]: row["reason"] for row in json.loads(listed.stdout) if row["status"] == "broken"}
    assert broken == {
        "controls": "models: 'cox' is provided by plugin 'stranger' of stranger, too; uninstall one, rename it, or "
        "write fusionbench:cox",
        "stranger": "models: 'cox' is provided by plugin 'controls' of fusionbench, too; uninstall one, rename it, or "
        "write stranger:cox",
    }
    models = {row["name"] for row in json.loads(cli("ls", "models", "--json").stdout)}
    assert {"fusionbench:cox", "stranger:cox", "survival-forest"} <= models
    assert "cox" not in models
    assert cli("check", "stranger", "-k", "documented").returncode == 0


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(("model", "version"), [("stranger:cox", "7"), ("fusionbench:cox", "1")])
def test_a_suite_says_which_it_means(cli: Cli, tmp_path: Path, model: str, version: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE.replace("MODEL", model))
    done = cli("run", str(path), "--model", model)
    assert done.returncode == 0, done.stderr
    lock = tmp_path / "results" / "mine" / "suite.lock.toml"
    written = tomllib.loads(lock.read_text())
    assert written["models"] == {model: version}
    assert written["model_plugins"][model]["distribution"] == model.partition(":")[0]
    table = cli("table", str(path))
    assert model in table.stdout, table.stderr


@pytest.mark.usefixtures("stranger")
def test_a_suite_that_does_not_say_which_is_told_how(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE.replace("MODEL", "cox"))
    done = cli("run", str(path))
    assert done.returncode == 2
    assert "model 'cox' is provided by two distributions; write fusionbench:cox or stranger:cox" in done.stderr
