"""docs/own-data.md is true: its TOML reads such files as it shows, its commands work, its lists are whole."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from fusionbench.builtin.table.schema import CohortSchema
from fusionbench.data.inspection import between
from fusionbench.data.inspection.checks import Kind
from tests.conftest import Cli
from tests.own_cohort import write_files

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
COHORT, CLASSES, WRITTEN, SUITE = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.removeprefix("$ fusionbench ") for line in TEXT.splitlines() if line.startswith("$ fusionbench ")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_files(tmp_path)
    (tmp_path / "cohort.toml").write_text(COHORT)
    (tmp_path / "smoking.toml").write_text(CLASSES)
    (tmp_path / "study.toml").write_text(SUITE)
    return tmp_path


def test_the_tables_are_like_those_that_the_tests_write(home: Path) -> None:
    shown = [block.splitlines()[0] for block in re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)]
    written = [(home / f"{name}.csv").read_text().splitlines()[0] for name in ("patients", "rna", "slides")]
    assert shown == written


@pytest.mark.slow
def test_the_commands_work_in_this_order(cli: Cli, home: Path) -> None:
    for command in COMMANDS:
        verb, *rest = shlex.split(command, comments=True)
        if "new.toml" in rest:
            key = _new_patients(home)
            rest = [key if word == "CELL" else word for word in rest]
        if "other-hospital.toml" in rest:
            (home / "other-hospital.toml").write_text(COHORT)
        result = cli(verb, *rest, *(["--no-track"] if verb == "run" else []))
        assert result.returncode == 0, f"{command}: {result.stderr}"
    assert "drop:slides" in (home / "results/study/table.csv").read_text()


def test_the_cohort_with_classes_is_checked_and_planned(cli: Cli, home: Path) -> None:
    checked = cli("data", "check", "smoking.toml")
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"smoking: \d+ 'no', \d+ 'yes'", checked.stdout)
    assert re.search(r"\d+ of 120 cases have no class for 'smoking': left out", checked.stdout)
    suite = SUITE.replace("cohort.toml", "smoking.toml").replace('"rna", ', "")
    (home / "smoking-study.toml").write_text(suite)
    planned = cli("run", "smoking-study.toml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "healnet" in planned.stdout
    assert re.search(r"cox.*survival", planned.stdout)


def _new_patients(home: Path) -> str:
    """new.toml for patients without follow-up, and the key of a Cox model on clinical data."""
    table = pd.read_csv(home / "patients.csv", dtype=str).head(5).drop(columns=["days", "status"])
    table.to_csv(home / "new.csv", index=False)
    text = COHORT.replace("patients.csv", "new.csv").replace('case = "patient"', 'case = "patient"\nunknown = "ignore"')
    text = text.replace('table = "rna.csv"', 'table = "rna.csv"\nunknown = "ignore"')
    (home / "new.toml").write_text(re.sub(r"\[outcome\].*?\n\n", "", text, flags=re.DOTALL))
    scores = pd.read_parquet(home / "results/study/predictions.parquet")
    assert not scores.empty
    listed = [p.parent for p in (home / "results/study/cells").glob("*/cell.json") if '"cox' in p.read_text()]
    return listed[0].name


def test_cells_as_people_write_them() -> None:
    schema = CohortSchema.model_validate(tomllib.loads(COHORT + WRITTEN))
    assert schema.cell_form("patients.csv", "weight").number("1.071,5 kg") == 1071.5
    smoker = schema.cell_form("patients.csv", "smoker")
    assert [smoker.text(cell) for cell in ("not asked", "Yes", "ex", "no", "NA")] == [None, "yes", "yes", "no", None]
    assert schema.cell_form("rna.csv").number("0,5") == 0.5
    assert schema.file_form("rna.csv").transposed


def test_every_warning_is_listed() -> None:
    of_one, _, of_two = TEXT.partition("## What is warned of")[2].partition("## New patients")
    for text, kinds in ((of_one, get_args(Kind)), (of_two, get_args(between.Kind))):
        assert tuple(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == kinds
