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
from fusionbench.tools.predict_rows import predict_cell

NOBODY: Any = None
"""No bench is asked for anything."""


def write(out: Path, suite: str, result: CellResult) -> None:
    store = Store(out, suite)
    store.prepare()
    store.write(result)


def test_the_true_hazards_are_no_model(tmp_path: Path) -> None:
    prediction = PatternPrediction("test", "full", 0, SurvivalPrediction(("a", "b"), np.array([0.0, 1.0])))
    record = {"cell": {"model": "oracle", "modalities": "vector+bag", "policy": "true hazards"}}
    write(tmp_path, "mine", CellResult("0ac1e", "ok", predictions=(prediction,), record=record))
    with pytest.raises(ResultsError, match=r"cell 0ac1e is the row of true hazards.*cannot predict"):
        predict_cell(NOBODY, tmp_path, "0ac", PluginRef("synthetic"))


def test_a_failed_cell_says_why(tmp_path: Path) -> None:
    write(tmp_path, "mine", CellResult("abc", "failed", "out of memory", record={}))
    with pytest.raises(ResultsError, match="cell abc failed: out of memory; it cannot predict"):
        predict_cell(NOBODY, tmp_path, "abc", PluginRef("synthetic"))
