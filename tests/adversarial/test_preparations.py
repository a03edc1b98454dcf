"""Preparations that read what they must not, name what is not there, or whose ledger was edited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from fusionbench import (
    CaseSet,
    FitContext,
    ModalitySpec,
    PluginRef,
    Predictor,
    Preparation,
    PreparationContext,
    State,
    Task,
    discover,
)
from fusionbench.core.registry import PluginRecord, Registry
from fusionbench.results.cell_files import CELL
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.tools.audit import audit
from fusionbench.tools.audit.evidence import read_results
from fusionbench.tools.reporter import SilentReporter
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error
from tests.needs.prototypes import OfTokens, Prototypes

SUITE = """
title = "Mine"
datasets = ["synthetic[cases=60]"]
models = [{models}]
modalities = [["bag"]]
[protocol]
folds = 2
[train]
epochs = 1
"""


class Peeks(Prototypes):
    """Prototypes of the validation cases that the fold before has left behind, if there are any."""

    name = "peeks"
    kept: ClassVar[list[CaseSet]] = []

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        return super().prepare(self.kept[-1] if self.kept else train, ctx)


class Peeking(OfTokens):
    """Leaves its validation cases behind."""

    name = "peeking"

    def preparations(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Preparation]:
        return [Peeks(reads=("bag",))]

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        Peeks.kept.append(val)
        return super().fit(train, val, ctx)


def session_of(folder: Path, *models: type[OfTokens]) -> Session:
    (folder / "mine.toml").write_text(SUITE.format(models=", ".join(f'"{cls.name}"' for cls in models)))
    installed, own = discover(), {cls.name: (cls, "mine") for cls in models}
    record = PluginRecord("mine", "mine", "1", "not stated", {"models": tuple(own)})
    found = {**installed.found, "models": {**installed.found["models"], **own}}
    return Session(folder / "results", home=folder, registry=Registry((*installed.plugins, record), found))


def test_prototypes_of_validation_cases_fail_the_cell_and_no_other(tmp_path: Path) -> None:
    session = session_of(tmp_path, Peeking, OfTokens)
    report = session.run(str(tmp_path / "mine.toml"), track=False, reporter=SilentReporter())
    plan, store = session.as_run("mine")
    states = {(c.model.name, c.fold): store.record(c.key) for c in plan.fitted() if c.model.name != "oracle"}
    assert {place: record["status"] for place, record in states.items()} == {
        ("peeking", 0): "ok",
        ("peeking", 1): "failed",
        ("need-prototypes", 0): "ok",
        ("need-prototypes", 1): "ok",
    }
    assert len(report.failed) == 1
    reason = states["peeking", 1]["reason"]
    assert reason.startswith("preparation 'peeks' read 'bag' of case '")
    assert "none of the 2" in reason
    assert reason.endswith("training cases that it may read; prepare from the cases that `prepare` is given")


def test_a_ledger_with_a_validation_case_is_a_breach(tmp_path: Path) -> None:
    session = session_of(tmp_path, OfTokens)
    session.run(str(tmp_path / "mine.toml"), track=False, reporter=SilentReporter())
    plan, store = session.as_run("mine")
    cell = next(c for c in plan.fitted() if c.model.name == "need-prototypes")
    stranger = cell.split.val[0]
    path = Store(session.out, "mine").cells / cell.key / CELL
    content = json.loads(path.read_text())
    content["record"]["preparations"][0]["ledger"].append(stranger)
    path.write_text(json.dumps(content))
    cohort = session.resources.cohort(PluginRef.parse("synthetic[cases=60]"), "patient")
    found = audit(plan, read_results(plan, store), {("synthetic[cases=60]", "patient"): cohort})
    (line,) = (line for line in found.lines if line.verdict == "BREACH")
    assert line.rule == "preparations saw training cases only"
    assert f"{cell.label}: prototypes of bag saw {stranger!r}" in line.seen


WRONG = """
from fusionbench.nn import TorchModel
from tests.needs.prototypes import Net, Prototypes


class Wrong(TorchModel):
    "Prototypes of a modality that is not there."

    def preparations(self, task, specs):
        return [{declared}]

    def build(self, task, specs):
        return Net(task, specs)
"""


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ('Prototypes(reads=("bags",))', "preparation 'prototypes' reads unknown modality 'bags'; did you mean 'bag'"),
        ("Prototypes", "preparations() gave ModelMetaclass, expected fusionbench.Preparation"),
        ('Prototypes(reads=("bag",), count="many")', "preparations() raised ValidationError"),
    ],
    ids=["modality", "class", "setting"],
)
def test_a_preparation_that_does_not_fit_is_refused_before_any_compute(
    declared: str, said: str, cli: Cli, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = f"wrong_{request.node.callspec.id}.py"
    (tmp_path / file).write_text(WRONG.format(declared=declared))
    (tmp_path / "mine.toml").write_text(SUITE.format(models='"mean-pool"'))
    ended = cli("run", "mine.toml", "-m", f"./{file}:Wrong", env={"FUSIONBENCH_DATA": str(tmp_path)})
    assert said in one_error(ended)
    assert not (tmp_path / "results" / "mine" / "cells").exists()
