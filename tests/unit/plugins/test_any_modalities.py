"""Models of any modalities, any number, on HANCOCK's six, which its patients lack by nature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from fusionbench import PluginRef
from fusionbench.core.registry import discover
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import Cell
from fusionbench.suites.plan import expand
from fusionbench.suites.suite_files import load_suite
from tests.unit.plugins.real_cohorts import real_home

MODELS = (
    "lmf[width=8]",
    "mbt[bag_tokens=2,heads=2,layers=2,width=8]",
    "mult[bag_tokens=2,heads=2,layers=1,width=8]",
    "multimodn[state=8]",
    "perceiver-io[latent_dim=8,latents=4,read_width=8]",
    "tfn[width=3]",
)


@pytest.fixture(scope="module", name="planned")
def planned_() -> tuple[SharedResources, Mapping[str, Cell]]:
    """The widest cell of a fold for each model, of two epochs."""
    shared = SharedResources(discover(), real_home("hancock"), threads=1)
    suite = load_suite(shared.registry, "fusion-zoo")
    changes = {
        "datasets": (PluginRef("hancock"),),
        "models": tuple(map(PluginRef.parse, MODELS)),
        "train": suite.train.model_copy(update={"epochs": 2}),
        "protocol": suite.protocol.model_copy(update={"test_patterns": ("full", "rate:0.5"), "mask_draws": 1}),
        "metrics": ("harrell_c_index",),
    }
    plan = expand(suite.model_copy(update=changes), shared.registry, shared.cohort)
    return shared, {str(c.model): c for c in plan.listed if c.fold == 0 and len(c.modalities) == 6 and not c.skip}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_six_modalities_with_natural_missingness(
    name: str, planned: tuple[SharedResources, Mapping[str, Cell]]
) -> None:
    shared, cells = planned
    result = run_cell(cells[name], shared, {}.__getitem__)
    assert result.status == "ok", result.record["traceback"]
    risks = {p.pattern: p.prediction.risk for p in result.predictions if p.split == "test"}
    assert {"full", "rate:0.5"} <= set(risks)
    assert len(np.unique(risks["full"])) > 100
    assert not np.array_equal(risks["full"], risks["rate:0.5"])
