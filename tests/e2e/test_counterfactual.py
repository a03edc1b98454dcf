"""What a model becomes depends on its training and validation cases alone.

Test features and follow-up are replaced by noise, with folds and cells held fixed: every fitted number stays, bit by
bit. One changed training case moves it, so the comparison can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusionbench import Case, ClassTarget, PluginRef, SurvivalTarget
from fusionbench.core.cell_result import CellResult
from fusionbench.core.registry import Registry, discover
from fusionbench.data.cohort import Cohort
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import Cell
from fusionbench.suites.plan import expand
from fusionbench.suites.suite_files import load_suite
from tests.conftest import EXAMPLE

OF_CLASSES = {"logistic[inner_folds=2,penalties=3]": "vector+bag", "random-forest[trees=20]": "vector+bag"}
"""Models that take classes alone; those that take both are tried on survival."""
PLAIN = ("example-least-squares", "cox", "survival-forest", "gradient-boosting", "logistic", "random-forest")
ON_MEMBERS = ("late-fusion[member=cox]", "best-unimodal[candidates=cox]", "xor-unimodal[member=cox]")
MODELS = {
    "example-least-squares": "vector+bag",
    "cox": "vector+bag",
    "survival-forest[min_leaf=3,trees=25]": "vector+bag",
    "gradient-boosting[min_leaf=3,trees=20]": "vector+bag",
    "snn": "vector",
    "porpoise-snn": "vector",
    "mcat-omic": "vector",
    "porpoise-amil": "bag",
    "mcat-wsi": "bag",
    "abmil[fusion=concat]": "vector+bag",
    "deepsets[fusion=bilinear]": "vector+bag",
    "mifcn[clusters=3,fusion=concat]": "vector+bag",
    "mean-pool": "vector+bag",
    "early-fusion": "vector+bag",
    "healnet": "vector+bag",
    "porpoise": "vector+bag",
    "mcat": "vector+bag",
    "motcat": "vector+bag",
    "survpath": "vector+bag",
    "tfn": "vector+bag",
    "lmf": "vector+bag",
    "mult": "vector+bag",
    "mbt[heads=2,width=8]": "vector+bag",
    "perceiver-io[latent_dim=8,latents=4,read_width=8]": "vector+bag",
    "pathomic-fusion": "vector+bag",
    "multimodn": "vector+bag",
    "clam[fusion=concat,instance=label]": "vector+bag",
    "dsmil[fusion=concat,head=two]": "vector+bag",
    "ilra[fusion=concat,width=16]": "vector+bag",
    **dict.fromkeys(ON_MEMBERS, "vector+bag"),
    **OF_CLASSES,
}
NETWORKS = [m for m in MODELS if m not in ON_MEMBERS and m.partition("[")[0] not in PLAIN]


@dataclass
class Bench:
    """The plan of a small suite, its two cohorts (follow-up, classes), and the results of its cells as planned."""

    registry: Registry
    cohorts: dict[PluginRef, Cohort]
    cells: dict[str, Cell]
    members: dict[str, Cell]
    base: dict[str, CellResult]

    def run(self, cell: Cell, cohort: Cohort) -> CellResult:
        """On a bench of its own, so that no fitted preprocessing is carried over."""
        bench = SharedResources(self.registry, Path(), threads=1)
        bench._cohorts[cell.dataset, cell.protocol.unit] = cohort
        members = {key: self.run(self.members[key], cohort) for _, key in cell.members}
        result = run_cell(cell, bench, members.__getitem__)
        assert result.status == "ok", result.record["traceback"]
        return result

    def as_planned(self, model: str) -> CellResult:
        if model not in self.base:
            self.base[model] = self.run(self.cells[model], self.cohort(self.cells[model]))
        return self.base[model]

    def cohort(self, cell: Cell) -> Cohort:
        return self.cohorts[cell.dataset]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        registry = discover()
        suite = load_suite(registry, "example-tiny")
        sets = (("vector",), ("bag",), ("vector", "bag"))
        followed = suite.datasets[0]
        changes = {"models": tuple(map(PluginRef.parse, MODELS)), "modalities": sets}
        datasets = (followed, followed.with_options({"task": "binary"}))
        suite = suite.model_copy(update={**changes, "datasets": datasets, "metrics": ("harrell_c_index", "auroc")})
        shared = SharedResources(registry, Path())
        plan = expand(suite, registry, shared.cohort)
        cells = {str(c.model): c for c in plan.listed if c.fold == 0 and not c.skip and _wanted(c)}
        assert set(cells) == set(MODELS)
        cohorts = {ref: shared.cohort(ref, suite.protocol.unit) for ref in datasets}
        yield Bench(registry, cohorts, cells, {c.key: c for c in plan.cells}, {})


def _wanted(cell: Cell) -> bool:
    of_classes = bool(cell.task.classes) == (str(cell.model) in OF_CLASSES)
    return of_classes and MODELS.get(str(cell.model)) == "+".join(cell.modalities)


def changed(cohort: Cohort, ids: set[str], change: Callable[[Case], Case]) -> Cohort:
    return replace(cohort, cases=tuple(change(c) if c.id in ids else c for c in cohort.cases))


def noise(case: Case) -> Case:
    """Other features, another number of instances and another fate under the same name."""
    rng = np.random.default_rng([7, int(case.id.rpartition("-")[2])])
    refs = {
        "vector": 1000.0 * rng.standard_normal(case.refs["vector"].shape),
        "bag": (50.0 + rng.standard_normal((int(rng.integers(3, 30)), case.refs["bag"].shape[1]))).astype(np.float32),
    }
    if isinstance(case.target, ClassTarget):
        return replace(case, target=ClassTarget("low" if case.target.label == "high" else "high"), refs=refs)
    return replace(case, target=SurvivalTarget(float(rng.uniform(1, 400)), bool(rng.random() < 0.5)), refs=refs)


def fitted(result: CellResult) -> dict[str, Any]:
    """Everything that fitting came to: weights as bytes, chosen epoch, bins, curves, preprocessing, validation."""
    states = {name: (a.dtype.str, a.shape, np.asarray(a).tobytes()) for name, a in result.state.items()}
    validated = next(p.prediction for p in result.predictions if p.split == "val")
    return {
        "state": states,
        "fit": result.record["fit"],
        "history": result.history,
        "preprocess": result.preprocess,
        "validation": (validated.ids, validated.scores.tobytes()),
    }


def risks(result: CellResult) -> bytes:
    return b"".join(p.prediction.scores.tobytes() for p in result.predictions if p.split == "test")


@pytest.mark.parametrize("model", MODELS)
def test_noise_in_place_of_the_test_cases_moves_nothing_that_was_fitted(bench: Bench, model: str) -> None:
    cell, was = bench.cells[model], bench.as_planned(model)
    other = bench.run(cell, changed(bench.cohort(cell), set(cell.split.test), noise))
    assert fitted(was)["state"]
    assert fitted(other) == fitted(was)
    assert risks(other) != risks(was)
    assert other.scores != was.scores


def test_every_model_that_is_installed_is_among_them(bench: Bench) -> None:
    third_party = {"example-failing", "example-flat", "example-interrupted"}
    assert set(bench.registry.names("models")) - third_party == {m.partition("[")[0] for m in MODELS}


@pytest.mark.parametrize("model", NETWORKS)
def test_trained_models_choose_an_epoch(bench: Bench, model: str) -> None:
    """What is compared above is there to be compared."""
    assert bench.as_planned(model).record["fit"]["best_epoch"] is not None
    assert bench.as_planned(model).history


@pytest.mark.parametrize("model", MODELS)
def test_one_other_training_case_moves_it(bench: Bench, model: str) -> None:
    cell, was = bench.cells[model], bench.as_planned(model)
    other = bench.run(cell, changed(bench.cohort(cell), {cell.split.train[0]}, noise))
    changed_part = "validation" if model.startswith("best-unimodal") else "state"  # its state is only who was chosen
    assert fitted(other)[changed_part] != fitted(was)[changed_part]
    assert fitted(other)["preprocess"] != fitted(was)["preprocess"]


def test_one_other_validation_case_leaves_the_preprocessing(bench: Bench) -> None:
    """It may choose the epoch; fitted means and scales it may not touch."""
    cell, was = bench.cells["healnet"], bench.as_planned("healnet")
    other = bench.run(cell, changed(bench.cohort(cell), {cell.split.val[0]}, noise))
    assert fitted(other)["preprocess"] == fitted(was)["preprocess"]
    assert other.history != was.history
