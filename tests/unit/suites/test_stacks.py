"""Which cells are trained together, what a key says of it, and what a run makes of a stack."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusionbench import SuiteError
from fusionbench.core.cell_result import CellResult
from fusionbench.execution.task import Job, Together, computed
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.selection import Selection
from fusionbench.tools.status.diff import changes

SUITE = """
title = "Folds trained together"
datasets = ["synthetic[cases=60,bag_max=12,bag_min=10]"]
models = [{models}]
modalities = [["vector"], ["vector", "bag"]]
metrics = ["harrell_c_index"]
{train}
[protocol]
folds = 3
repeats = 2
"""
TRAIN = "train = {{ stacked = true, epochs = 2{more} }}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("suites")

    def write(train: str = TRAIN.format(more=""), models: str = '"snn[dropout=0.1]", "cox"') -> str:
        path = folder / f"suite-{len(list(folder.iterdir()))}.toml"
        path.write_text(SUITE.format(train=train, models=models), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(out=tmp_path_factory.mktemp("results"), device="cpu", threads=1)


def of(plan: Plan, model: str = "snn", modalities: str = "vector") -> list[Cell]:
    return [c for c in plan.todo() if c.model.name == model and "+".join(c.modalities) == modalities]


def test_the_folds_of_a_repeat_are_a_stack_whichever_are_asked_for(session: Session, written: Any) -> None:
    suite = written()
    cells = of(session.plan(suite))
    assert len(cells) == 6
    for cell in cells:
        assert [(c.repeat, c.fold) for c in cell.stack] == [(cell.repeat, fold) for fold in range(3)]
        assert cell in cell.stack
        assert all(other.stack == () for other in cell.stack)
    keys = {cell.key for cell in cells}
    for narrow in (Selection(folds="1"), Selection(models=("snn[dropout=0.1]",)), Selection(repeats=1)):
        some = of(session.plan(suite, narrow))
        assert some
        assert {c.key for c in some} <= keys
        assert all(len(c.stack) == 3 for c in some)


def test_the_key_says_that_and_with_whom(session: Session, written: Any) -> None:
    stacked = of(session.plan(written()))[0]
    plain = of(session.plan(written("train = { epochs = 2 }")))[0]
    assert stacked.ingredients["recipe"]["stacked"] is True
    assert "stacked" not in plain.ingredients["recipe"], "keys of before there was such a thing stay as they are"
    assert len(stacked.ingredients["stack"]) == 3
    assert "stack" not in plain.ingredients
    assert stacked.key != plain.key
    told = [str(change).partition(":")[0] for change in changes(plain.ingredients, stacked.ingredients)]
    assert told == ["train.stacked", "folds it is stacked with (hashes of splits)"]


def test_what_cannot_be_is_no_stack(session: Session, written: Any) -> None:
    plan = session.plan(written(models='"snn", "cox", "abmil[fusion=concat]"'))
    assert all(cell.stack == () for cell in [*of(plan, "cox"), *of(plan, "abmil", "vector+bag")])
    assert all("stack" not in cell.ingredients for cell in of(plan, "cox"))


@pytest.mark.parametrize("key", ["loss = 'cox'", "base = 'as-published', loss = 'cox', alpha = 0, clamp = 'none'"])
def test_cox_compares_cases_and_is_refused(session: Session, written: Any, key: str) -> None:
    with pytest.raises(SuiteError) as caught:
        session.plan(written(TRAIN.format(more=f", class_weights = 'none', weight_on = 'all', {key}")))
    assert "stacked=true" in str(caught.value)
    assert "leave stacked out" in str(caught.value)


def same(one: CellResult, other: CellResult) -> None:
    assert one.status == other.status == "ok"
    assert repr(one.scores) == repr(other.scores)
    assert one.history == other.history
    assert all(np.asarray(one.state[k]).tobytes() == np.asarray(other.state[k]).tobytes() for k in one.state)
    for a, b in zip(one.predictions, other.predictions, strict=True):
        assert a.prediction.risk.tobytes() == b.prediction.risk.tobytes()


@pytest.mark.slow
def test_a_lone_cell_comes_to_the_same_bits_and_a_run_goes_on(written: Any, tmp_path: Path) -> None:
    suite, first = written(models='"snn"'), Selection(folds="0-1", repeats=1)
    whole = Session(out=tmp_path, device="cpu", threads=1)
    assert not whole.run(suite, first, track=False).failed
    cells = of(whole.plan(suite, first))
    store = Store(whole.out, Path(suite).stem)
    before = {cell.key: store.load(cell.key) for cell in cells}
    assert all(len(r.record["stacked"]["with"]) == 3 for r in before.values())
    shutil.rmtree(store.cells / cells[1].key)
    assert whole.run(suite, first, track=False).ran == 1
    same(store.load(cells[1].key), before[cells[1].key])


def test_stacked_and_one_by_one_tell_the_same(session: Session, written: Any) -> None:
    stack = of(session.plan(written(models='"snn"')))[0].stack
    plain = of(session.plan(written("train = { epochs = 2 }", models='"snn"')))[:3]
    together = computed(Together(stack, stack), session.resources)
    for a, b in zip(together, (computed(Job(cell), session.resources)[0] for cell in plain), strict=True):
        assert a.key != b.key
        assert [s.value for s in a.scores] == pytest.approx([s.value for s in b.scores])
        assert [h[3] for h in a.history] == pytest.approx([h[3] for h in b.history], rel=1e-4)


def test_a_network_that_is_trained_by_itself_says_why(session: Session, written: Any) -> None:
    plan = session.plan(written(models='"abmil[fusion=concat]", "cox", "healnet[layers=1,latents=4,latent_dim=4]"'))

    def notes(model: str, modalities: str) -> list[str]:
        cell = of(plan, model, modalities)[0]
        task = Together((cell,), cell.stack) if cell.stack else Job(cell)
        (result,) = computed(task, session.resources)
        return [note for note in result.record["notes"] if "stacked" in note]

    assert notes("abmil", "vector+bag") == [
        "train.stacked: trained by itself, since 'bag' is a bag, and only vectors can be stacked"
    ]
    assert notes("cox", "vector") == []
    (of_healnet,) = notes("healnet", "vector")
    assert "is not that of a linear layer" in of_healnet


def test_a_fold_of_another_shape_is_trained_by_itself(session: Session, written: Any) -> None:
    from fusionbench.execution.stacked.running import run_stack

    stack = of(session.plan(written()))[0].stack
    odd = replace(stack[1], protocol=stack[1].protocol.model_copy(update={"bins": 3}))
    results = run_stack((stack[0], odd, stack[2]), {cell.key for cell in stack}, session.resources)
    assert [r.status for r in results] == ["ok"] * 3
    assert [len(r.record.get("stacked", {}).get("with", [])) for r in results] == [2, 0, 2]
    note = "train.stacked: trained by itself, since no other fold of its repeat has a network of its shape"
    assert note in results[1].record["notes"]


def test_what_one_cell_raises_is_its_failure_alone(session: Session, written: Any) -> None:
    from fusionbench.execution.stacked.running import run_stack

    stack = of(session.plan(written()))[0].stack
    empty = replace(stack[0], split=replace(stack[0].split, val=()))
    results = run_stack((empty, *stack[1:]), {empty.key, stack[2].key}, session.resources)
    assert [r.status for r in results] == ["failed", "ok"]
    assert results[0].reason == "no validation case of this fold has any of vector"
    assert results[0].record["transient"] is False
    assert "no validation case" in results[0].record["traceback"]
