"""The keys of cells are those that stored results have: moving code does not make a finished cell stale.

`tests/golden/keys/` has the keys as they were before the code was put into packages. A change that is meant to change
results or keys (RESULTS_VERSION, a plugin's version, a suite) writes them anew:
python -m tests.unit.suites.test_keys
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from fusionbench.core.errors import DataError
from fusionbench.core.registry import discover
from fusionbench.data.downloads import data_home
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.plan import expand
from fusionbench.suites.suite_files import load_suite

GOLDEN = Path(__file__).parents[2] / "golden" / "keys"
SUITES = {"quickstart": False, "synthetic-fusion": False, "hancock": True, "tcga-lite": True, "fusion-zoo": True}
"""Suite to whether it needs the real cohorts."""


@cache
def planned(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """A suite's cohort fingerprints, and its cells' keys, each with what the cell is."""
    bench = SharedResources(discover(), data_home())
    plan = expand(load_suite(bench.registry, name), bench.registry, bench.cohort)
    fingerprints = {str(dataset): bench.cohort(dataset, unit).fingerprint for dataset, unit in plan.cohorts}
    keys: dict[str, str] = {}
    for cell in plan.cells:
        if not cell.skip:
            keys.setdefault(cell.key, cell.label)
    return fingerprints, keys


def text_of(name: str) -> str:
    """The file of a suite's keys: comment lines with the fingerprints, then a key and its cell a line."""
    fingerprints, keys = planned(name)
    lines = [f"# {dataset} {fingerprint}" for dataset, fingerprint in fingerprints.items()]
    return "\n".join([*lines, *(f"{key} {label}" for key, label in keys.items())]) + "\n"


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_has_the_keys_that_were_recorded(name: str) -> None:
    if SUITES[name] and not os.environ.get("FUSIONBENCH_DATA"):
        pytest.skip("needs the real cohorts: set FUSIONBENCH_DATA to a data home that holds them")
    recorded = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    try:
        now = text_of(name)
    except DataError as error:
        pytest.skip(f"a cohort is not here: {error}")
    assert now.splitlines() == recorded


if __name__ == "__main__":
    for suite in SUITES:
        (GOLDEN / f"{suite}.txt").write_text(text_of(suite), encoding="utf-8")
