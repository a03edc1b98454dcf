"""A cohort with thirty faults: one `data check` names all, its `--fix` answers all, and what is read is as meant."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.builtin.vector import Vector
from fusionbench.data.cohort import Cohort, load_cohort
from tests.conftest import Cli
from tests.messy_cohort import FAULTS, write_clean, write_messy


def paste(lines: str, path: Path) -> None:
    """Put the keys under the tables of the same names, in place of keys of the same names."""

    def put(there: dict[str, Any], new: dict[str, Any]) -> None:
        for key, value in new.items():
            if isinstance(value, dict):
                put(there.setdefault(key, {}), value)
            else:
                there[key] = value

    content = tomllib.loads(path.read_text(encoding="utf-8"))
    put(content, tomllib.loads(lines))
    path.write_text(tomli_w.dumps(content), encoding="utf-8")


def read(path: Path) -> Cohort:
    return load_cohort(Table(TableOptions(file=str(path)), path.parent), {"vector": Vector, "bag": Bag})


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    return write_messy(tmp_path / "messy")


def test_all_faults_are_named_at_once(cli: Cli, messy: Path) -> None:
    assert len(FAULTS) >= 30
    result = cli("data", "check", str(messy))
    assert result.returncode == 2
    said = result.stdout + result.stderr
    assert [fault for fault, words in FAULTS.items() if words not in said] == []
    found = json.loads(cli("data", "check", str(messy), "--json").stdout)
    lines = [*found["problems"], *(warning["text"] for warning in found["warnings"])]
    assert [fault for fault, words in FAULTS.items() if not any(words in line for line in lines)] == []


def test_what_fix_prints_answers_them_and_the_values_are_as_meant(cli: Cli, messy: Path, tmp_path: Path) -> None:
    fixes = cli("data", "check", str(messy), "--fix").stdout
    assert "No key answers" not in fixes
    paste(fixes, messy)
    result = cli("data", "check", str(messy))
    assert result.returncode == 0, result.stderr
    assert "nothing suspicious" in result.stdout
    assert "  grade: 3 levels: 'G" in result.stdout
    was, now = read(write_clean(tmp_path / "clean")), read(messy)
    assert [(c.id, c.group, c.target) for c in now.cases] == [(c.id, c.group, c.target) for c in was.cases]
    assert list(now.modalities) == list(was.modalities)
    for name in ("clinical", "rna", "labs"):
        assert now.modalities[name].use.categorical == was.modalities[name].use.categorical
        assert now.modalities[name].use.features == was.modalities[name].use.features
        for one, other in zip(was.cases, now.cases, strict=True):
            assert np.array_equal(one.refs[name], other.refs[name], equal_nan=True), (name, one.id)
    clean = cli("data", "check", str(tmp_path / "clean" / "cohort.toml"))
    assert clean.returncode == 0
    assert "nothing suspicious" in clean.stdout
