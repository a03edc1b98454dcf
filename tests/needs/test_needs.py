"""What published fusion models need beside logits, each by a plugin of at most 40 lines, in one small suite."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
import pytest
import torch

from fusionbench import discover
from fusionbench.core.registry import PluginRecord, Registry
from fusionbench.data.collate import collate
from fusionbench.report.mlflow.names import score_name
from fusionbench.report.mlflow.payload import fold_payload
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.suites.cell import ORACLE
from fusionbench.suites.lock import read_lock
from fusionbench.tools.audit.published_tables import tables_agree
from fusionbench.tools.audit.replay import difference
from fusionbench.tools.reports import stored_frames
from fusionbench.tools.run import SilentReporter
from tests.needs import batch_losses, heads, losses, order, recipe, targets
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, TASK, named

NEEDS = {
    1: losses.Aligned,
    2: targets.Instances,
    3: heads.Sequential,
    8: recipe.LowRank,
    9: order.Ordered,
    12: batch_losses.Apart,
}
ALL = named(CLINICAL, IMAGE)
VARIANTS = ("need-recipe[recipe=own]", "need-order[order=backwards]", "need-order[order=shuffled]")
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
    names = ", ".join(f'"{name}"' for name in (*(cls.name for cls in NEEDS.values()), *VARIANTS))
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
        if cell.model.name in ("need-recipe", "need-order"):
            assert set(history["quantity"]) == {"loss", "c_index", "lr"}
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
    assert {name for name, mark in table.items() if mark == "own recipe"} == {"need-recipe[recipe=own]"}
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
