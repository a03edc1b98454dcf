"""The skips of the shipped suites on real cohorts are exactly those of a committed list."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Cli

LISTS = Path(__file__).parents[1] / "golden" / "skips"


@pytest.mark.data
@pytest.mark.skipif("FUSIONBENCH_DATA" not in os.environ, reason="FUSIONBENCH_DATA names no data home")
@pytest.mark.parametrize("suite", ["hancock", "tcga-lite", "tcga-omics"])
def test_skips_are_the_committed_ones(cli: Cli, suite: str) -> None:
    result = cli("run", suite, "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    seen = sorted(f"{s['row']}: {s['reason']} ({s['cells']} cells)" for s in json.loads(result.stdout)["skipped"])
    assert seen == (LISTS / f"{suite}.txt").read_text(encoding="utf-8").splitlines()
