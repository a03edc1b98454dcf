from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from fusionbench.core.cell_result import CellResult, Score
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.types import Fold
from fusionbench.report.mlflow import (
    WHOLE_TABLE,
    Order,
    SuiteFiles,
    Tracker,
    TrackingError,
    best_pairs,
    compare_link,
    experiment_id,
    names,
    rows_link,
    runs,
    store_uri,
    suite_files,
    suite_link,
    sync,
    tables,
    tracked_experiment,
    ui_command,
    ui_environment,
)
from fusionbench.report.mlflow.client import QUICK, Connection
from fusionbench.report.mlflow.owner import owner_of
from fusionbench.report.mlflow.payload import FOLD, KIND, ROW, Point, fold_payload, row_payload
from fusionbench.report.mlflow.tracker import LiveTracking
from fusionbench.results.made_from import TABLE, note_made_from, stored_contents
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell
from tests import services
from tests.services import Answer

SUITE = "tcga-lite"
FINGERPRINT = "f00d" * 16
COMMIT = "c0ffee" * 6 + "0000"
INGREDIENTS = {"dataset": {"version": "3", "fingerprint": FINGERPRINT}, "model": {"version": "1"}}
COUNTS = {"cases": 100, "groups": 99, "events": 40, "bins": [10, 10], "columns": {"omic": 7}}
BLCA = {"title": "Bladder cancer", "plugin": "tcga", "splits": {}, "counts": {"patient": COUNTS}}
LOCK = {"fusionbench": "0.1.0", "datasets": {"blca": BLCA}}


def cell(model: str = "healnet", fold: int = 0, key: str = "", **changes: Any) -> Cell:
    made = Cell(
        dataset=PluginRef.parse("blca"),
        model=PluginRef.parse(model),
        modalities=("clinical", "omic"),
        variant="base",
        repeat=0,
        fold=fold,
        protocol=Protocol(test_patterns=("full", "only:omic")),
        recipe=TrainRecipe(lr=0.001),
        seed=7,
        patterns=("full", "only:omic"),
        metrics=("harrell_c_index", "ibs"),
        tau=48.5,
        split=Fold((), (), ()),
        cohort_name="blca",
        policy="native",
        key=key or f"key-{model}-{fold}",
        ingredients=INGREDIENTS,
    )
    return dataclasses.replace(made, **changes)


def result(of: Cell, c_index: float = 0.6, epochs: int = 3, **changes: Any) -> CellResult:
    made = CellResult(
        key=of.key,
        status="ok",
        scores=(
            Score("full", "harrell_c_index", c_index, "", 80),
            Score("only:omic", "harrell_c_index", c_index - 0.1, "", 80),
            Score("full", "ibs", math.nan, "no survival function", 80),
        ),
        history=tuple((e, s, "loss", 1.0 / (e + 1)) for e in range(epochs) for s in ("train", "val")),
        record={
            "seconds": {"fit": 3.0, "score": 0.5},
            "environment": {"device": "cpu", "packages": {"torch": "2"}},
            "fit": {"best_epoch": 2, "edges": [1.0], "validation_loss": None},
            "process_peak_memory_mib": 300.0,
            "system_samples": [[1.0, 0.5, 200.0], [3.0, 2.5, 300.0]],
            "git_commit": COMMIT,
            "notes": ["tied quartiles"],
        },
    )
    return dataclasses.replace(made, **changes)


def failed(of: Cell, reason: str) -> CellResult:
    return CellResult(of.key, "failed", reason, record={"seconds": {"total": 1.0}, "traceback": "line 1\nline 2"})


def table(mean: float = 0.6, n_failed: int = 0, models: Sequence[str] = ("healnet",)) -> pd.DataFrame:
    numbers = {"mean": mean, "sd": 0.03, "ci_low": 0.55, "ci_high": 0.65}
    counts = {"n_folds": 5 - n_failed, "n_failed": n_failed, "n_skipped": 0}
    row = {"dataset": "blca", "modalities": "clinical+omic", "variant": "base", "metric": "harrell_c_index"}
    return pd.DataFrame(
        [{**row, **numbers, **counts, "model": m, "pattern": p} for m in models for p in ("full", "only:omic")]
    )


@pytest.fixture
def root(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def tracker(root: Path, uri: str | None = None, lock: Mapping[str, Any] = LOCK) -> Tracker:
    return Tracker(uri, root, SUITE, "Real omics", lock=lock)


def stored(uri: str, kind: str = "", state: int = 1) -> list[Any]:
    """Runs in order of their names; state 1 = active, 2 = deleted."""
    found = Connection(uri, SUITE)
    experiment = found.call("get_experiment_by_name", SUITE).experiment_id
    listed = found.call("search_runs", [experiment], run_view_type=state, max_results=500)
    return sorted((r for r in listed if kind in r.data.tags[KIND]), key=lambda r: r.info.run_name)


def curve(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    history = Connection(uri, SUITE).call("get_metric_history", run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)


# --- names and words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("harrell_c_index.only:omic", "harrell_c_index.only-omic"),
        ("train/loss", "train/loss"),
        ("rate:0.5", "rate-0.5"),
    ],
)
def test_metric_names_that_only_lack_a_legal_colon_stay_readable(name: str, expected: str) -> None:
    assert names.legal(name) == expected


@pytest.mark.parametrize("name", ["a b?", "../x", "/lead", "a//b", "ü", "x" * 400, "", "a\nb", "50 %"])
def test_every_name_becomes_one_that_mlflow_takes_and_stays_distinct(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    made = names.legal(name)
    _validate_metric_name(made)
    assert len(made) <= 250
    assert made != names.legal(name + "?")


def test_long_values_are_cut_without_becoming_equal() -> None:
    one, two = names.clipped("x" * 600 + "1", 500), names.clipped("x" * 600 + "2", 500)
    assert len(one) == len(two) == 500
    assert one != two
    assert names.clipped("short", 500) == "short"


def test_a_row_says_which_plugins_brought_model_and_dataset() -> None:
    brought = {"plugin": "tcga", "distribution": "fusionbench", "distribution_version": "0.1.0"}
    lock = {
        "model_plugins": {"healnet": {"plugin": "mine", "distribution": "my-models", "distribution_version": "1.4"}},
        "datasets": {"blca": {**brought, "splits": {}}},
    }
    tags = row_payload(cell("healnet[depth=3]"), SUITE, lock).tags
    assert {k: v for k, v in tags.items() if k.startswith(("model.", "dataset."))} == {
        "model.version": "1",
        "model.plugin": "mine",
        "model.distribution": "my-models",
        "model.distribution_version": "1.4",
        "dataset.version": "3",
        "dataset.fingerprint": FINGERPRINT,
        "dataset.plugin": "tcga",
        "dataset.distribution": "fusionbench",
        "dataset.distribution_version": "0.1.0",
    }


def test_the_memory_of_a_fold_is_that_of_its_process() -> None:
    said = fold_payload(cell(), SUITE, result(cell()), LOCK).metrics
    assert Point("system/process_peak_memory_mib", 300.0) in said


def test_samples_are_system_metrics_at_their_own_times() -> None:
    said = fold_payload(cell(), SUITE, result(cell()), LOCK).metrics
    assert [tuple(p) for p in said if p.seconds is not None] == [
        ("system/process_memory_mib", 200.0, 0, 1.0),
        ("system/process_cpu_seconds", 0.5, 0, 1.0),
        ("system/process_cpu_percent", 50.0, 0, 1.0),
        ("system/process_memory_mib", 300.0, 1, 3.0),
        ("system/process_cpu_seconds", 2.5, 1, 3.0),
        ("system/process_cpu_percent", 100.0, 1, 3.0),
    ]


def test_a_cell_stored_before_samples_and_commits_were_is_still_a_fold() -> None:
    record = {"seconds": {"fit": 3.0}, "environment": {"device": "cpu"}}
    said = fold_payload(cell(), SUITE, result(cell(), record=record), LOCK)
    assert not [p for p in said.metrics if p.name.startswith("system/")]
    assert "git_commit" not in said.tags


def test_the_dataset_of_a_run_is_its_cohort_with_the_beginning_of_its_fingerprint() -> None:
    row = row_payload(cell(), SUITE, LOCK).dataset
    assert row == ("Bladder cancer", "f00df00df00d", '{"num_rows": 100, "groups": 99, "events": 40}')
    fold = fold_payload(cell(), SUITE, result(cell()), LOCK).dataset
    assert fold is not None
    assert fold[:2] == row[:2]
    assert row_payload(cell(ingredients={}), SUITE, LOCK).dataset is None


def test_a_row_states_all_resolved_options() -> None:
    lock = {"options": {"healnet[depth=3]": {"depth": 1, "latents": 25, "dropout": None}}}
    params = row_payload(cell("healnet[depth=3]"), SUITE, lock).params
    assert params["model.depth"] == "3"
    assert params["model.latents"] == "25"
    assert params["model.dropout"] == "none"
    assert params["train.lr"] == "0.001"
    assert params["protocol.test_patterns"] == '["full", "only:omic"]'
    assert params["seed"] == "7"
    assert "protocol.repeats" not in params


def test_what_is_read_back_from_disk_is_the_same_content() -> None:
    """cell.json sorts its keys: neither the order of metrics nor that of a sum may show."""
    record = {**result(cell()).record, "seconds": {"prepare": 0.1, "fit": 1e9, "predict": 0.2, "score": 0.3}}
    of_row = result(cell(), predictions=(), history=(), record=record)
    stored = dataclasses.replace(of_row, record=json.loads(json.dumps(record, sort_keys=True)))
    assert list(stored.record) != list(of_row.record)
    assert fold_payload(cell(), SUITE, stored, LOCK).digest == fold_payload(cell(), SUITE, of_row, LOCK).digest


def test_undefined_scores_are_tags_with_their_reason_and_no_number() -> None:
    said = fold_payload(cell(), SUITE, result(cell()), LOCK)
    assert said.tags["undefined.ibs"] == "no survival function"
    assert "ibs" not in {point.name for point in said.metrics}


def test_points_that_are_not_finite_are_gaps_of_their_curve() -> None:
    history = ((0, "train", "loss", 1.0), (1, "train", "loss", math.inf), (2, "train", "loss", math.nan))
    said = fold_payload(cell(), SUITE, result(cell(), history=history), LOCK)
    assert [p for p in said.metrics if p.name == "train/loss"] == [Point("train/loss", 1.0, 0)]


def test_a_long_table_is_cut_to_what_a_description_holds_and_says_so() -> None:
    rows = table(models=[f"model-{i}" for i in range(200)]).to_dict("records")
    note = tables.table_note("Title", rows)
    assert len(note) <= 5000
    assert note.startswith("Title\n")
    assert "model-10 " in note
    assert note.endswith("see table.md of the results")
    assert "see table.md" not in tables.table_note("Title", rows[:5])
    assert "\n\nNo fusion row beats cox.\n\n|" in tables.table_note("Title", rows[:5], ["No fusion row beats cox."])
    skipped = {**rows[0], "mean": math.nan, "n_folds": 0, "n_skipped": 5}
    assert tables.table_note("Title", [*rows[1:5], skipped]) == tables.table_note("Title", rows[1:5])


def test_a_result_line_says_what_is_missing() -> None:
    row = {**table(n_failed=2).to_dict("records")[0], "ci_low": math.nan}
    assert tables.table_line([row]) == "harrell_c_index 0.600 ± 0.030 (3 folds, 2 failed)"
    assert tables.table_line([{**row, "mean": math.nan}]) == "harrell_c_index undefined (3 folds, 2 failed)"


# --- the store


def test_importing_and_constructing_loads_no_mlflow_and_opens_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, fusionbench.report.mlflow as t\n"
        f"t.Tracker(None, pathlib.Path({str(tmp_path)!r}), 's', 'S', lock={{}})\n"
        "print({'mlflow', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_a_store_in_the_results_root_and_the_environment_goes_before_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracker(root).uri == f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine:5000")
    assert tracker(root).uri == "http://mine:5000"
    assert tracker(root, "http://asked").uri == "http://asked"


def test_runs_are_named_by_model_and_modalities_first_and_by_the_cohort_where_there_are_several() -> None:
    both = {"datasets": {"blca": BLCA, "brca": {}}}
    l1 = cell(variant="l1")
    assert row_payload(cell(), SUITE, LOCK).name == "healnet · clinical+omic"
    assert row_payload(l1, SUITE, both).name == "healnet · clinical+omic · l1 · Bladder cancer"
    assert fold_payload(l1, SUITE, result(l1), both).name == (
        "healnet · clinical+omic · l1 · Bladder cancer · repeat 0 fold 0"
    )


def test_a_suite_is_an_experiment_with_files_beside_the_store(root: Path) -> None:
    assert tracked_experiment(root, SUITE) is None
    tracker(root).log_cell(cell(), result(cell()))
    found = Connection(store_uri(root), SUITE).call("get_experiment_by_name", SUITE)
    assert found.artifact_location == f"mlflow-artifacts:/{SUITE}"
    assert found.tags["mlflow.note.content"] == "Real omics"
    assert tracked_experiment(root, SUITE) == experiment_id(store_uri(root), SUITE) == found.experiment_id
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_fold_is_a_child_of_its_row_with_scores_curves_and_timings(root: Path) -> None:
    uri = store_uri(root)
    tracker(root).log_cell(cell(fold=3), result(cell(fold=3)))
    (row,), (fold,) = stored(uri, "row"), stored(uri, "fold")
    assert row.info.run_name == "healnet · clinical+omic"
    assert row.data.params["train.lr"] == "0.001"
    assert row.data.tags.items() >= {"fusionbench": "0.1.0", "model.version": "1", "dataset.plugin": "tcga"}.items()
    assert fold.info.run_name == "healnet · clinical+omic · repeat 0 fold 3"
    assert fold.data.tags["mlflow.parentRunId"] == row.info.run_id
    assert fold.data.tags["fusionbench.key"] == "key-healnet-3"
    assert fold.data.tags["mlflow.note.content"] == "tied quartiles"
    assert fold.info.status == "FINISHED"
    assert fold.info.end_time - fold.info.start_time == 3500
    expected = {"harrell_c_index": 0.6, "harrell_c_index.only-omic": 0.5, "seconds/total": 3.5, "fit/best_epoch": 2.0}
    assert fold.data.metrics.items() >= expected.items()
    assert curve(uri, fold, "train/loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


def test_a_failed_cell_says_why(root: Path) -> None:
    tracker(root).log_cell(cell(), failed(cell(), "ValueError: NaN loss"))
    (fold,) = stored(store_uri(root), "fold")
    assert fold.info.status == "FAILED"
    assert fold.data.tags["reason"] == "ValueError: NaN loss"
    assert fold.data.tags["mlflow.note.content"] == "failed: ValueError: NaN loss"
    assert (root / f"mlartifacts/{SUITE}/{fold.info.run_id}/artifacts/traceback.txt").read_text() == "line 1\nline 2"


def test_a_row_lasts_as_long_as_its_folds_together_whenever_they_were_computed(root: Path) -> None:
    for fold in range(3):
        time.sleep(0.01)
        tracker(root).log_cell(cell(fold=fold), result(cell(fold=fold)))
    used = tracker(root)
    used.log_table(table())
    used.log_files(SuiteFiles({}, {}))
    for kind in ("row", "suite"):
        (run,) = stored(store_uri(root), kind)
        assert run.info.end_time - run.info.start_time == 3 * 3500


def test_a_skipped_cell_is_a_row_with_its_reason_and_no_fold(root: Path) -> None:
    skipped = cell(skip="needs an image")
    tracker(root).log_cell(skipped, CellResult(skipped.key, "skipped", skipped.skip))
    (row,) = stored(store_uri(root))
    assert row.data.params["skip"] == "needs an image"
    assert row.info.status == "FINISHED"
    tracker(root).log_cell(cell(), result(cell()))
    (row,) = stored(store_uri(root), "row")
    assert "skip" not in row.data.params


def test_replaying_writes_nothing_a_second_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAGE", 2)  # what is there arrives in several pages
    items = [(c := cell(model, fold), result(c)) for model in ("healnet", "mcat[fusion=bilinear]") for fold in range(3)]
    models = ["healnet", "mcat[fusion=bilinear]"]
    sync(tracker(root), items, table(models=models))
    before = [(r.info.run_id, r.data.to_dictionary(), r.info.end_time) for r in stored(store_uri(root))]
    assert len(before) == 2 + 6
    calls: list[str] = []
    real = Connection.call

    def counted(self: Connection, method: str, *args: Any, **options: Any) -> Any:
        calls.append(method)
        return real(self, method, *args, **options)

    monkeypatch.setattr(Connection, "call", counted)
    sync(tracker(root), items, table(models=models))
    assert set(calls) == {"get_experiment_by_name", "search_runs", "set_experiment_tag"}
    monkeypatch.setattr(Connection, "call", real)
    assert [(r.info.run_id, r.data.to_dictionary(), r.info.end_time) for r in stored(store_uri(root))] == before
    assert stored(store_uri(root), state=2) == []


@pytest.mark.parametrize("key", ["key-healnet-0", "another"], ids=["same key, run again", "another key"])
def test_a_fold_with_other_content_replaces_the_older_one(root: Path, key: str) -> None:
    uri = store_uri(root)
    tracker(root).log_cell(cell(), failed(cell(), "out of memory"))
    tracker(root).log_cell(cell(key=key), result(cell(key=key), 0.7, epochs=2))
    (fold,), (old,) = stored(uri, "fold"), stored(uri, "fold", state=2)
    assert fold.data.metrics["harrell_c_index"] == 0.7
    assert curve(uri, fold, "train/loss") == [(0, 1.0), (1, 0.5)]
    assert fold.info.status == "FINISHED"
    assert old.data.tags["fusionbench.superseded_by"] == key
    assert len(stored(uri, "row")) == 1


def test_a_row_whose_options_changed_is_replaced_with_its_folds(root: Path) -> None:
    first = tracker(root)
    for fold in range(2):
        first.log_cell(cell(fold=fold), result(cell(fold=fold)))
    changed = cell(key="new", recipe=TrainRecipe(lr=0.1))
    tracker(root).log_cell(changed, result(changed))
    (row,), (fold,) = stored(store_uri(root), "row"), stored(store_uri(root), "fold")
    assert row.data.params["train.lr"] == "0.1"
    assert fold.data.tags["mlflow.parentRunId"] == row.info.run_id
    assert len(stored(store_uri(root), state=2)) == 3


def test_more_repeats_and_newer_plugins_keep_the_row(root: Path) -> None:
    tracker(root).log_cell(cell(), result(cell()))
    (before,) = stored(store_uri(root), "row")
    more = cell(protocol=Protocol(test_patterns=("full", "only:omic"), repeats=3))
    newer = {"healnet": {"plugin": "healnet", "distribution_version": "0.2"}}
    tracker(root, lock={**LOCK, "model_plugins": newer}).log_cell(more, result(more))
    (row,) = stored(store_uri(root), "row")
    assert row.info.run_id == before.info.run_id
    assert row.data.tags["model.distribution_version"] == "0.2"
    assert row.data.tags["protocol.repeats"] == "3"
    assert len(stored(store_uri(root), "fold")) == 1


def test_another_cohort_of_the_same_name_is_another_row(root: Path) -> None:
    tracker(root).log_cell(cell(), result(cell()))
    grown = cell(key="new", ingredients={**INGREDIENTS, "dataset": {"version": "3", "fingerprint": "beef" * 16}})
    tracker(root).log_cell(grown, result(grown))
    for (run,) in (stored(store_uri(root), "row"), stored(store_uri(root), "fold")):
        assert [used.dataset.digest for used in run.inputs.dataset_inputs] == ["beefbeefbeef"]
    assert len(stored(store_uri(root), state=2)) == 2


def test_a_row_names_the_commits_of_all_its_folds(root: Path) -> None:
    other = "0123456789" * 4
    for fold, commit in ((0, COMMIT), (1, other)):
        record = {**result(cell()).record, "git_commit": commit}
        tracker(root).log_cell(cell(fold=fold), result(cell(fold=fold), record=record))
    tracker(root).log_table(table())
    (row,) = stored(store_uri(root), "row")
    assert row.data.tags["git_commit"] == f"{other}, {COMMIT}"
    assert stored(store_uri(root), "fold")[0].data.tags["mlflow.source.git.commit"] == COMMIT


def test_one_key_of_two_variants_is_a_fold_of_either(root: Path) -> None:
    both = tracker(root)
    for variant in ("base", "l1"):
        both.log_cell(cell(variant=variant), result(cell(variant=variant)))
    assert len(stored(store_uri(root), "row")) == 2
    assert sorted(f.data.tags["variant"] for f in stored(store_uri(root), "fold")) == ["base", "l1"]


def test_a_run_that_an_interrupt_left_half_written_is_written_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: runs.Runs, run: runs.Run, tags: Mapping[str, str], *rest: Any) -> None:
        if run.tags[KIND] == FOLD:
            raise KeyboardInterrupt
        write(self, run, tags, *rest)

    write = runs.Runs.write
    monkeypatch.setattr(runs.Runs, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tracker(root).log_cell(cell(), result(cell()))
    monkeypatch.setattr(runs.Runs, "write", write)
    tracker(root).log_cell(cell(), result(cell()))
    (fold,) = stored(store_uri(root), "fold")
    assert fold.info.status == "FINISHED"
    assert fold.data.metrics["harrell_c_index"] == 0.6
    assert len(stored(store_uri(root), "row")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("processed", [False, True], ids=["call lost", "answer lost"])
def test_a_server_that_dies_at_any_call_has_everything_once_after_a_replay(
    root: Path, monkeypatch: pytest.MonkeyPatch, processed: bool
) -> None:
    """Two folds, one failed, with table and files: dead from the n-th call on, for every n."""
    items = [(c := cell(fold=0), result(c)), (c := cell(fold=1), failed(c, "out of memory"))]
    suite_folder(root, table_md="t", report_html="r", figures__a_png="a")
    files = suite_files(Store(root, SUITE))
    empty = (root / "mlflow.db").read_bytes()
    real, calls = Connection.call, {"left": 10**6, "made": 0}

    def limited(self: Connection, method: str, *args: Any, **options: Any) -> Any:
        calls["made"] += 1
        calls["left"] -= 1
        if calls["left"] < 0 or (calls["left"] == 0 and not processed):
            raise self.failed("does not answer")
        answer = real(self, method, *args, **options)
        if calls["left"] == 0:
            raise self.failed("does not answer")
        return answer

    def everything() -> list[tuple[str, str, dict[str, float], int]]:
        seen = []
        for run in stored(store_uri(root)):
            tags = {k: v for k, v in run.data.tags.items() if k not in ("mlflow.parentRunId", "mlflow.user")}
            n_files = len(list((root / "mlartifacts" / SUITE / run.info.run_id).glob("artifacts/**/*.*")))
            seen.append((run.info.status, json.dumps(tags, sort_keys=True), run.data.metrics, n_files))
        return seen

    monkeypatch.setattr(Connection, "call", limited)
    sync(tracker(root), items, table(n_failed=1), files)
    needed, whole = calls["made"], everything()
    assert len(whole) == 4
    for n in range(1, needed + 1):
        (root / "mlflow.db").write_bytes(empty)
        calls["left"] = n
        with pytest.raises(TrackingError):
            sync(tracker(root), items, table(n_failed=1), files)
        calls["left"] = 10**6
        sync(tracker(root), items, table(n_failed=1), files)
        assert everything() == whole, f"call {n} of {needed}"


def test_of_two_runs_for_one_fold_the_younger_stays(root: Path) -> None:
    one, two = tracker(root), tracker(root)
    two._runs()  # both looked before either wrote
    one.log_cell(cell(), result(cell(), 0.6))
    two.log_cell(cell(), result(cell(), 0.7))
    assert len(stored(store_uri(root), "fold")) == 2
    tracker(root).log_cell(cell(), result(cell(), 0.7))
    (fold,), (row,) = stored(store_uri(root), "fold"), stored(store_uri(root), "row")
    assert fold.data.metrics["harrell_c_index"] == 0.7
    assert fold.data.tags["mlflow.parentRunId"] == row.info.run_id


def test_a_deleted_experiment_comes_back_without_what_was_replaced(root: Path) -> None:
    tracker(root).log_cell(cell(), result(cell(), 0.6))
    tracker(root).log_cell(cell(), result(cell(), 0.7))
    connection = Connection(store_uri(root), SUITE)
    connection.call("delete_experiment", experiment_id(store_uri(root), SUITE))
    tracker(root).log_cell(cell(), result(cell(), 0.7))
    (fold,) = stored(store_uri(root), "fold")
    assert fold.data.metrics["harrell_c_index"] == 0.7


def test_the_table_is_on_the_row_and_in_the_description(root: Path) -> None:
    uri, used = store_uri(root), tracker(root)
    used.log_cell(cell(), result(cell()))
    assert stored(uri, "row")[0].info.status == "RUNNING"
    used.log_table(table(models=["healnet", "never-logged"]))
    (row,) = stored(uri, "row")
    expected = {"harrell_c_index.mean": 0.6, "harrell_c_index.sd": 0.03, "harrell_c_index.only-omic.ci_high": 0.65}
    assert row.data.metrics.items() >= {**expected, "n_folds": 5.0}.items()
    assert row.data.tags["mlflow.note.content"] == "harrell_c_index 0.600 ± 0.030 [0.550, 0.650] (5 folds)"
    assert row.info.status == "FINISHED"
    note = Connection(uri, SUITE).call("get_experiment_by_name", SUITE).tags["mlflow.note.content"]
    assert note.startswith("Real omics\n")
    assert "| healnet | clinical+omic | base | full | harrell_c_index | 0.600 ± 0.030 [0.550, 0.650] |" in note


def test_a_later_table_replaces_the_numbers_and_empties_those_it_lacks(root: Path) -> None:
    uri, used = store_uri(root), tracker(root)
    used.log_cell(cell(), result(cell()))
    used.log_table(table(0.6))
    later = table(0.65, n_failed=1)
    tracker(root).log_table(later[later["pattern"] == "full"])
    (row,) = stored(uri, "row")
    assert row.data.metrics["harrell_c_index.mean"] == 0.65
    assert math.isnan(row.data.metrics["harrell_c_index.only-omic.mean"])
    assert row.info.status == "FAILED"
    assert [value for _, value in curve(uri, row, "harrell_c_index.sd")] == [0.03]


def test_long_curves_and_long_options_arrive_whole(root: Path) -> None:
    long = cell(f"healnet[note={'x' * 9000}]", key="k")
    tracker(root).log_cell(long, result(long, epochs=runs.METRICS))
    (fold,), (row,) = stored(store_uri(root), "fold"), stored(store_uri(root), "row")
    assert len(curve(store_uri(root), fold, "val/loss")) == runs.METRICS
    assert len(row.data.params["model.note"]) == 500
    tracker(root).log_cell(long, result(long, epochs=runs.METRICS))
    assert [f.info.run_id for f in stored(store_uri(root), "fold")] == [fold.info.run_id]


def test_a_results_folder_whose_path_a_database_uri_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="'%' in its path"):
        store_uri(tmp_path / "50%")
    assert store_uri(tmp_path / "a b").endswith("a b/mlflow.db")


# --- several results roots


def test_another_root_s_runs_are_never_touched_and_each_table_says_whose_it_is(root: Path) -> None:
    uri, mine, yours = store_uri(root), root / "mine", root / "yours"
    for one in (mine, yours):
        one.mkdir()
        used = tracker(one, uri)
        used.log_cell(cell(), result(cell()))
        used.log_table(table())
        used.log_files(SuiteFiles({}, {}))
    whose = owner_of(mine).root, owner_of(yours).root
    before = {r.info.run_id: r for r in stored(uri) if r.data.tags["fusionbench.root"] == whose[0]}
    assert sorted(r.data.tags[KIND] for r in before.values()) == ["fold", "row", "suite"]
    part = cell(key="new", seed=8, recipe=TrainRecipe(lr=0.1))
    used = tracker(yours, uri)
    used.log_cell(part, result(part, 0.7))
    used.log_table(table(0.7))
    after = {r.info.run_id: r for r in stored(uri) if r.data.tags["fusionbench.root"] == whose[0]}
    assert {k: (r.data.to_dictionary(), r.info.status, r.info.end_time) for k, r in after.items()} == {
        k: (r.data.to_dictionary(), r.info.status, r.info.end_time) for k, r in before.items()
    }
    assert {r.data.tags["fusionbench.root"] for r in stored(uri, state=2)} == {whose[1]}
    for suite in stored(uri, "suite"):
        user, of = suite.data.tags["mlflow.user"], suite.data.tags["fusionbench.root"]
        assert suite.data.tags["mlflow.note.content"].startswith(
            f"Results of {user}, results root {of[:8]}.\n\nReal omics"
        )
        assert suite.info.run_name.endswith(f"({user}, results root {of[:8]})")
    note = Connection(uri, SUITE).call("get_experiment_by_name", SUITE).tags["mlflow.note.content"]
    assert note.startswith("Real omics\n\nRuns of several results roots")


def test_two_roots_that_make_one_experiment_at_once_share_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, real = store_uri(root), Connection.call

    def slow(self: Connection, method: str, *args: Any, **options: Any) -> Any:
        if method == "create_experiment":
            real(Connection(uri, SUITE), method, SUITE)  # the other one's
        return real(self, method, *args, **options)

    monkeypatch.setattr(Connection, "call", slow)
    tracker(root).log_cell(cell(), result(cell()))
    assert len(stored(uri)) == 2


# --- the suite's files


def suite_folder(root: Path, **contents: str) -> Path:
    """A suite's folder with one cell and files that were made of it."""
    folder = root / SUITE
    (folder / "cells" / "k").mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "cells" / "k" / "cell.json").write_text("{}")
    store = Store(root, SUITE)
    for name, text in ((name.replace("__", "/").replace("_", "."), text) for name, text in contents.items()):
        (folder / name).write_text(text)
        note_made_from(store, TABLE if name == WHOLE_TABLE else name, stored_contents(store))
    return folder


def test_a_suite_s_files_are_on_one_run_of_their_own(root: Path) -> None:
    made = {
        "table_md": "| a |",
        "table_csv": "a",
        "suite_lock_toml": "x = 1",
        "report_html": "<p>",
        "notes_txt": "mine",
    }
    suite_folder(root, **made, figures__forest_png="png", figures__forest_svg="svg")
    found = suite_files(Store(root, SUITE))
    assert set(found.files) == {"table.md", "table.csv", "suite.lock.toml", "reports/index.html", "figures/forest.png"}
    used = tracker(root)
    used.log_cell(cell(), result(cell()))
    used.log_table(table())
    used.log_files(found)
    (run,) = stored(store_uri(root), "suite")
    assert run.info.run_name.startswith(f"{SUITE}: table, figures, report (")
    assert run.info.status == "FINISHED"
    made_by = {each.data.tags["mlflow.source.name"] for each in (run, *stored(store_uri(root), "row"))}
    assert made_by == {f"fusionbench run {SUITE} --out {root}"}
    assert "\n\nReal omics\n\n| dataset |" in run.data.tags["mlflow.note.content"]
    files = root / "mlartifacts" / SUITE / run.info.run_id / "artifacts"
    assert (files / "figures" / "forest.png").read_text() == "png"
    assert (files / "table.md").read_text() == "| a |"
    (files / "table.md").write_text("not written again")
    again = tracker(root)
    again.log_table(table())
    again.log_files(found)
    assert (files / "table.md").read_text() == "not written again"
    assert [r.info.run_id for r in stored(store_uri(root), "suite")] == [run.info.run_id]


def test_changed_files_are_written_in_place_and_files_that_are_gone_go(root: Path) -> None:
    folder = suite_folder(
        root, table_md="old", table_csv="c", report_html="<p>", figures__a_png="a", figures__b_png="b"
    )
    tracker(root).log_files(suite_files(Store(root, SUITE)))
    (first,) = stored(store_uri(root), "suite")
    suite_folder(root, table_md="new", table_csv="c", report_html="<p>")
    tracker(root).log_files(suite_files(Store(root, SUITE)))
    (second,) = stored(store_uri(root), "suite")
    files = root / "mlartifacts" / SUITE / second.info.run_id / "artifacts"
    assert second.info.run_id == first.info.run_id
    assert (files / "table.md").read_text() == "new"
    (folder / "figures" / "b.png").unlink()
    tracker(root).log_files(suite_files(Store(root, SUITE)))
    (third,) = stored(store_uri(root), "suite")
    assert third.info.run_id != first.info.run_id
    kept = root / "mlartifacts" / SUITE / third.info.run_id / "artifacts" / "figures"
    assert [path.name for path in kept.iterdir()] == ["a.png"]
    assert [r.info.run_id for r in stored(store_uri(root), "suite", state=2)] == [first.info.run_id]


def test_what_was_made_before_the_cells_changed_is_left_out_and_named(root: Path) -> None:
    folder = suite_folder(
        root, table_md="t", table_csv="t", report_html="<p>", audit_json="{}", figures__a_png="a", suite_lock_toml="l"
    )
    (folder / "cells" / "k" / "cell.json").write_text("{ }")
    found = suite_files(Store(root, SUITE))
    assert set(found.files) == {"suite.lock.toml"}
    assert found.outdated == {"table.csv": "run", "report.html": "report", "audit.json": "publish"}


def test_a_partial_table_and_files_of_an_older_version(root: Path) -> None:
    """Of the table it is not known what it was made of, and it is logged; the report is quickly made anew."""
    folder = suite_folder(root, table_md="t", table_csv="t", report_html="<p>")
    (folder / "made_from.json").unlink()
    found = suite_files(Store(root, SUITE))
    assert (set(found.files), found.outdated) == ({"table.md", "table.csv"}, {"report.html": "report"})
    suite_folder(root, table_partial_md="p", report_html="<p>")
    for name in ("table.md", "table.csv"):
        (folder / name).unlink()
    assert set(suite_files(Store(root, SUITE)).files) == {"table.partial.md", "reports/index.html"}


# --- servers that fail


@pytest.fixture
def silent() -> Iterator[str]:
    with services.silent() as url:
        yield url


@pytest.fixture
def refusing() -> str:
    return services.refusing()


NO_MLFLOW = "answers, but not as an MLflow server does: is it the right address, and does it want a login?"
ACCESS = " (it takes MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN)"
JSON = "application/json"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(401, "<html>\n<h1>Unauthorized</h1>"), f"answers 401 Unauthorized{ACCESS}"),
        (Answer(403, "no"), f"answers 403 Forbidden{ACCESS}"),
        (
            Answer(403, '{"error_code": "PERMISSION_DENIED", "message": "not yours"}', JSON),
            f"failed (PERMISSION_DENIED: not yours){ACCESS}",
        ),
        (Answer(404, "<html>no such page"), "answers 404 Not Found"),
        (Answer(500, "<html>oops"), "answers 500 Internal Server Error"),
        (Answer(503, "busy"), "answers 503 Service Unavailable"),
        (Answer(200, "<!doctype html>\n<title>Login</title>"), NO_MLFLOW),
        (Answer(200, "\x00\x01{{{", JSON), NO_MLFLOW),
        (Answer(200, '{"hello": 1}', JSON), NO_MLFLOW),
        (Answer(200, "[1]", JSON), NO_MLFLOW),
        (Answer(302, "", headers=(("Location", "/login"),)), NO_MLFLOW),
    ],
    ids=lambda value: f"{value.status} {value.body[:12]!r}" if isinstance(value, Answer) else "",
)
def test_a_server_that_answers_badly_is_one_line_and_is_asked_no_more(root: Path, answer: Answer, said: str) -> None:
    told: list[str] = []
    with services.answering(answer) as (url, seen):
        live = LiveTracking(lambda: tracker(root, url), told.append)
        live.cell(cell(), result(cell()))
        asked = len(seen)
        for fold in range(1, 9):
            live.cell(cell(fold=fold), result(cell(fold=fold)))
        live.end(table(), SuiteFiles({}, {}))
    expected = (
        f"MLflow at {url} {said}; results are safe on disk, replay them with: fusionbench sync {SUITE} --to {url}"
    )
    assert told == [f"not logged to MLflow: {expected}"]
    assert len(seen) == asked > 0


def test_a_server_that_refuses_is_one_line_with_the_remedy(root: Path, refusing: str) -> None:
    with pytest.raises(TrackingError) as caught:
        tracker(root, refusing).log_cell(cell(), result(cell()))
    assert str(caught.value) == (
        f"MLflow at {refusing} does not answer; results are safe on disk, replay them with: "
        f"fusionbench sync {SUITE} --to {refusing}"
    )


def test_a_silent_server_costs_one_wait_and_no_more(root: Path, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    used = tracker(root, silent)
    with pytest.raises(TrackingError, match="does not answer"):
        used.log_cell(cell(), result(cell()))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")
    with pytest.raises(TrackingError, match="does not answer"):  # told from memory
        used.log_table(table())


def test_our_patience_is_neither_the_users_nor_left_behind(
    root: Path, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def fake(uri: str) -> Any:
        seen.update({name: os.environ[name] for name in QUICK})
        raise ValueError("enough")

    monkeypatch.setattr("fusionbench.report.mlflow.client._open", fake)
    for name in QUICK:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    with pytest.raises(TrackingError, match=r"failed \(enough\)"):
        Connection(refusing, SUITE).call("search_experiments")
    assert seen == {**QUICK, "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
    assert {name for name in QUICK if name in os.environ} == {"MLFLOW_HTTP_REQUEST_TIMEOUT"}


def test_a_password_is_never_printed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(uri: str) -> Any:
        raise ValueError(f"cannot reach {uri}")

    monkeypatch.setattr("fusionbench.report.mlflow.client._open", fake)
    with pytest.raises(TrackingError) as caught:
        Connection("https://me:s3cret@host/path", SUITE).call("search_experiments")
    assert "s3cret" not in str(caught.value)
    assert "https://me:***@host/path" in str(caught.value)


@pytest.mark.slow
def test_a_silent_server_is_given_up_within_ten_seconds_by_default(
    root: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in QUICK:
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    with pytest.raises(TrackingError, match="does not answer"):
        tracker(root, silent).log_cell(cell(), result(cell()))
    assert 5 < time.monotonic() - start < 15


# --- a real server


def test_the_web_page_is_served_to_this_machine_only_and_linked_to_the_runs(tmp_path: Path) -> None:
    command = ui_command(tmp_path, 5001)
    assert command[1:4] == ["-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == store_uri(tmp_path)
    assert suite_link("http://127.0.0.1:5001/", "3") == "http://127.0.0.1:5001/#/experiments/3/runs"
    assert suite_link("http://127.0.0.1:5001", None) == "http://127.0.0.1:5001/#/experiments"


def test_links_show_the_rows_by_the_suite_s_metric_and_the_best_pair(root: Path) -> None:
    uri, used = store_uri(root), tracker(root)
    scores = {"cox": ("clinical", 0.61), "snn": ("omic", 0.58), "healnet": ("clinical+omic", 0.6)}
    for model, (modalities, mean) in scores.items():
        one = cell(model, modalities=tuple(modalities.split("+")))
        used.log_cell(one, result(one))
        used.log_table(table(mean, models=[model]).assign(modalities=modalities))
    empty = cell("mcat")
    used.log_cell(empty, failed(empty, "no"))
    used.log_table(table(math.nan, models=["mcat"], n_failed=1))
    experiment = str(experiment_id(uri, SUITE))
    ids = {run.data.tags["model"]: run.info.run_id for run in stored(uri, "row")}
    high, low = Order("harrell_c_index"), Order("harrell_c_index", higher_is_better=False)
    assert best_pairs(uri, root, SUITE, experiment, high) == {"blca": (ids["healnet"], ids["cox"])}
    assert best_pairs(uri, root, SUITE, experiment, low) == {"blca": (ids["healnet"], ids["snn"])}
    assert best_pairs(uri, root / "another", SUITE, experiment, high) == {}
    base = "http://127.0.0.1:5001"
    assert unquote(rows_link(base, "3", low)) == (
        f"{base}/#/experiments/3/runs?searchFilter=tags.`fusionbench.kind` = 'row'&"
        "orderByKey=metrics.`harrell_c_index.mean`&orderByAsc=true&compareRunsMode=CHART"
    )
    assert unquote(compare_link(base, "3", ["a", "b"])) == f'{base}/#/compare-runs?runs=["a", "b"]&experiments=["3"]'


def test_the_web_page_sends_no_telemetry_unless_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    assert ui_environment()["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    assert ui_environment()["MLFLOW_DISABLE_TELEMETRY"] == "false"


@pytest.fixture
def server(root: Path) -> Iterator[str]:
    port = services.free_port()
    with services.mlflow_server(ui_command(root, port), port, root) as running:
        yield running.url


@pytest.mark.slow
def test_a_run_is_replayed_into_a_server_without_doubling(
    root: Path, server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # a busy machine is not what is tested
    items = [(c := cell(fold=fold), result(c)) for fold in range(2)]
    for _ in range(2):
        sync(tracker(root, server), items, table())
    assert [r.data.tags[KIND] for r in stored(server)] == [ROW, FOLD, FOLD]
    row, fold = stored(server, "row")[0], stored(server, "fold")[0]
    assert row.data.metrics["harrell_c_index.mean"] == 0.6
    assert curve(server, fold, "val/loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert fold.data.tags["mlflow.parentRunId"] == row.info.run_id
    assert stored(server, state=2) == []
    assert "View run" not in capfd.readouterr().out


def test_the_page_is_served_to_this_machine_only(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Who wants others to see it says so with --host."""
    from typer.testing import CliRunner

    from fusionbench.cli import app

    asked: list[list[str]] = []

    @contextmanager
    def served(command: list[str], *_: Any) -> Iterator[subprocess.Popen[bytes]]:
        asked.append(command)
        yield subprocess.Popen(["true"])

    opened: list[str] = []
    monkeypatch.setattr("fusionbench.report.mlflow.served", served)
    monkeypatch.setattr("webbrowser.open", opened.append)
    port = str(services.free_port())
    for more in (["--open"], ["--host", "0.0.0.0"]):
        assert CliRunner().invoke(app, ["ui", "--out", str(root), "--port", port, *more]).exit_code == 0
    hosts = [command[command.index("--host") + 1] for command in asked]
    assert hosts == ["127.0.0.1", "0.0.0.0"]
    assert opened == [f"http://127.0.0.1:{port}/#/experiments"]
