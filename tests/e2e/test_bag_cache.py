"""A cell on feature files gives the same bits without the cache, while it fills it, and from it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from fusionbench.core.cell_result import CellResult
from fusionbench.data.feature_cache import ENVIRONMENT, OFF, RACY_NS
from fusionbench.execution.run_cell import run_cell
from fusionbench.session import Session
from tests.own_cohort import write_cohort

SUITE = """
title = "Bags"
datasets = ["table[file=data/cohort.toml]"]
models = ["abmil"]
modalities = [["slides"]]
[protocol]
folds = 2
test_patterns = ["full"]
[train]
epochs = 1
"""


@pytest.mark.slow
def test_results_are_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_cohort(tmp_path / "data", 60)
    (tmp_path / "bags.toml").write_text(SUITE)
    time.sleep(2 * RACY_NS / 1e9)
    session = Session(device="cpu", threads=1)
    cell = session.plan("./bags.toml").todo()[0]

    def ran(place: str) -> CellResult:
        monkeypatch.setenv(ENVIRONMENT, place)
        session.resources._fitted.clear()
        result = run_cell(cell, session.resources, lambda key: pytest.fail(f"asked for {key}"))
        assert result.status == "ok", result.reason
        return result

    cache = tmp_path / "cache"
    plain, first, second = ran(OFF), ran(str(cache)), ran(str(cache))
    assert len(list(cache.glob("*.bag"))) == len(list((tmp_path / "data" / "features").iterdir()))
    for other in (first, second):
        assert other.preprocess == plain.preprocess
        assert other.scores == plain.scores
        assert all(np.array_equal(other.state[name], plain.state[name]) for name in plain.state)
        for mine, theirs in zip(other.predictions, plain.predictions, strict=True):
            assert np.array_equal(mine.prediction.risk, theirs.prediction.risk)
