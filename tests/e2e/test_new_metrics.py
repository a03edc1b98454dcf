"""A metric that a suite is given after its run scores what is stored: nothing is trained anew."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fusionbench.execution import run_cell
from fusionbench.results.cell_files import WEIGHTS
from tests.conftest import Cli

SUITE = """
title = "Few"
datasets = ["synthetic[cases=80]"]
models = ["cox", "healnet"]
modalities = [["vector", "bag"]]
metrics = METRICS
[protocol]
folds = 2
test_patterns = ["full", "drop:bag"]
[train]
epochs = 1
"""
ALL = '["harrell_c_index", "ibs", "d_calibration"]'


def test_a_metric_that_is_added_scores_what_is_stored(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ibs` needs the stored curves, `d_calibration` those at the model's own times, under every pattern."""
    suite = tmp_path / "few.toml"
    suite.write_text(SUITE.replace("METRICS", ALL))
    assert cli("run", "few.toml", "--no-track", "--out", "at-once").returncode == 0
    suite.write_text(SUITE.replace("METRICS", '["harrell_c_index"]'))
    assert cli("run", "few.toml", "--no-track").returncode == 0
    weights = {path: path.read_bytes() for path in tmp_path.glob(f"results/few/cells/*/{WEIGHTS}")}
    assert len(weights) == 4 + 2  # the oracle's have none in them
    suite.write_text(SUITE.replace("METRICS", ALL))
    told = cli("status", "few.toml").stdout
    assert "to score: 6; fusionbench run few scores the stored predictions, without training" in told
    assert "6 x lacks metric ibs; lacks metric d_calibration" in told
    assert "stale" not in told
    with monkeypatch.context() as patched:
        patched.setattr(run_cell, "make_model", None)  # a cell that is trained fails
        result = cli("run", "few.toml", "--no-track")
    assert result.returncode == 0, result.stderr
    assert "4 cells were trained before and are scored by further metrics" in result.stderr
    assert "2 cells computed, 4 were there already" in result.stdout  # those of the oracle, which is not trained
    assert {path: path.read_bytes() for path in weights} == weights
    now, once = (pd.read_csv(tmp_path / out / "few" / "table.csv") for out in ("results", "at-once"))
    assert len(now) == 2 * 2 * 3 + 3  # the oracle needs no modality
    pd.testing.assert_frame_equal(now[TELLING], once[TELLING], rtol=1e-6)
    assert cli("audit", "few.toml").returncode == 0
    assert "nothing to do" in cli("run", "few.toml", "--no-track").stdout


TELLING = ["model", "modalities", "pattern", "metric", "mean", "sd", "n_cases"]
