"""What published fusion models need beside logits, each by a plugin of at most 40 lines, in one small suite."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fusionbench import discover
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import PluginRecord, Registry
from fusionbench.data.collate import collate
from fusionbench.nn import TorchModel
from fusionbench.report.mlflow.names import score_name
from fusionbench.report.mlflow.payload import fold_payload
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.suites.cell import ORACLE
from fusionbench.suites.lock import read_lock
from fusionbench.testing import checks_for
from fusionbench.tools.audit.published_tables import tables_agree
from fusionbench.tools.audit.replay import difference
from fusionbench.tools.explain import Request
from fusionbench.tools.predict_rows import RowRequest
from fusionbench.tools.reporter import SilentReporter
from fusionbench.tools.reports import stored_frames
from tests.needs import batch_losses, geometry, heads, losses, order, prototypes, recipe, stages, sub_bags, targets
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, TASK, named

IN_SUITE: dict[int, type[TorchModel]] = {
    1: losses.Aligned,
    2: targets.Instances,
    3: heads.Sequential,
    4: sub_bags.InParts,
    5: prototypes.OfTokens,
    6: stages.InStages,
    8: recipe.LowRank,
    9: order.Ordered,
    12: batch_losses.Apart,
}
# The bags of the suite's cohort have no coords.
NEEDS = {**IN_SUITE, 10: geometry.Geometric}
WITHOUT_LOSSES = ("need-order", "need-prototypes", "need-recipe", "need-stages", "need-sub-bags")
"""Models whose history is that of any other."""
STAGED, OWN = "need-stages[recipe=own]", "need-recipe[recipe=own]"
VARIANTS = (
    STAGED,
    OWN,
    "need-sub-bags[mean=logits]",
    "need-order[order=backwards]",
    "need-order[order=shuffled]",
)
ALL = named(CLINICAL, IMAGE)
SUITE = """
title = "Needs"
datasets = ["synthetic[cases=60,missing=0.3]"]
models = [{models}]
modalities = [["bag"], ["vector", "bag"]]
metrics = ["harrell_c_index"]

[protocol]
folds = 2
test_patterns = ["full", "half"]
mask_draws = 2

[train]
epochs = 2
"""


def registry() -> Registry:
    """What is installed, and the models of the needs."""
    installed, models = discover(), {cls.name: (cls, "needs") for cls in NEEDS.values()}
    record = PluginRecord("needs", "needs", "1", "not stated", {"models": tuple(models)})
    return Registry(
        (*installed.plugins, record), {**installed.found, "models": {**installed.found["models"], **models}}
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The suite, run."""
    folder = tmp_path_factory.mktemp("needs")
    names = ", ".join(f'"{name}"' for name in (*VARIANTS, *(cls.name for cls in IN_SUITE.values())))
    (folder / "needs.toml").write_text(SUITE.format(models=names))
    made = Session(folder / "results", home=folder, registry=registry())
    report = made.run(str(folder / "needs.toml"), track=False, reporter=SilentReporter())
    assert not report.failed
    return made


@pytest.mark.parametrize("cls", NEEDS.values(), ids=NEEDS)
def test_a_need_takes_forty_lines_and_nothing_private(cls: type) -> None:
    text = Path(__file__).with_name(f"{cls.__module__.rpartition('.')[2]}.py").read_text()
    names = {n.attr for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)}
    names |= {name.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom) for name in n.names}
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    assert not {name for name in names if name.startswith("_") and not name.startswith("__")}
    assert "Function" not in names


def frame(session: Session, name: str) -> pd.DataFrame:
    """One of the suite's frames."""
    reader = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    return reader(session.out / "needs" / name)


def test_each_loss_is_stored_by_name_epoch_and_part(session: Session) -> None:
    store = Store(session.out, "needs")
    seen: dict[str, set[str]] = {}
    for cell in session.as_run("needs")[0].todo():
        if cell.model.name == ORACLE:
            continue
        history = store.history(cell.key)
        if cell.model.name in WITHOUT_LOSSES:
            staged = {"stage"} if str(cell.model) == STAGED else set()
            assert set(history["quantity"]) == {"loss", "c_index", "lr"} | staged
            continue
        own = history[~history["quantity"].isin(["loss", "c_index", "lr"])]
        assert set(own["epoch"]) == {1, 2}
        seen.setdefault(cell.model.name, set()).update(own["split"] + "/" + own["quantity"])
    assert seen == {
        "need-losses": {"train/align_bag", "train/align_vector"},
        "need-targets": {"train/instance"},
        "need-heads": {f"{part}/{name}" for part in ("train", "val") for name in ("change", "steps")},
        "need-batch-losses": {f"{part}/{name}" for part in ("train", "val") for name in ("bound", "learning")},
    }


def test_mlflow_has_the_losses_by_epoch_and_the_scores_after_steps(session: Session) -> None:
    plan, store = session.as_run("needs")
    cell = next(c for c in plan.todo() if c.model.name == "need-heads" and len(c.modalities) == 2)
    payload = fold_payload(cell, "needs", store.load(cell.key), read_lock(store.folder))
    points = {(point.name, point.step) for point in payload.metrics}
    for name in ("train/change", "val/change", "train/steps", "val/steps"):
        assert {(name, 1), (name, 2)} <= points
    assert {score_name("harrell_c_index", f"after:{step}") for step in cell.modalities} <= {name for name, _ in points}


def test_what_is_predicted_after_steps_is_a_table_of_its_own(session: Session) -> None:
    folds = frame(session, "folds.csv")
    steps = folds[folds["pattern"].str.startswith("after:")]
    assert set(steps["model"]) == {"need-heads"}
    both = steps[steps["modalities"] == "vector+bag"]
    assert set(both["pattern"]) == {"after:vector", "after:bag"}
    last = both[both["pattern"] == "after:bag"].set_index("fold")["value"]
    whole = folds[(folds["model"] == "need-heads") & (folds["modalities"] == "vector+bag")]
    assert last.to_dict() == whole[whole["pattern"] == "full"].set_index("fold")["value"].to_dict()
    # Cases that lack the first modality have no state of it: they get the training mean.
    assert (both.loc[both["pattern"] == "after:vector", "n_prior"] > 0).all()
    assert (both.loc[both["pattern"] == "after:bag", "n_prior"] == 0).all()
    table = (session.out / "needs" / "table.md").read_text()
    assert "pattern after" not in table
    head, _, section = table.partition("## Anytime predictions")
    assert "after vector" in section
    assert "after:vector" not in head + section
    assert "pattern half" in head


def test_the_report_shows_the_losses(session: Session) -> None:
    figure = session.plot("training", "needs", 3)
    titles = [" ".join(ax.get_title(loc="left").split()) for ax in figure.axes]
    assert len(titles) == 7
    assert "change of need-heads on vector+bag" in titles


def test_the_audit_declares_who_was_given_targets(session: Session) -> None:
    audit = session.audit("needs")
    lines = {line.rule: line for line in audit.lines}
    assert audit.passed, [line for line in audit.lines if line.verdict == "BREACH"]
    line = lines["no network was given outcomes beside the loss"]
    assert line.verdict == "DECLARED"
    assert "2 networks read the outcomes of training cases, and of no others" in line.seen


def test_prototypes_of_a_fold_are_made_once_and_reported_apart(session: Session) -> None:
    plan, store = session.as_run("needs")
    cells = [cell for cell in plan.todo() if cell.model.name == "need-prototypes"]
    found: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for cell in cells:
        record = store.record(cell.key)["record"]
        (made,) = record["preparations"]
        assert made["settings"] == {"reads": ["bag"], "count": 4, "first": 20}
        assert set(made["ledger"]) <= set(cell.split.train)
        assert record["seconds"]["preparations"] > 0
        found[cell.fold].append(made)
    for alone, both in found.values():
        # The same cases show the bag in both rows.
        assert (alone["computed"], both["computed"]) == (True, False)
        assert {**alone, "computed": False} == both
    assert found[0][0]["key"] != found[1][0]["key"]
    seconds = frame(session, "cells.csv").set_index("model")["preparation_seconds"]
    stored = sorted(made["seconds"] for of_fold in found.values() for made in of_fold)
    assert sorted(seconds["need-prototypes"]) == pytest.approx(stored)
    assert seconds.drop("need-prototypes").isna().all()
    labels = [axes.get_xlabel() for axes in session.plot("cost", "needs").axes]
    assert "preparing a fold before training (seconds)" in labels
    line = next(line for line in session.audit("needs").lines if line.rule == "preparations saw training cases only")
    assert (line.verdict, line.seen) == ("pass", "4 preparations")
    # Restored from the cell alone: nothing was kept on disk beside it.
    assert [difference(cell, store, session.resources) for cell in cells] == [""] * 4


def test_a_new_cohort_and_an_explanation_need_only_the_cell(session: Session) -> None:
    (row,) = session.predict(RowRequest("needs", "need-prototypes", modalities=("bag",)), PluginRef("synthetic"))
    assert (row.n_models, row.reason) == (2, "")
    assert np.isfinite(row.frame["risk"]).all()
    session.explain(Request("needs", "need-prototypes", top_risk=1, draws=2))
    (page,) = (session.out / "needs" / "explain").rglob("explanation.html")
    assert "No attention on bag: it is on tokens that prototypes makes of all instances together" in page.read_text()


def test_published_tables_agree_with_the_scores_after_steps(session: Session) -> None:
    """table.csv has all of them; in table.md they stand below the cohorts' grids."""
    frames = stored_frames("needs", session.out, session.resources)[0]
    folder = session.out / "needs"
    assert tables_agree(frames, folder).verdict == "pass"
    kept = folder / "table.csv"
    whole = kept.read_text()
    kept.write_text("".join(line for line in whole.splitlines(keepends=True) if "after:vector" not in line))
    seen = tables_agree(frames, folder)
    kept.write_text(whole)
    assert seen.verdict == "BREACH"
    assert "table.csv has no" in seen.seen
    assert "after:vector" in seen.seen


def test_restored_weights_give_what_was_predicted_after_steps(session: Session) -> None:
    plan, store = session.as_run("needs")
    stepping = [cell for cell in plan.todo() if cell.model.name == "need-heads"]
    for cell in stepping[:2]:
        assert difference(cell, store, session.resources) == ""


def test_a_published_recipe_is_a_row_of_its_own_that_is_marked(session: Session) -> None:
    plan, store = session.as_run("needs")
    cells = {str(c.model): c for c in plan.todo() if c.fold == 0 and c.modalities == ("vector", "bag")}
    usual, own = cells["need-recipe"], cells["need-recipe[recipe=own]"]
    assert usual.recipe == plan.suite.train
    assert usual.recipe is cells["need-heads"].recipe
    assert usual.key != own.key
    assert (own.recipe.optimizer, own.recipe.epochs) == ("radamw", 2)
    assert store.record(own.key)["record"]["recipe"]["group"] == own.recipe.model_dump(mode="json")["group"]
    table = frame(session, "table.csv").drop_duplicates("model").set_index("model")["tuned"]
    assert {name for name, mark in table.items() if mark == "own recipe"} == {OWN, STAGED}
    assert "own recipe: trained by the model's published recipe" in (session.out / "needs" / "table.md").read_text()
    # Two steps an epoch, of which the first one warms up.
    assert store.history(own.key).query("quantity == 'lr'")["value"].iloc[0] == own.recipe.lr / 2


def test_modalities_are_read_in_a_given_and_in_a_shuffled_order() -> None:
    def seen(choice: str, *, training: bool) -> set[tuple[float, ...]]:
        torch.manual_seed(0)
        options = order.Ordered.Options(order=choice)
        net = order.Ordered(options).build(TASK, ALL).train(training)
        return {tuple(net(batch)[0].tolist()) for _ in range(20)}

    batch = collate(CASES[:2], ALL)
    both = seen("suite", training=True) | seen("backwards", training=True)
    assert len(both) == 2
    assert seen("shuffled", training=True) == both
    assert seen("shuffled", training=False) == seen("suite", training=False)


def test_each_bag_keeps_its_own_geometry_beside_longer_ones() -> None:
    """In a padded batch and on toy bags with coords; TransMIL's square, an instance of its own and its neighbours."""
    wanted = ("fits", "batch-invariant", "padding-invariant", "ragged-batches", "neighbours-read")
    outcomes = {c.name: c.outcome() for c in checks_for("needs", registry(), "need-geometry") if c.name in wanted}
    assert {name: (o.status, str(o.failure)) for name, o in outcomes.items()} == dict.fromkeys(wanted, ("pass", "None"))


def test_sub_bags_differ_by_their_mean_alone(session: Session) -> None:
    """Both are trained and scored; the fixed parts of the test cases are the same in a restored cell."""
    plan, store = session.as_run("needs")
    cells = [cell for cell in plan.todo() if cell.model.name == "need-sub-bags" and cell.fold == 0]
    assert len(cells) == 4
    assert [difference(cell, store, session.resources) for cell in cells] == [""] * 4


def test_a_network_in_stages_begins_with_the_weights_of_its_folds_members(session: Session) -> None:
    plan, store = session.as_run("needs")
    cell = next(c for c in plan.todo() if str(c.model) == STAGED and len(c.modalities) == 2)
    assert [m.modalities for m, _ in cell.members] == [("vector",), ("bag",)]
    members = {m.modalities[0]: next(c for c in plan.todo() if c.key == key) for m, key in cell.members}
    assert all(of.split == cell.split and not of.own_recipe for of in members.values())
    history = store.history(cell.key)
    stages = history[history["quantity"] == "stage"]
    assert stages[["epoch", "value"]].to_numpy().tolist() == [[1, 1], [2, 2]]
    # Two steps in the second stage at a tenth of the rate, Adam's at most: what was loaded is nearly still there.
    own, most = store.load(cell.key).state, 2 * 0.1 * cell.recipe.lr * 1.01
    for name, of in members.items():
        key = f"module.tokens.{name}.weight"
        moved = abs(own[key] - store.load(of.key).state[key]).max()
        assert 0 < moved < most
    payload = fold_payload(cell, "needs", store.load(cell.key), read_lock(store.folder))
    assert {(p.step, p.value) for p in payload.metrics if p.name == "train/stage"} == {(1, 1.0), (2, 2.0)}


def test_the_report_shows_where_a_stage_begins(session: Session) -> None:
    figure = session.plot("training", "needs", 1)
    lines = {ax.get_title(loc="left"): [line for line in ax.lines if line.get_linestyle() == ":"] for ax in figure.axes}
    marked = {" ".join(title.split()): [line.get_xdata()[0] for line in of] for title, of in lines.items() if of}
    assert marked == {f"{STAGED} on vector+bag": [1.5]}
