"""Predicting with a stored cell: what cannot predict says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusionbench import PluginRef, SurvivalPrediction
from fusionbench.core.cell_result import CellResult, PatternPrediction
from fusionbench.core.errors import ResultsError
from fusionbench.results.store import Store
from fusionbench.tools.predict import find_cell, predict_cohort

NOBODY: Any = None
"""No bench is asked for anything."""


def write(out: Path, suite: str, result: CellResult) -> None:
    store = Store(out, suite)
    store.prepare()
    store.write(result)


def test_the_true_hazards_are_no_model(tmp_path: Path) -> None:
    prediction = PatternPrediction("test", "full", 0, SurvivalPrediction(("a", "b"), np.array([0.0, 1.0])))
    record = {"cell": {"model": "oracle", "modalities": "vector+bag"}}
    write(tmp_path, "mine", CellResult("0rac1e", "ok", predictions=(prediction,), record=record))
    with pytest.raises(ResultsError, match=r"cell 0rac1e is the row of true hazards.*cannot predict"):
        predict_cohort(NOBODY, tmp_path, "0rac", PluginRef("synthetic"))


def test_a_failed_cell_says_why(tmp_path: Path) -> None:
    write(tmp_path, "mine", CellResult("abc", "failed", "out of memory", record={}))
    with pytest.raises(ResultsError, match="cell abc failed: out of memory; it cannot predict"):
        predict_cohort(NOBODY, tmp_path, "abc", PluginRef("synthetic"))


def test_a_key_must_name_one_cell(tmp_path: Path) -> None:
    for suite, key in (("one", "abc"), ("two", "abd"), ("two", "xyz")):
        write(tmp_path, suite, CellResult(key, "failed", "no", record={}))
    assert find_cell(tmp_path, "x")[1] == "xyz"
    assert find_cell(tmp_path, "two/ab")[1] == "abd"
    with pytest.raises(ResultsError, match="'ab' names 2 cells: one/abc, two/abd"):
        find_cell(tmp_path, "ab")
    with pytest.raises(ResultsError, match="no cell 'abe'"):
        find_cell(tmp_path, "abe")
    with pytest.raises(ResultsError, match="no cell ''"):
        find_cell(tmp_path, "")
